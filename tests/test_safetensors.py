"""The safetensors format, against the reference library where it is installed."""

import json
import os
import struct

import numpy as np
import pytest

import jtorch
from jtorch import dtypes
from jtorch.serialization import safetensors

from .test_serialization_tensors import bits, make

KINDS = [d for d in dtypes.ALL if d is not dtypes.complex128]


def everything():
    return {d.name: make(np.arange(6).reshape(2, 3) % 2, d) for d in KINDS} | {
        "t": make(np.arange(6).reshape(2, 3)).t(), "scalar": make(2.5), "empty": jtorch.zeros(0, 3), "é": make([1]),
    }  # fmt: skip


def test_round_trip(tmp_path):
    before = everything()
    safetensors.save_file(before, tmp_path / "m.safetensors", {"format": "pt"})
    after = safetensors.load_file(tmp_path / "m.safetensors")
    assert set(after) == set(before) and os.listdir(tmp_path) == ["m.safetensors"]
    for name, t in before.items():
        assert after[name].dtype is t.dtype and after[name].shape == t.shape and bits(after[name]) == bits(t), name
        assert after[name].is_contiguous()
    assert safetensors.load(safetensors.save(before), device="meta")["t"].is_meta


def test_the_reference_library_agrees(tmp_path):
    reference, torch = pytest.importorskip("safetensors.torch"), pytest.importorskip("torch")
    ours = everything()
    theirs = reference.load(safetensors.save(ours, {"format": "pt"}))
    for name, x in theirs.items():
        raw = x.reshape(-1).view(torch.uint8).numpy() if x.numel() else np.empty(0)
        assert str(x.dtype) == str(ours[name].dtype) and raw.tobytes() == bits(ours[name])
    reference.save_file(theirs, tmp_path / "m")
    back = safetensors.load_file(tmp_path / "m")
    assert set(back) == set(ours) and all(bits(back[n]) == bits(ours[n]) for n in ours)


def test_refusals(tmp_path):
    x = make([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"share memory.*'a' and 'b'.*clone\(\)"):
        safetensors.save({"a": x, "b": x.detach()})
    with pytest.raises(ValueError, match="no type for torch.complex128"):
        safetensors.save({"a": make([1], dtypes.complex128)})
    for bad in ({"a": 3}, {1: x}, {"__metadata__": x}):
        with pytest.raises(ValueError, match="expected a dict of tensors by name"):
            safetensors.save(bad)
    with pytest.raises(ValueError, match="metadata must map strings"):
        safetensors.save({"a": x}, {"epoch": 3})


def file_with(header, data=b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"abc", b"\xff" * 20, file_with(b"{"), file_with(b"[]"), file_with(b"[" * 100_000), file_with({"a": 1}),
        file_with({"a": entry("F31")}), file_with({"a": entry(shape=(3,))}), file_with({"a": entry(shape=(-2,))}),
        file_with({"a": entry(offsets=(8, 16))}), file_with({"a": entry(), "b": entry()}), file_with({}),
        file_with({"a": entry(shape=(2**62,), offsets=(0, 2**64))}), file_with({"a": entry()}, b"\0" * 7),
        file_with({"a": entry()}, b"\0" * 9), file_with({"a": entry() | {"x": 1}}),
    ],
)  # fmt: skip
def test_damaged_files(data):
    assert safetensors.load(file_with({"a": entry()}))["a"].tolist() == [0, 0]
    with pytest.raises((RuntimeError, EOFError)):
        safetensors.load(data)
