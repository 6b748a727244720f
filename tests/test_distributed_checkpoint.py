"""Checkpoints in folders: with PyTorch both ways, overwriting, damage; and between layouts of eight devices."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import jtorch as torch
import jtorch.distributed.checkpoint as dcp
from jtorch import nn
from jtorch.distributed.checkpoint import _nested_dict, metadata_file
from jtorch.distributed.checkpoint import state_dict as dsd
from jtorch.distributed.checkpoint.format_utils import (
    BroadcastingTorchSaveReader,
    DynamicMetaLoadPlanner,
    dcp_to_torch_save,
    torch_save_to_dcp,
)
from jtorch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys
from jtorch.distributed.checkpoint.stateful import Stateful
from jtorch.distributed.checkpoint.storage import StorageReader

ROOT = pathlib.Path(__file__).parent.parent


def a_state(library, fill: float = 1.0):
    """Everything that a training run saves, or room for it."""
    t = library
    return {
        "model": {"w": t.arange(6.0).view(2, 3) * fill, "half": t.full((3,), fill).bfloat16()},
        "flag": t.tensor(fill > 0),
        "optim": {"state": {"w": {"step": t.tensor(fill), "exp_avg": t.full((2, 3), fill)}},
                  "param_groups": [{"lr": fill, "betas": (fill, 0.9), "params": ["w"]}]},
        "list": [t.full((2,), fill), {"inner": fill}], "step": int(fill), "name": str(fill), "nothing": None,
        "numbers": [int(fill), 2], "scalar": t.tensor(fill, dtype=t.float64), "int": t.full((2,), int(fill)),
    }  # fmt: skip


def leaves(state: dict) -> dict:
    flat = {}

    def walk(path, value):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(f"{path}.{k}", v)
        elif isinstance(value, list) and any(isinstance(v, dict) or hasattr(v, "numpy") for v in value):
            for i, v in enumerate(value):
                walk(f"{path}.{i}", v)
        else:
            flat[path] = (str(value.dtype), value.double().numpy().tolist()) if hasattr(value, "numpy") else value

    walk("", state)
    return flat


@pytest.fixture
def theirs():
    pytorch = pytest.importorskip("torch", reason="PyTorch, to compare with")
    import torch.distributed.checkpoint  # noqa: F401

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about one process
        yield pytorch


def test_pytorch_reads_ours(theirs, tmp_path):
    dcp.save(a_state(torch, 3.0), checkpoint_id=tmp_path)
    found = a_state(theirs, 0.0)
    theirs.distributed.checkpoint.load(found, checkpoint_id=tmp_path)
    assert leaves(found) == leaves(a_state(torch, 3.0))
    metadata = theirs.distributed.checkpoint.FileSystemReader(tmp_path).read_metadata()
    assert metadata.planner_data["optim.param_groups.0.lr"] == ("optim", "param_groups", 0, "lr")
    assert metadata.state_dict_metadata["model.half"].properties.dtype is theirs.bfloat16
    theirs.distributed.checkpoint.save(found, checkpoint_id=tmp_path)  # and they may overwrite it


def test_we_read_pytorchs(theirs, tmp_path):
    writer = theirs.distributed.checkpoint.FileSystemWriter(tmp_path, thread_count=2)
    theirs.distributed.checkpoint.save(a_state(theirs, 3.0), storage_writer=writer)
    found = a_state(torch, 0.0)
    dcp.load(found, checkpoint_id=tmp_path)
    assert leaves(found) == leaves(a_state(torch, 3.0))
    assert leaves(_load_state_dict_from_keys(checkpoint_id=tmp_path)) == leaves(found)
    assert leaves(_load_state_dict_from_keys("optim", checkpoint_id=tmp_path)) == leaves({"optim": found["optim"]})


def test_names_are_pytorchs(theirs):
    from torch.distributed.checkpoint._nested_dict import flatten_state_dict

    nested = {"a": [1, [theirs.ones(1)], (theirs.ones(1),)], "b": {0: {}, "c": [[], [{}]]}, "d": [[1], 2], "e": []}
    flat, paths = flatten_state_dict(nested)
    ours, our_paths = _nested_dict.flatten_state_dict(
        {"a": [1, [torch.ones(1)], (torch.ones(1),)], "b": {0: {}, "c": [[], [{}]]}, "d": [[1], 2], "e": []}
    )
    assert list(ours) == list(flat) and our_paths == paths


def test_on_eight_devices(tmp_path, request):
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/checkpoint_on_eight_devices.py",
         *(["--run-slow"] if request.config.getoption("--run-slow") else [])],
        capture_output=True, text=True, timeout=600, cwd=ROOT,
        env={
            **os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "CHECKPOINT_FOLDER": str(tmp_path),
        },
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 18
    expected = np.arange(8 * 12.0).reshape(8, 12)
    state = {"m": {"w": torch.zeros(8, 12)}, "n": 0}  # saved in eight blocks, read on one device
    dcp.load(state, checkpoint_id=tmp_path)
    np.testing.assert_array_equal(state["m"]["w"].numpy(), expected)
    theirs = pytest.importorskip("torch", reason="PyTorch, to read it too")
    import torch.distributed.checkpoint as their_dcp

    state = {"m": {"w": theirs.zeros(8, 12)}, "n": 0}
    with pytest.warns(UserWarning, match="single process"):
        their_dcp.load(state, checkpoint_id=tmp_path)
    np.testing.assert_array_equal(state["m"]["w"].numpy(), expected)
    assert state["n"] == 3


# --- a folder that is written again ----------------------------------------------------------------------------------


class Faulty(dcp.DefaultSavePlanner):
    def resolve_data(self, write_item):
        if write_item.index.fqn == "b":
            raise OSError("the disk is full")
        return super().resolve_data(write_item)


def test_a_checkpoint_stays_until_the_next_is_whole(tmp_path):
    dcp.save({"a": torch.zeros(2), "b": torch.zeros(2)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="the disk is full"):
        dcp.save({"a": torch.ones(2), "b": torch.ones(2)}, checkpoint_id=tmp_path, planner=Faulty())
    state = {"a": torch.ones(2), "b": torch.ones(2)}
    dcp.load(state, checkpoint_id=tmp_path)
    assert not state["a"].any() and sorted(os.listdir(tmp_path)) == [".metadata", "__0_0.distcp"]
    dcp.save({"a": torch.ones(2)}, checkpoint_id=tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".metadata", "__0_1.distcp"]
    with pytest.raises(dcp.CheckpointException, match="already exists"):
        dcp.save({"a": torch.ones(2)}, storage_writer=dcp.FileSystemWriter(tmp_path, overwrite=False))


def test_files(tmp_path):
    state = {f"t{i}": torch.full((i + 1,), float(i)) for i in range(6)} | {"n": 1}
    for i, options in enumerate(({"single_file_per_rank": False}, {"thread_count": 3}, {"sync_files": False})):
        dcp.save(state, storage_writer=dcp.FileSystemWriter(tmp_path / str(i), **options))
        assert len(os.listdir(tmp_path / str(i))) - 1 == (7, 3, 1)[i]
        found = {f"t{i}": torch.zeros(i + 1) for i in range(6)} | {"n": 0}
        dcp.load(found, storage_reader=dcp.FileSystemReader(tmp_path / str(i)))
        assert leaves(found) == leaves(state)
    dcp_to_torch_save(tmp_path / "0", tmp_path / "one.pt")
    assert leaves(torch.load(tmp_path / "one.pt")) == leaves(state)
    torch_save_to_dcp(tmp_path / "one.pt", tmp_path / "again")
    assert leaves(_load_state_dict_from_keys(checkpoint_id=tmp_path / "again")) == leaves(state)
    torch.save({"m": {"w": torch.arange(4.0)}}, tmp_path / "plain.pt")
    into = {"m": {"w": torch.zeros(4)}}
    dcp.load(into, storage_reader=BroadcastingTorchSaveReader(tmp_path / "plain.pt"), planner=DynamicMetaLoadPlanner())
    assert into["m"]["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(dcp.CheckpointException, match="only loads tensors"):
        dcp.load({"n": 1}, storage_reader=BroadcastingTorchSaveReader("x"), planner=DynamicMetaLoadPlanner())
    with pytest.warns(FutureWarning, match="deprecated"):
        dcp.save_state_dict(state, dcp.FileSystemWriter(tmp_path / "old"))
    with pytest.warns(FutureWarning, match="deprecated"):
        dcp.load_state_dict(found, dcp.FileSystemReader(tmp_path / "old"))


def test_safetensors_files(theirs, tmp_path):
    state = {"a": torch.arange(6.0).view(2, 3), "b.c": torch.ones(2).bfloat16(), "n": torch.tensor(3)}
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(tmp_path, {"a": 1, "b.c": 2, "n": 1}))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors.index.json", *names][1:] + [
        "model.safetensors.index.json"
    ]
    assert json.loads((tmp_path / "model.safetensors.index.json").read_text()) == {
        "metadata": {"total_size": 24 + 4 + 8}, "weight_map": {"a": names[0], "n": names[0], "b.c": names[1]},
    }  # fmt: skip
    for library, reader in ((torch, dcp), (theirs, theirs.distributed.checkpoint)):
        found = {"a": library.zeros(2, 3), "b.c": library.zeros(2).bfloat16(), "n": library.tensor(0)}
        reader.load(found, storage_reader=reader.HuggingFaceStorageReader(str(tmp_path)))
        assert leaves(found) == leaves(state)
    writer = theirs.distributed.checkpoint.HuggingFaceStorageWriter(str(tmp_path / "x"), save_distributed=True)
    theirs.distributed.checkpoint.save(found, storage_writer=writer)
    again = {k: torch.zeros_like(v) for k, v in state.items()}
    dcp.load(again, storage_reader=dcp.HuggingFaceStorageReader(tmp_path / "x"))
    assert leaves(again) == leaves(state)
    with pytest.raises(dcp.CheckpointException, match="hold tensors only"):
        dcp.save({"n": 1}, storage_writer=dcp.HuggingFaceStorageWriter(tmp_path))
    with pytest.raises(dcp.CheckpointException, match="no .safetensors files"):
        (tmp_path / "empty").mkdir()
        dcp.load(again, storage_reader=dcp.HuggingFaceStorageReader(tmp_path / "empty"))


class Counter:
    def __init__(self):
        self.count = torch.zeros(())

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.loaded = state["count"].item()


def test_of_a_view_only_what_it_shows_is_saved(tmp_path):
    dcp.save({"part": torch.zeros(1000, 100)[3:5]}, checkpoint_id=tmp_path)
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 10_000


def test_stateful_objects_and_meta_tensors(tmp_path):
    counter = Counter()
    counter.count += 4
    assert isinstance(counter, Stateful) and not isinstance(3, Stateful)
    dcp.save({"counter": counter, "m": {"w": torch.ones(2)}}, checkpoint_id=tmp_path)
    other, state = Counter(), {"w": torch.empty(2, device="meta")}
    dcp.load({"counter": other, "m": state}, checkpoint_id=tmp_path)
    assert other.loaded == 4 and state["w"].tolist() == [1, 1]


class Renamed(dcp.DefaultLoadPlanner):
    """Reads what is called ``old.*`` in the checkpoint, and doubles it."""

    def set_up_planner(self, state_dict, metadata=None, is_coordinator=False):
        super().set_up_planner(state_dict, metadata, is_coordinator)
        self.state_dict = {f"old.{k}": v for k, v in self.state_dict.items()}

    def commit_tensor(self, read_item, tensor):
        tensor.mul_(2)


def test_planners_of_ones_own(tmp_path):
    dcp.save({"old": {"w": torch.arange(4.0)}}, checkpoint_id=tmp_path)
    state = {"w": torch.zeros(4)}
    dcp.load(state, checkpoint_id=tmp_path, planner=Renamed())
    assert state["w"].tolist() == [0, 2, 4, 6]
    flat = {"old.w": torch.zeros(4)}
    dcp.load(flat, checkpoint_id=tmp_path, planner=dcp.DefaultLoadPlanner(flatten_state_dict=False))
    assert flat["old.w"].tolist() == [0, 1, 2, 3]


# --- what cannot be loaded -------------------------------------------------------------------------------------------


def test_what_does_not_fit(tmp_path):
    dcp.save({"w": torch.ones(2), "n": 1}, checkpoint_id=tmp_path)
    for state, text in (
        ({"v": torch.ones(2)}, "Missing key in checkpoint state_dict: v."), ({"w": torch.ones(3)}, "Size mismatch"),
        ({"w": 1}, "is a tensor in the checkpoint"),
    ):  # fmt: skip
        with pytest.raises(dcp.CheckpointException, match=text):
            dcp.load(state, checkpoint_id=tmp_path)
    state = {"v": torch.zeros(2), "w": torch.zeros(2)}
    dcp.load(state, checkpoint_id=tmp_path, planner=dcp.DefaultLoadPlanner(allow_partial_load=True))
    assert state["w"].all() and not state["v"].any()
    with pytest.raises(dcp.CheckpointException, match="FileNotFoundError"):
        dcp.load(state, checkpoint_id=tmp_path / "none")
    with pytest.raises(RuntimeError, match="checkpoint_id"):
        dcp.save(state)
    with pytest.raises(RuntimeError, match="only folders"):
        dcp.load(state, checkpoint_id="s3://bucket/x")
    with pytest.raises(NotImplementedError, match="THREAD"):
        dcp.async_save(state, checkpoint_id=tmp_path,
                       async_checkpointer_type=dcp.state_dict_saver.AsyncCheckpointerType.PROCESS)  # fmt: skip
    assert issubclass(dcp.FileSystemReader, StorageReader)


class Opened(Exception):
    pass


class Bomb:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_in_the_files_is_run(tmp_path):
    dcp.save({"w": torch.ones(2), "n": 1}, checkpoint_id=tmp_path)
    path = tmp_path / ".metadata"
    good = path.read_bytes()
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(dcp.CheckpointException, match="not an allowed global"):
        dcp.load({"n": 0}, checkpoint_id=tmp_path)
    for damaged in (good[:-30], good.replace(b"chunks", b"chonks"), pickle.dumps({})):
        path.write_bytes(damaged)
        with pytest.raises(dcp.CheckpointException, match="UnpicklingError|EOFError"):
            dcp.load({"w": torch.zeros(2)}, checkpoint_id=tmp_path)
    metadata = metadata_file.loads(good)
    for info in metadata.storage_data.values():
        info.relative_path = "../" + info.relative_path
    path.write_bytes(metadata_file.dumps(metadata))
    with pytest.raises(dcp.CheckpointException, match="outside of the checkpoint"):
        dcp.load({"n": 0}, checkpoint_id=tmp_path)
    metadata = metadata_file.loads(good)
    metadata.state_dict_metadata["w"].chunks[0].sizes = torch.Size([9])
    with pytest.raises(pickle.UnpicklingError, match="lies outside"):
        metadata_file.loads(metadata_file.dumps(metadata))
    dcp.save({"n": Opened("x")}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="Opened"):
        dcp.load({"n": 0}, checkpoint_id=tmp_path)
    with torch.serialization.safe_globals([Opened]):
        state = {"n": 0}
        dcp.load(state, checkpoint_id=tmp_path)
    assert isinstance(state["n"], Opened)


# --- state by plain names --------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        return self.b(self.a(x))


def test_names_of_a_compiled_model():
    model = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Linear(2, 1))
    opt = torch.optim.Adam([{"params": model[1].parameters(), "lr": 0.5}, {"params": model[0].parameters()}])
    found, optim = dsd.get_state_dict(model, opt)
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [g["params"] for g in optim["param_groups"]] == [["1.weight", "1.bias"], ["0.weight", "0.bias"]]
    plain = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    other = torch.optim.Adam([{"params": plain[0].parameters()}, {"params": plain[1].parameters()}])
    optim["state"]["1.bias"]["exp_avg"] += 7
    assert dsd.set_state_dict(plain, other, model_state_dict=found, optim_state_dict=optim).missing_keys == []
    assert [g["lr"] for g in other.param_groups] == [1e-3, 0.5]  # found by name, in whatever order
    assert other.state[plain[1].bias]["exp_avg"].item() == 7
    assert torch.equal(plain[0].weight, model[0].weight)
    dsd.set_model_state_dict(model, {k: torch.zeros_like(v) for k, v in found.items()})
    assert not model[0].weight.any()


def test_two_optimizers_tied_weights_and_errors():
    model = Tied()
    first, second = torch.optim.SGD([model.a.weight], lr=0.1, momentum=0.9), torch.optim.Adam([model.a.bias])
    state = dsd.get_optimizer_state_dict(model, (first, second))
    assert set(state["state"]) == {"a.weight", "a.bias"} and len(state["param_groups"]) == 2
    state["state"]["a.weight"]["momentum_buffer"] += 2
    dsd.set_optimizer_state_dict(model, (first, second), state)
    assert first.state[model.a.weight]["momentum_buffer"][0, 0].item() == 2
    assert first.param_groups[0]["lr"] == 0.1
    del state["state"]["a.bias"]
    with pytest.raises(RuntimeError, match="Missing optimizer state for parameter 'a.bias'"):
        dsd.set_optimizer_state_dict(model, second, state)
    dsd.set_optimizer_state_dict(model, second, state, options=dsd.StateDictOptions(strict=False))
    with pytest.raises(RuntimeError, match="none of the model's"):
        dsd.get_optimizer_state_dict(nn.Linear(1, 1), first)
    with pytest.raises(RuntimeError, match="empty"):
        dsd.set_model_state_dict(model, {})
    with pytest.raises(ValueError, match="full_state_dict must be True"):
        dsd.get_model_state_dict(model, options=dsd.StateDictOptions(broadcast_from_rank0=True))
    with pytest.warns(FutureWarning, match="submodules"):
        assert set(dsd.get_model_state_dict(model, submodules={model.a})) == {"a.weight", "a.bias"}
    second.state[model.a.bias] = {"notes": "text"}
    with pytest.raises(NotImplementedError, match="tensor, int, float"):
        dsd.get_optimizer_state_dict(model, second, options=dsd.StateDictOptions(flatten_optimizer_state_dict=True))


def test_state_is_what_pytorch_makes(theirs):
    from torch.distributed.checkpoint import state_dict as their_dsd

    ours, other = nn.Linear(2, 2), theirs.nn.Linear(2, 2)
    for flat in (False, True):
        a = dsd.get_optimizer_state_dict(
            ours, torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9),
            options=dsd.StateDictOptions(flatten_optimizer_state_dict=flat),
        )  # fmt: skip
        b = their_dsd.get_optimizer_state_dict(
            other, theirs.optim.SGD(other.parameters(), lr=0.1, momentum=0.9),
            options=their_dsd.StateDictOptions(flatten_optimizer_state_dict=flat),
        )  # fmt: skip
        if flat:
            a, b = ({k: v for k, v in s.items() if k.startswith("state") or k.endswith("lr")} for s in (a, b))
        else:
            a, b = ({**s, "param_groups": [g["params"] for g in s["param_groups"]]} for s in (a, b))
        assert leaves(a) == leaves(b)
