"""Quantized and nested tensors, and modules, in files that PyTorch and jtorch write for each other."""

from __future__ import annotations

import collections
import importlib
import io
import pickle

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.ao import quantization as aq

from .both import compare, plain


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


# --- the functions that pickles of tensors call ----------------------------------------------------------------------


class OurNames(pickle.Unpickler):
    """Finds PyTorch's names in jtorch, as they are found under ``python -m jtorch``."""

    def find_class(self, module, name):
        if module.partition(".")[0] != "torch":
            return super().find_class(module, name)
        return getattr(importlib.import_module(module.replace("torch", "jtorch", 1)), name)


def test_plain_pickles_of_pytorchs_tensors(torch):
    """What ``pickle.dump`` made of them under PyTorch, without ``torch.save``."""
    whole, tagged = torch.arange(6.0).reshape(2, 3), torch.nn.Parameter(torch.ones(2))
    tagged.tag = 3
    values = [
        whole, whole.t(), whole[:, 1:].clone().requires_grad_(), tagged, torch.nn.Parameter(torch.ones(2), False),
        torch.tensor([1 + 2j]).conj(), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.uint16),
        torch.nn.Linear(2, 2).state_dict(),
    ]  # fmt: skip
    got = OurNames(io.BytesIO(pickle.dumps(values))).load()
    compare(plain(got, jtorch), plain(values, torch))
    assert isinstance(got[3], nn.Parameter) and got[3].tag == 3 and got[1].stride() == (1, 3)


def rebuilt(lib) -> list:
    from_type, utils = importlib.import_module(f"{lib.__name__}._tensor"), lib._utils

    class Sub(lib.Tensor):
        pass

    class Own(lib.Tensor):
        def __setstate__(self, state):
            self.got = state

    class OnGrad(list):
        def __call__(self, grad):
            self.append(grad.tolist())

    base = lib.arange(12.0)
    storage, seen = base.storage(), OnGrad()
    t = utils._rebuild_tensor_v2(storage, 2, (2, 3), (3, 1), False, collections.OrderedDict())
    base[2] = 50
    hooked = utils._rebuild_tensor_v2(lib.ones(2).storage(), 0, (2,), (1,), True, collections.OrderedDict({0: seen}))
    hooked.sum().backward()
    octets = lib.TypedStorage(wrap_storage=base.untyped_storage(), dtype=lib.uint8)
    tensor = (utils._rebuild_tensor_v2, Sub, (storage, 0, (2,), (1,), False, None))
    kept = from_type._rebuild_from_type_v2(*tensor, {"a": 1})
    slots = from_type._rebuild_from_type_v2(*tensor, ({"a": 1}, {"b": 2}))
    own = from_type._rebuild_from_type_v2(tensor[0], Own, tensor[2], {"a": 1})
    early = from_type._rebuild_from_type(*tensor, {"a": 4})
    with pytest.raises(RuntimeError, match="Invalid serialized state"):
        utils._rebuild_parameter_with_state(lib.ones(2), True, None, (1,))
    with pytest.raises(AttributeError, match="dtype"):
        utils._rebuild_tensor_v2(base.untyped_storage(), 0, (2,), (1,), False, None)
    return [
        t, t.storage_offset(), t.stride(), seen, hooked.grad, kept.a, slots.b, own.got, early.a,
        [type(x).__name__ for x in (kept, own, early)], from_type.Tensor is lib.Tensor,
        utils._rebuild_tensor(storage, 0, (3,), (2,)),
        utils._rebuild_tensor_v3(octets, 0, (3,), (1,), False, None, lib.float32),
        utils._rebuild_tensor_v2(lib.tensor([1 + 2j]).storage(), 0, (1,), (1,), False, None, {"conj": True}),
        utils._rebuild_parameter(lib.ones(2), False, None),
        utils._rebuild_parameter_with_state(lib.ones(2), True, None, {"tag": 3}).tag,
    ]  # fmt: skip


def test_functions_that_rebuild_tensors(torch):
    compare(plain(rebuilt(jtorch), jtorch), plain(rebuilt(torch), torch))


def test_geometry_beyond_the_storage():
    """PyTorch makes the storage larger; what lies there then is anything."""
    with pytest.raises(RuntimeError, match="out of bounds"):
        jtorch._utils._rebuild_tensor_v2(jtorch.ones(4).storage(), 2, (3,), (1,), False, None)
