"""Files that PyTorch wrote, read by us, and the other way round (tensors stand-ins, see test_serialization_format)."""

import collections
import io
import pickle
import warnings

import numpy as np
import pytest

import jtorch.serialization as js
from jtorch import dtypes
from jtorch.devices import device
from jtorch.size import Size

from .test_serialization_format import (
    Fake,
    FakeParameter,
    Memory,
    buffer_at_start,
    fake,
    fake_tensors,  # noqa: F401 (autouse fixture)
    same,
    sample,
    view,
)

torch = pytest.importorskip("torch")


def to_numpy(t: "torch.Tensor") -> np.ndarray:
    """The values of a PyTorch tensor, by their bits."""
    kind = dtypes.of_name(str(t.dtype).removeprefix("torch."))
    t = t.detach().resolve_conj().resolve_neg().contiguous()
    raw = t.reshape(-1).view(torch.uint8) if t.numel() else torch.empty(0, dtype=torch.uint8)
    return raw.numpy().view(kind.np).reshape(tuple(t.shape))


def to_torch(array: np.ndarray) -> "torch.Tensor":
    kind = getattr(torch, dtypes.of_numpy(array.dtype).name)
    raw = torch.from_numpy(np.ascontiguousarray(array).reshape(-1).view(np.uint8).copy())
    return raw.view(kind).reshape(array.shape)


