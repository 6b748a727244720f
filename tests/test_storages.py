"""Storages: what lies under a tensor and its views, as numbers and as bytes."""

from __future__ import annotations

import ctypes
import tempfile
import warnings

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

table = Table()


@table
def views_share_a_storage(torch):
    x = torch.arange(6.0).view(2, 3)
    s, u = x[1].storage(), x[1].untyped_storage()
    return [
        s.tolist(), len(s), s.size(), s.nbytes(), s[4], str(s.dtype), s.element_size(), u.nbytes(), u.size(),
        u.element_size(), u.tolist()[:8], s.data_ptr() == x.storage().data_ptr(), torch.is_storage(s),
        torch.is_storage(u), torch.is_storage(x), isinstance(s, torch.FloatStorage), isinstance(s, torch.LongStorage),
    ]  # fmt: skip


@table
def writing_reaches_the_tensor(torch):
    x = torch.arange(6.0).view(2, 3)
    s = x.storage()
    s[1] = 7.0
    before = x.clone()
    s.fill_(2.0)
    y = torch.zeros(3, dtype=torch.int16)
    y.untyped_storage().fill_(1)
    return [before, x, y]


@table
def made_from_data(torch):
    return [
        isinstance(torch.ones(2).untyped_storage(), torch.StorageBase),
        torch.FloatStorage([1, 2]).tolist(), torch.LongStorage(3).size(), torch.UntypedStorage(5).nbytes(),
        torch.ByteTensor(torch.ByteStorage.from_buffer(b"abc")), torch.FloatStorage([1.5, 2.5]).double().tolist(),
        torch.IntStorage.from_buffer(b"\x01\0\0\0\x02\0\0\0", "little").tolist(), torch.FloatStorage([3.0]).clone()[0],
        torch.DoubleStorage([1.0, 2.0]).type(), repr(torch.UntypedStorage([1, 2])),
    ]  # fmt: skip


@table
def tensors_view_storages(torch):
    x = torch.arange(6.0)
    y = torch.empty(0).set_(x.storage(), 1, (2, 2), (2, 1))
    before = y.clone()
    y.fill_(9)
    return [before, x, torch.empty(0).set_(x.untyped_storage()).shape]


def _memory(torch, t):
    """What a C library would read at a tensor's address."""
    pointer = ctypes.cast(t.data_ptr(), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (t.numel(),)).tolist()


@table
def addresses_are_those_of_the_elements(torch):
    x = torch.arange(6.0) * 2
    row, twin, other = x[2:4], x.clone(), torch.arange(6.0) * 2
    before = _memory(torch, x), _memory(torch, row), row.data_ptr() - x.data_ptr()
    x.add_(1)
    return [
        before, _memory(torch, x), _memory(torch, twin), len({t.data_ptr() for t in (x, twin, other, x.detach())}),
        x.untyped_storage().data_ptr() == x.data_ptr() == row.untyped_storage().data_ptr(), torch.zeros(0).data_ptr(),
        torch.zeros(2, device="meta").data_ptr(),
    ]  # fmt: skip


@table
def storages_of_files(torch):
    with tempfile.NamedTemporaryFile() as file:
        file.write(np.arange(5, dtype=np.float32).tobytes())
        file.flush()
        s = torch.UntypedStorage.from_file(file.name, shared=False, nbytes=20)
        part = s[4:12]
        return [
            s.nbytes(), len(part), s[7], part[3], torch.asarray(part, dtype=torch.uint8).view(torch.float32),
            torch.FloatStorage(wrap_storage=s).tolist(), part.tolist(), s.device,
            torch.UntypedStorage.from_file(file.name, False, 0).nbytes(),
        ]  # fmt: skip


def test_storages_told_apart():
    from jtorch.tensor import dispatch

    x = jtorch.arange(3.0)
    y = dispatch.wrap(x._value())  # two storages over one array
    assert x.data_ptr() != y.data_ptr() and y.tolist() == [0, 1, 2]
    assert x.data_ptr() == x.data_ptr() and y.data_ptr() == y.data_ptr()
    with pytest.raises(NotImplementedError, match="shared=True"):
        jtorch.UntypedStorage.from_file("f", shared=True, nbytes=4)


@pytest.mark.parametrize("name", table)
def test_program(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(table[name])


def test_errors():
    check_raises(lambda torch: torch.FloatStorage([1.0])[0:1], RuntimeError, "slices")
    check_raises(lambda torch: torch.IntStorage.from_buffer(b"abcd"), RuntimeError, "byte_order")
    with pytest.raises(NotImplementedError, match="resize_"):
        jtorch.ones(3).untyped_storage().resize_(0)
    with pytest.raises(NotImplementedError, match="complex32"):
        jtorch.zeros(2, dtype=jtorch.complex32)


def test_control_flow_and_switches():
    x = jtorch.tensor([4.0])
    assert jtorch.cond(x.sum() > 3, lambda a: a + 1, lambda a: a - 1, (x,)).item() == 5
    assert jtorch.while_loop(lambda i: i < 3, lambda i: (i + 1,), (jtorch.tensor(0),))[0].item() == 3
    assert jtorch.get_deterministic_debug_mode() == 0
    jtorch.set_deterministic_debug_mode("warn")
    assert jtorch.get_deterministic_debug_mode() == 1 and jtorch.are_deterministic_algorithms_enabled()
    jtorch.set_deterministic_debug_mode(0)
    with pytest.raises(RuntimeError, match="debug_mode"):
        jtorch.set_deterministic_debug_mode("loud")
    with pytest.raises(RuntimeError, match="torch.linalg.lstsq"):
        jtorch.lstsq(x, x)
