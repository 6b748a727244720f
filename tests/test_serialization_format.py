"""The layers of the file format, on a stand-in for Tensors: container, pickler, safe unpickler, hostile input.

The stand-in is a view of a NumPy array, so the tests see exactly what was written and read.
"""

import builtins
import collections
import io
import math
import os
import pathlib
import pickle
import stat
import zipfile
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jtorch.serialization as js
from jtorch import dtypes
from jtorch.devices import device
from jtorch.serialization import format as container
from jtorch.serialization import tensors
from jtorch.serialization.tensors import LoadedStorage, TensorRecord
from jtorch.serialization.unpickle import RestrictedUnpickler
from jtorch.size import Size


class Memory:
    """A storage."""

    def __init__(self, array):
        self.array = array


@dataclass(eq=False)
class Fake:
    """A tensor: geometry over a Memory."""

    memory: Memory
    dtype: dtypes.dtype
    offset: int
    size: tuple
    stride: tuple
    requires_grad: bool = False
    device: str = "cpu"
    extra: dict = field(default_factory=dict)

    @property
    def value(self) -> np.ndarray:
        return tensors.strided_view(self.memory.array, self.offset, self.size, self.stride)


class FakeParameter(Fake):
    pass


def fake(array, requires_grad=False, cls=Fake):
    array = np.asarray(array)
    stride = tuple(math.prod(array.shape[i + 1 :]) for i in range(array.ndim))
    kind = dtypes.of_numpy(array.dtype)
    return cls(Memory(array.reshape(-1)), kind, 0, array.shape, stride, requires_grad)


def view(t, offset, size, stride):
    return Fake(t.memory, t.dtype, offset, size, stride)


@pytest.fixture(autouse=True)
def fake_tensors(monkeypatch):
    def describe(obj):
        if not isinstance(obj, Fake):
            return None
        t, array = obj, obj.memory.array
        cls = type(t) if type(t) not in (Fake, FakeParameter) else None
        return TensorRecord(
            id(t.memory), lambda: array, array.size, t.dtype, t.offset, t.size, t.stride, t.requires_grad,
            isinstance(t, FakeParameter), t.device, t.extra, cls,
        )  # fmt: skip

    def rebuild(storage: LoadedStorage, kind, offset, size, stride, requires_grad):
        if storage.base is None:
            storage.base = Memory(storage.array(kind))
        return Fake(storage.base, kind, offset, size, stride, requires_grad, storage.device)

    def rebuild_meta(kind, size, stride, requires_grad):
        return Fake(Memory(np.empty(0, kind.np)), kind, 0, size, stride, requires_grad, "meta")

    def as_parameter(t, requires_grad):
        return FakeParameter(t.memory, t.dtype, t.offset, t.size, t.stride, requires_grad, t.device)

    def check_location(name):
        if name != "cpu":
            raise RuntimeError(f"no {name} device is available to JAX on this machine")

    def as_subclass(t, cls):
        return cls(t.memory, t.dtype, t.offset, t.size, t.stride, t.requires_grad, t.device)

    for function in (describe, rebuild, rebuild_meta, as_parameter, check_location, as_subclass):
        monkeypatch.setattr(tensors, function.__name__, function)
    monkeypatch.setitem(js.globals._CLASSES, "torch.Tensor", lambda: Fake)
    monkeypatch.setitem(js.globals._CLASSES, "torch.nn.parameter.Parameter", lambda: FakeParameter)
    yield
    js.clear_safe_globals()


def roundtrip(obj, **options):
    buffer = io.BytesIO()
    js.save(obj, buffer)
    buffer.seek(0)
    return js.load(buffer, **options)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def sample(kind: dtypes.dtype, shape=(3, 4)) -> np.ndarray:
    values = np.arange(math.prod(shape)).reshape(shape) % 7 - (3 if kind.is_signed else 0)
    return values.astype(kind.np)