def saved_by_torch(obj, legacy=False) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(obj, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer_at_start(buffer)


def matches(ours: Fake, theirs: "torch.Tensor") -> bool:
    return (
        isinstance(ours, Fake)
        and tuple(ours.size) == tuple(theirs.shape)
        and tuple(ours.stride) == theirs.stride()
        and ours.offset == theirs.storage_offset()
        and ours.requires_grad == theirs.requires_grad
        and isinstance(ours, FakeParameter) == isinstance(theirs, torch.nn.Parameter)
        and same(ours.value, to_numpy(theirs))
    )


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.conv = torch.nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight  # tied


# --- theirs to ours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", dtypes.ALL, ids=str)
@pytest.mark.parametrize("legacy", [False, True])
def test_read_every_dtype(kind, legacy):
    array = sample(kind)
    out = js.load(saved_by_torch([to_torch(array), getattr(torch, kind.name)], legacy))
    assert same(out[0].value, array) and out[1] is kind


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("weights_only", [False, True])
def test_read_state_dict(legacy, weights_only):
    net = Net()
    theirs = net.state_dict()
    ours = js.load(saved_by_torch(theirs, legacy), weights_only=weights_only)
    assert type(ours) is collections.OrderedDict and list(ours) == list(theirs)
    assert ours._metadata == theirs._metadata
    for name in theirs:
        assert matches(ours[name], theirs[name]), name
    assert ours["embed.weight"].memory is ours["head.weight"].memory


@pytest.mark.parametrize("legacy", [False, True])
def test_read_awkward_tensors(legacy):
    base = torch.arange(24.0).reshape(2, 3, 4)
    tagged = torch.nn.Parameter(torch.ones(2))
    tagged.role = "head"
    theirs = {
        "base": base, "t": base.permute(2, 0, 1), "slice": base[1:, ::2, 1], "expanded": base[0, 0, :1].expand(5),
        "scalar": base[1, 1, 1], "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.ones(2)),
        "tagged": tagged, "grad": torch.ones(2, requires_grad=True), "buffer": torch.nn.Buffer(torch.ones(2)),
    }  # fmt: skip
    ours = js.load(saved_by_torch(theirs, legacy))
    for name in theirs:
        assert matches(ours[name], theirs[name]), name
    assert len({id(ours[n].memory) for n in ("base", "t", "slice", "expanded", "scalar")}) == 1
    assert ours["tagged"].role == "head"


def test_read_lazy_conjugates_and_negatives():
    x = torch.tensor([[1 + 2j, 3 - 4j]])
    for theirs in (x.conj(), x.conj().imag, x.T.conj(), torch._neg_view(x.real)):
        assert theirs.is_conj() or theirs.is_neg()
        for legacy in (False, True):
            assert same(js.load(saved_by_torch(theirs, legacy)).value, to_numpy(theirs))


def test_read_optimizer_and_trainer_state():
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    net.head(net.norm(net.embed(torch.tensor([1, 2])))).sum().backward()
    optimizer.step()
    theirs = {
        "model": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "epoch": 3,
        "args": {"lr": 1e-3, "name": "x", "shape": torch.Size([2, 3]), "device": torch.device("cpu")}, "best": None,
    }  # fmt: skip
    ours = js.load(saved_by_torch(theirs))
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    assert ours["scheduler"] == theirs["scheduler"] and ours["epoch"] == 3 and ours["best"] is None
    assert type(ours["args"]["shape"]) is Size and ours["args"]["device"] == device("cpu")
    for key, state in theirs["optimizer"]["state"].items():
        for name, value in state.items():
            assert matches(ours["optimizer"]["state"][key][name], value)


@pytest.mark.parametrize("mmap", [False, True])
def test_read_file_of_torch_by_path(tmp_path, mmap):
    theirs = {"a": torch.randn(100, 7), "b": torch.randn(3).bfloat16()}
    torch.save(theirs, tmp_path / "m.pt")
    ours = js.load(tmp_path / "m.pt", mmap=mmap)
    assert all(matches(ours[n], theirs[n]) for n in theirs)


def test_read_without_checksums(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save([torch.ones(3)], tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert same(js.load(tmp_path / "m.pt")[0].value, np.ones(3, np.float32))


def test_read_meta():
    ours = js.load(saved_by_torch(torch.empty(2, 3, device="meta", dtype=torch.float16)))
    assert (ours.device, ours.size, ours.dtype) == ("meta", (2, 3), dtypes.float16)


@pytest.mark.parametrize("legacy", [False, True])
def test_read_refuses_code(legacy):
    for obj in (torch.nn.Linear(2, 2), collections.defaultdict(list), np.float64(3), np.ones(3)):
        buffer = saved_by_torch({"x": obj}, legacy)
        with pytest.raises(pickle.UnpicklingError, match="is not an allowed global.*weights_only=False"):
            js.load(buffer)


def test_read_numpy_when_trusted():
    ours = js.load(saved_by_torch({"x": np.ones(3), "d": collections.defaultdict(list, a=[1])}), weights_only=False)
    assert same(ours["x"], np.ones(3)) and ours["d"]["b"] == []


def test_read_torchscript_is_refused():
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    with pytest.raises(RuntimeError, match="TorchScript archive"):
        js.load(buffer_at_start(buffer))


# --- ours to theirs ------------------------------------------------------------------------------------------------


def read_by_torch(obj, tmp_path, **options):
    js.save(obj, tmp_path / "ours.pt")
    return torch.load(tmp_path / "ours.pt", **options)


@pytest.mark.parametrize("kind", dtypes.ALL, ids=str)
@pytest.mark.parametrize("options", [{"weights_only": True}, {"mmap": True}, {"weights_only": False}], ids=str)
def test_write_every_dtype(kind, options, tmp_path):
    array = sample(kind)
    theirs = read_by_torch({"t": fake(array), "dtype": kind}, tmp_path, **options)
    assert theirs["dtype"] is getattr(torch, kind.name)
    assert theirs["t"].dtype is theirs["dtype"] and same(to_numpy(theirs["t"]), array)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("calculate", [False, True])
def test_write_views_and_ties(tmp_path, mmap, calculate):
    base = fake(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))
    other = fake(np.ones((50, 3), np.float16))
    small = fake(sample(dtypes.float8_e4m3fn))
    ours = {
        "base": base, "t": view(base, 0, (4, 2, 3), (1, 12, 4)), "expanded": view(base, 5, (5,), (0,)), "tie": base,
        "other": other, "empty": fake(np.zeros((0, 3))), "small": small, "small.T": view(small, 0, (4, 3), (1, 4)),
        "p": fake(np.ones(3), True, FakeParameter), "leaf": fake(np.ones(3), True),
    }  # fmt: skip
    from torch.utils.serialization import config

    with config.patch({"load.calculate_storage_offsets": calculate}):
        theirs = read_by_torch(ours, tmp_path, mmap=mmap)
    for name in ours:
        assert matches(ours[name], theirs[name]), name
    shared = [("base", "t", "expanded", "tie"), ("small", "small.T")]
    for names in shared:
        assert len({theirs[n].untyped_storage().data_ptr() for n in names}) == 1
    assert theirs["base"] is theirs["tie"]


def test_write_plain_objects(tmp_path):
    state = collections.OrderedDict(w=fake(np.ones(2)))
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    ours = {
        "state": state, "size": Size([2, 3]), "device": device("cuda", 1), "cpu": device("cpu"), "n": [1, 2.5, None],
        "bytes": b"\0\xff", "set": {1, 2}, "counter": collections.Counter("aab"), "complex": 1j,
    }  # fmt: skip
    theirs = read_by_torch(ours, tmp_path)
    assert type(theirs["size"]) is torch.Size and theirs["device"] == torch.device("cuda:1")
    assert theirs["cpu"] == torch.device("cpu") and theirs["state"]._metadata == state._metadata
    for name in ("n", "bytes", "set", "counter", "complex"):
        assert theirs[name] == ours[name]


def test_write_attributes_and_meta(tmp_path):
    tagged, parameter = fake(np.ones(2)), fake(np.ones(2), True, FakeParameter)
    tagged.extra, parameter.extra = {"tag": 3}, {"role": "head"}
    meta = Fake(Memory(np.empty(0, np.float32)), dtypes.float32, 0, (2, 3), (3, 1), True, "meta")
    theirs = read_by_torch([tagged, parameter, meta], tmp_path)
    assert theirs[0].tag == 3 and theirs[1].role == "head" and isinstance(theirs[1], torch.nn.Parameter)
    assert theirs[2].is_meta and theirs[2].shape == (2, 3) and theirs[2].requires_grad


def test_write_legacy(tmp_path):
    base, small = fake(np.arange(6, dtype=np.float32)), fake(sample(dtypes.bfloat16))
    ours = {"base": base, "v": view(base, 2, (2, 2), (1, 2)), "small": small}
    js.save(ours, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    theirs = torch.load(tmp_path / "old.pt")
    assert all(matches(ours[n], theirs[n]) for n in ours)


def test_load_into_module(tmp_path):
    net = Net()
    state = collections.OrderedDict((n, fake(to_numpy(t))) for n, t in net.state_dict().items())
    fresh = Net()
    fresh.load_state_dict(read_by_torch(state, tmp_path))
    for before, after in zip(net.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(before, after)
