"""Quantized and nested tensors, and modules, in files that PyTorch and jtorch write for each other."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.ao import quantization as aq


def carried(obj, source, target, **options):
    """``obj`` written by one library and read by the other."""
    file = io.BytesIO()
    source.save(obj, file, **options)
    file.seek(0)
    return target.load(file)


def quantized(torch) -> dict:
    x = torch.tensor(np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4))
    scales, zeros = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2])
    return {
        "quint8": torch.quantize_per_tensor(x, 0.1, 5, torch.quint8),
        "qint32": torch.quantize_per_tensor(x, 0.1, 5, torch.qint32)[1:],
        "channels": torch.quantize_per_channel(x, scales, zeros, 0, torch.qint8),
        "dtype": torch.qint8,
        "scheme": torch.per_channel_affine,
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_quantized_tensors(torch, legacy):
    options = {"_use_new_zipfile_serialization": not legacy}
    for source, target in ((torch, jtorch), (jtorch, torch), (jtorch, jtorch)):
        got, want = carried(quantized(source), source, target, **options), quantized(target)
        assert got["dtype"] is want["dtype"] and got["scheme"] == want["scheme"]
        for name in ("quint8", "qint32", "channels"):
            assert got[name].dtype == want[name].dtype and got[name].qscheme() == want[name].qscheme()
            assert bool((got[name].int_repr() == want[name].int_repr()).all())
            assert bool((got[name].dequantize() == want[name].dequantize()).all())


@pytest.mark.parametrize("damage", [("per_tensor_affine", 0.1, "x"), ("per_channel_affine", 0.1, 1, 0), (3,)])
def test_damaged_grids_are_refused(damage):
    from jtorch.ao.files import _rebuild
    from jtorch.serialization.globals import TypedStorage
    from jtorch.serialization.tensors import LoadedStorage

    storage = TypedStorage(LoadedStorage(np.zeros(4, np.uint8)), jtorch.int8, 0, 4)
    scheme = getattr(jtorch, damage[0]) if isinstance(damage[0], str) else damage[0]
    with pytest.raises(pickle.UnpicklingError, match="quantized tensor"):
        _rebuild(storage, 0, (4,), (1,), (scheme, *damage[1:]), False, None)


def test_quantized_state_dicts_of_pytorch(torch):
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3))
    state = carried(torch.ao.quantization.quantize_dynamic(theirs).state_dict(), torch, jtorch)
    ours = aq.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)))
    assert str(ours.load_state_dict(state)) == "<All keys matched successfully>"
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    want = torch.ao.quantization.quantize_dynamic(theirs)(torch.tensor(x))
    np.testing.assert_allclose(ours(jtorch.tensor(x)).numpy(), want.numpy(), atol=1e-6)


def test_nested_tensors(torch):
    parts = lambda lib: [lib.ones(2, 3), lib.zeros(1, 3)]  # noqa: E731
    for source, target in ((torch, jtorch), (jtorch, torch), (jtorch, jtorch)):
        nested = source.nested.nested_tensor(parts(source))
        got = carried(nested, source, target)
        assert got.is_nested and [x.tolist() for x in got.unbind()] == [x.tolist() for x in parts(target)]
    jagged = jtorch.nested.nested_tensor(parts(jtorch), layout=jtorch.jagged, requires_grad=True)
    got = carried(jagged, jtorch, jtorch)
    assert got.layout is jtorch.jagged and got.requires_grad and got.offsets().tolist() == [0, 2, 3]