# --- round trips ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", dtypes.ALL, ids=str)
@pytest.mark.parametrize("weights_only", [True, False])
def test_every_dtype(kind, weights_only):
    t = fake(sample(kind))
    out = roundtrip({"t": t, "kind": kind}, weights_only=weights_only)
    assert out["kind"] is kind and out["t"].dtype is kind
    assert same(out["t"].value, t.value)


def test_plain_objects():
    metadata = collections.OrderedDict([("", {"version": 1})])
    state = collections.OrderedDict(a=1)
    state._metadata = metadata
    obj = {
        "ints": [0, 255, 256, 65536, -1, 2**31, -(2**40), 2**200],
        "floats": (1.5, math.inf), "none": None, "flags": [True, False], "text": "naïve \ud800", "bytes": b"\0\xff",
        "nested": {"deep": [{"x": (1, (2, (3,)))}]}, "set": {1, 2}, "complex": 1 + 2j, "array": bytearray(b"ab"),
        "state": state, "counter": collections.Counter("aab"), "size": Size([2, 3]), 1: device("cpu"),
        "cuda": device("cuda", 1), "long": [*range(3000)],
    }  # fmt: skip
    for weights_only in (True, False):
        out = roundtrip(obj, weights_only=weights_only)
        assert out == obj
        assert out["state"]._metadata == metadata and type(out["size"]) is Size and type(out[1]) is device


def test_shared_storage_stays_shared_and_views_keep_their_strides():
    base = fake(np.arange(12, dtype=np.float32).reshape(3, 4))
    transposed, row = view(base, 0, (4, 3), (1, 4)), view(base, 4, (4,), (1,))
    expanded = view(base, 1, (5, 2), (0, 1))
    out = roundtrip([base, transposed, row, expanded, base])
    assert len({id(t.memory) for t in out}) == 1 and out[0] is out[4]
    for before, after in zip([base, transposed, row, expanded], out, strict=False):
        assert (before.offset, before.size, before.stride) == (after.offset, after.size, after.stride)
        assert same(before.value, after.value)


def test_parameters_and_attributes():
    p = fake(np.ones(2, np.float32), True, FakeParameter)
    frozen = fake(np.ones(2, np.float32), False, FakeParameter)
    tagged = fake(np.ones(2, np.float32))
    tagged_parameter = fake(np.ones(2, np.float32), True, FakeParameter)
    tagged.extra, tagged_parameter.extra = {"tag": 3}, {"role": "head"}
    out = roundtrip([p, p, frozen, tagged, tagged_parameter])
    assert out[0] is out[1] and type(out[0]) is FakeParameter and out[0].requires_grad
    assert type(out[2]) is FakeParameter and not out[2].requires_grad
    assert type(out[3]) is Fake and out[3].tag == 3 and out[4].role == "head"


def test_meta_and_empty():
    meta = Fake(Memory(np.empty(0, np.float32)), dtypes.float32, 0, (2, 3), (3, 1), True, "meta")
    empty = fake(np.zeros((0, 3), np.int32))
    out = roundtrip([meta, empty, fake(np.array(2.5))])
    assert out[0].device == "meta" and out[0].size == (2, 3) and out[0].requires_grad
    assert same(out[1].value, empty.value) and out[2].value == 2.5


class Custom:
    def __init__(self, x):
        self.x = x


class Slotted:
    __slots__ = ("x",)


class SubTensor(Fake):
    pass


def test_custom_objects_need_permission():
    custom = Custom(fake(np.ones(3)))
    out = roundtrip(custom, weights_only=False)
    assert type(out) is Custom and same(out.x.value, np.ones(3))
    name = f"{__name__}.Custom"
    with pytest.raises(pickle.UnpicklingError, match=rf"refers to {name}.*add_safe_globals.*weights_only=False"):
        roundtrip(custom)
    with js.safe_globals([Custom]):
        assert roundtrip(custom).x.size == (3,)
    with pytest.raises(pickle.UnpicklingError):
        roundtrip(custom)
    js.add_safe_globals([Custom, (Slotted, f"{__name__}.Slotted")])
    slotted = Slotted()
    slotted.x = [1]
    assert js.get_safe_globals() == [Custom, Slotted]
    assert roundtrip([custom, slotted])[1].x == [1]
    js.clear_safe_globals()
    assert js.get_safe_globals() == []
    with pytest.raises(TypeError, match="a safe global is a class"):
        js.add_safe_globals([3])


def test_subclasses_of_tensor():
    t = fake(np.ones(3), cls=SubTensor)
    assert type(roundtrip(t, weights_only=False)) is SubTensor
    with pytest.raises(pickle.UnpicklingError, match="SubTensor"):
        roundtrip(t)


def test_dtypes_may_not_share_a_storage():
    t = fake(np.ones(4, np.float32))
    other = Fake(t.memory, dtypes.int32, 0, (4,), (1,))
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        roundtrip([t, other])


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, pathlib.Path, os.fsencode])
@pytest.mark.parametrize("mmap", [False, True])
def test_paths(tmp_path, kind, mmap):
    path = kind(tmp_path / "model.pt")
    if kind is os.fsencode:
        path = os.fsdecode(path)
    t = fake(sample(dtypes.bfloat16, (33, 5)))
    js.save([t, fake(np.arange(7))], path)
    out = js.load(path, mmap=mmap)
    assert same(out[0].value, t.value) and same(out[1].value, np.arange(7))
    assert os.listdir(tmp_path) == ["model.pt"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "model/data.pkl"
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            data_at = info.header_offset + 30 + len(info.filename) + len(container_extra(path, info))
            assert data_at % container.ALIGNMENT == 0


def container_extra(path, info) -> bytes:
    with open(path, "rb") as f:
        f.seek(info.header_offset)
        header = f.read(30)
        f.read(int.from_bytes(header[26:28], "little"))
        return f.read(int.from_bytes(header[28:30], "little"))


def test_loaded_bytes_are_aligned_and_mapped_ones_stay_mapped(tmp_path):
    js.save(fake(np.arange(1000)), tmp_path / "a")
    assert js.load(tmp_path / "a").memory.array.ctypes.data % 64 == 0
    mapped = js.load(tmp_path / "a", mmap=True).memory.array
    assert not mapped.flags.owndata and not mapped.flags.writeable and mapped.ctypes.data % 64 == 0


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    js.save({"good": 1}, path)
    os.chmod(path, 0o640)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        js.save({"t": fake(np.ones(3)), "bad": lambda: None}, path)
    failing = fake(np.ones(3))
    describe = tensors.describe

    def broken(obj):
        record = describe(obj)
        if record is not None:
            record.read = lambda: (_ for _ in ()).throw(RuntimeError("out of memory"))
        return record

    monkeypatch.setattr(tensors, "describe", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        js.save(failing, path)
    assert os.listdir(tmp_path) == ["model.pt"] and js.load(path) == {"good": 1}
    js.save({"good": 2}, path)
    assert js.load(path) == {"good": 2} and stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_saving_through_a_symbolic_link_and_to_odd_places(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.pt").symlink_to(tmp_path / "real" / "model.pt")
    js.save(1, tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and js.load(tmp_path / "real" / "model.pt") == 1
    js.save(1, os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        js.save(1, tmp_path / "nowhere" / "model.pt")
    with pytest.raises(IsADirectoryError):
        js.save(1, tmp_path)
    with pytest.raises(AttributeError, match="writable file"):
        js.save(1, 3)
    with pytest.raises(FileNotFoundError):
        js.load(tmp_path / "missing.pt")
    with pytest.raises(AttributeError, match="io.BytesIO"):
        js.load(iter([]))


def test_write_only_stream(tmp_path):
    class Sink:
        def __init__(self):
            self.parts = []

        def write(self, data):
            self.parts.append(bytes(data))

    sink = Sink()
    js.save([1, fake(np.ones(5))], sink)
    assert same(js.load(io.BytesIO(b"".join(sink.parts)))[1].value, np.ones(5))


def test_zip64_directory(monkeypatch):
    monkeypatch.setattr(container, "_MAX32", 5000)  # pretend that 5,000 bytes do not fit 32 bits
    buffer = io.BytesIO()
    writer = container.ZipWriter(buffer, "r")
    blobs = {f"data/{i}": bytes([i]) * (i * 3000) for i in range(4)}
    for name, data in blobs.items():
        writer.add(name, data)
    writer.close()
    raw = buffer.getvalue().replace((5000).to_bytes(4, "little"), b"\xff" * 4)
    reader = container.ZipReader(io.BytesIO(raw))
    assert {name: reader.read(name) for name in blobs} == blobs


def test_recompressed_archive():
    buffer, packed = io.BytesIO(), io.BytesIO()
    js.save(fake(np.zeros(1000)), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    packed.seek(0)
    assert same(js.load(packed).value, np.zeros(1000))


# --- where tensors go ----------------------------------------------------------------------------------------------


def test_map_location():
    there = fake(np.ones(2))
    there.device = "cuda:0"
    with pytest.raises(RuntimeError, match="saved on 'cuda:0'.*map_location='cpu'"):
        roundtrip(there)
    seen = []

    def ask(storage, name):
        seen.append((name, storage.nbytes()))

    for where in ("cpu", device("cpu"), {"cuda:0": "cpu"}, lambda storage, name: storage.cpu()):
        assert roundtrip(there, map_location=where).device == "cpu"
    with pytest.raises(RuntimeError, match="cuda:0"):
        roundtrip(there, map_location=ask)
    assert seen == [("cuda:0", 16)]
    assert roundtrip(there, map_location=lambda s, name: s.cuda(1)).device == "cuda:1"
    assert roundtrip(there, map_location="meta").device == "meta"
    with pytest.raises(RuntimeError, match="no cuda:3 device"):
        roundtrip(fake(np.ones(2)), map_location="cuda:3")
    with pytest.raises(TypeError, match="map_location must be"):
        roundtrip(there, map_location=3)


# --- refusals ------------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, function, *args):
        self.reduction = function, args

    def __reduce__(self):
        return self.reduction


@pytest.mark.parametrize(
    "function,args",
    [(os.system, ("true",)), (eval, ("1",)), (builtins.getattr, ("", "upper")), (np.zeros, (3,)), (open, ("x",))],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_hostile_globals_are_named_and_not_called(function, args):
    buffer = io.BytesIO()
    js.save({"x": [Evil(function, *args)]}, buffer)
    with pytest.raises(pickle.UnpicklingError, match=rf"\.{function.__name__}, which is not an allowed global"):
        js.load(buffer_at_start(buffer))
    names = js.get_unsafe_globals_in_checkpoint(buffer_at_start(buffer))
    assert len(names) == 1 and names[0].endswith(function.__name__)


def buffer_at_start(buffer):
    buffer.seek(0)
    return buffer


def hostile(code: bytes):
    return RestrictedUnpickler(b"\x80\x02" + code).load()


@pytest.mark.parametrize(
    "code",
    [
        b"ctorch\nfloat32\nN}X\x04\x00\x00\x00nameX\x01\x00\x00\x00xs\x86b.",  # BUILD with slots on a dtype
        b"ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",  # and on a function
        b"ccollections\nOrderedDict\n}b.",  # and on a class
        b"ctorch\nfloat32\n)R.",  # calls a constant
        b"(K\x01K\x02tN\x86R.",  # calls a tuple
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",  # 2 GiB of zeros
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00bz2_\x86R.",
        b"ctorch\nTensor\n)\x81.",
        b"ccollections\nCounter\n)\x81.",
        b"(ios\nsystem\n.",
        b"(cos\nsystem\no.",
        b"\x82\x01.",
        b"P1\n.",
        b"K\x01Q.",
        b"]K\x01}b.",
        b"}(K\x01u.",
        b"}]K\x01s.",
        b"K\x01K\x02a.",
        b"h\x05.",
        b"t.",
        b"R.",
        b".",
        b"X\xff\xff\xff\xffa.",
        b"\x8b\xff\xff\xff\x7f1.",
        b"\x80\x63N.",
    ],
)
def test_hostile_instructions(code):
    before = dtypes.float32.name
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        hostile(code)
    assert dtypes.float32.name == before


def test_from_type_calls_only_what_is_allowed():
    buffer = io.BytesIO()
    js.save({"t": fake(np.ones(3)), "custom": Custom(1)}, buffer)
    js.add_safe_globals([Custom])
    code = b"ctorch._tensor\n_rebuild_from_type_v2\n(c" + __name__.encode() + b"\nCustom\nctorch\nTensor\n(K\x01tNtR."
    with pytest.raises(pickle.UnpicklingError, match="not a function that files may call"):
        hostile(code)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_pickles_raise_only_what_is_documented(data):
    buffer = io.BytesIO()
    state = {"w": fake(np.ones((2, 3), np.float32), True, FakeParameter), "n": [1, 2.5, "x"], "s": Size([1])}
    js.save(state, buffer)
    reader = container.ZipReader(buffer_at_start(buffer))
    code = bytearray(reader.read("data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    storage = js.globals.TypedStorage(LoadedStorage(np.zeros(24, np.uint8)), dtypes.float32, 0, 6)
    try:
        RestrictedUnpickler(bytes(code), lambda pid: storage).load()
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        pass


@settings(deadline=None, max_examples=200)
@given(st.data(), st.booleans())
def test_damaged_files_raise_only_what_is_documented(data, zipped):
    buffer = io.BytesIO()
    state = {"w": fake(np.ones((2, 3), np.float32)), "n": [1, 2.5, "x"], "s": Size([1])}
    js.save(state, buffer, _use_new_zipfile_serialization=zipped)
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.sampled_from([0, 1, 255]) | st.integers(0, 255))
    try:
        js.load(io.BytesIO(bytes(whole)))
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        pass


@pytest.mark.parametrize(
    "geometry,error",
    [
        ((0, (4,), (1,)), None),
        ((1, (4,), (1,)), RuntimeError),
        ((0, (2, 3), (3, 1)), RuntimeError),
        ((0, (2,), (10,)), RuntimeError),
        ((-1, (2,), (1,)), pickle.UnpicklingError),
        ((3, (2,), (-1,)), pickle.UnpicklingError),
        ((0, (-2,), (1,)), pickle.UnpicklingError),
        ((0, (2,), (1, 1)), pickle.UnpicklingError),
        ((0, (2**40, 2**40), (0, 0)), pickle.UnpicklingError),
        ((0.0, (2,), (1,)), pickle.UnpicklingError),
        ((99, (0,), (1,)), None),
    ],
)
def test_geometry_is_checked(geometry, error):
    t = fake(np.arange(4.0))
    t.offset, t.size, t.stride = geometry
    if error is None:
        roundtrip(t)
    else:
        with pytest.raises(error, match="out of bounds|geometry|do not fit"):
            roundtrip(t)


def test_storage_shorter_than_it_says():
    t = fake(np.arange(4.0))
    buffer, lying = io.BytesIO(), io.BytesIO()
    js.save(t, buffer)
    with zipfile.ZipFile(buffer) as source:
        writer = container.ZipWriter(lying, "archive")
        for name in source.namelist():
            data = source.read(name)
            writer.add(name.partition("/")[2], data[:8] if name.endswith("data/0") else data)
        writer.close()
    with pytest.raises(RuntimeError, match="has 8 bytes in the file where 32 are expected"):
        js.load(buffer_at_start(lying))


def test_truncated_and_foreign_files(tmp_path):
    buffer = io.BytesIO()
    js.save(fake(np.arange(100.0)), buffer)
    whole = buffer.getvalue()
    for length in (10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(RuntimeError, match="failed finding central directory"):
            js.load(io.BytesIO(whole[:length]))
    with pytest.raises(EOFError, match="Ran out of input"):
        js.load(io.BytesIO(b""))
    (tmp_path / "empty").touch()
    with pytest.raises(EOFError, match="Ran out of input"):
        js.load(tmp_path / "empty")
    with pytest.raises(pickle.UnpicklingError, match="invalid load key, '<'"):
        js.load(io.BytesIO(b"<html>"))
    with pytest.raises(RuntimeError, match="Invalid magic number"):
        js.load(io.BytesIO(pickle.dumps({"a": 1}, 2)))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/b.txt", "x")
    with pytest.raises(RuntimeError, match="failed locating file data.pkl"):
        js.load(buffer_at_start(other))
    for name, data, message in [("constants.pkl", b"", "TorchScript"), ("byteorder", b"big", "big-endian")]:
        archive = io.BytesIO()
        writer = container.ZipWriter(archive, "archive")
        writer.add(name, data)
        writer.add("data.pkl", b"\x80\x02N.")
        writer.close()
        with pytest.raises(RuntimeError, match=message):
            js.load(buffer_at_start(archive))


def test_bool_storages_hold_only_zero_and_one():
    assert LoadedStorage(np.array([0, 1, 2, 255], np.uint8)).array(dtypes.bool_).tolist() == [False, True, True, True]


def test_arguments():
    buffer = io.BytesIO()
    js.save(1, buffer, pickle_protocol=4, pickle_module=pickle)
    assert js.load(buffer_at_start(buffer)) == 1
    assert js.load(buffer_at_start(buffer), pickle_module=pickle) == 1
    with pytest.raises(ValueError, match="pickle_protocol"):
        js.save(1, buffer, pickle_protocol=-1)
    with pytest.raises(RuntimeError, match="pickle_module"):
        js.load(buffer, pickle_module=pickle, weights_only=True)
    with pytest.raises(ValueError, match="f must be a file path"):
        js.load(buffer, mmap=True)
    with pytest.raises(TypeError, match="takes no errors"):
        js.load(buffer, errors="strict")


def test_legacy_round_trip(tmp_path):
    base = fake(np.arange(6, dtype=np.float32))
    small = fake(sample(dtypes.bfloat16))
    path = tmp_path / "old.pt"
    with pytest.raises(RuntimeError, match="the old format has no storage for torch.uint16"):
        js.save(fake(sample(dtypes.uint16)), path, _use_new_zipfile_serialization=False)
    js.save({"a": base, "b": view(base, 2, (2, 2), (1, 2)), "c": small}, path, _use_new_zipfile_serialization=False)
    for weights_only in (True, False):
        out = js.load(path, weights_only=weights_only)
        assert out["a"].memory is out["b"].memory and out["b"].value.tolist() == [[2, 4], [3, 5]]
        assert same(out["c"].value, small.value)
    with pytest.raises(RuntimeError, match="mmap can only be used"):
        js.load(path, mmap=True)
    whole = path.read_bytes()
    for cut in (5, len(whole) // 2, len(whole) - 1):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            js.load(io.BytesIO(whole[:cut]))
    two = io.BytesIO(whole + whole)
    assert js.load(two)["a"].size == js.load(two)["a"].size == (6,) and two.read() == b""


def test_legacy_code_runs_at_most_once(tmp_path):
    path = tmp_path / "old.pt"
    js.save([Evil(calls.append, 1), fake(np.ones(2))], path, _use_new_zipfile_serialization=False)
    calls.clear()
    js.load(path, weights_only=False)
    assert len(record) == 1
    record.clear()
    with pytest.raises(pickle.UnpicklingError, match="which is not an allowed global"):
        js.load(path)
    assert not record


record = []


def note(x):
    record.append(x)


class calls:
    append = staticmethod(note)
    clear = staticmethod(record.clear)
