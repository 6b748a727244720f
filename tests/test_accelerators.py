"""The packages that are about devices: ``cuda``, ``cpu``, ``xpu``, ``mtia``, ``accelerator``, ``backends``."""

from __future__ import annotations

import importlib

import pytest

import jtorch

#: Names that stand for machinery that jtorch does not have.
_INNER = {"cudaStatus", "jiterator", "sparse", "tunable", "streams", "graphs"}


@pytest.mark.parametrize("name", ["cuda", "cuda.memory", "cuda.random", "cuda.nvtx", "cuda.profiler", "cuda.comm",
    "cuda.graphs", "cuda.nccl", "cpu", "xpu", "mps", "mtia", "accelerator", "backends.cusparselt"])  # fmt: skip
def test_every_public_name_is_there(name):
    pytest.importorskip("torch")
    theirs, ours = (importlib.import_module(f"{library}.{name}") for library in ("torch", "jtorch"))
    missing = {n for n in theirs.__all__ if not hasattr(ours, n)}
    assert missing <= _INNER, missing


@pytest.mark.skipif(jtorch.cuda.is_available(), reason="the answers are those of a machine without a GPU")
def test_answers_without_a_gpu():
    cuda = jtorch.cuda
    assert cuda.get_arch_list() == [] and cuda.get_gencode_flags() == "" and cuda.host_memory_stats() == {}
    assert cuda.seed() is None and cuda.seed_all() is None and cuda.memory_stats_as_nested_dict() == {}
    sensors = (cuda.utilization, cuda.temperature, cuda.power_draw, cuda.clock_rate, cuda.device_memory_used)
    for ask in (*sensors, cuda.initial_seed, cuda.cudart, cuda.get_sync_debug_mode, cuda.MemPool, cuda.profiler.start):
        with pytest.raises(RuntimeError, match="No CUDA GPUs"):
            ask()
    with pytest.raises(TypeError, match="fraction"):
        cuda.set_per_process_memory_fraction(1)
    with cuda.device_of(jtorch.ones(2)):
        pass
    with pytest.raises(RuntimeError, match="none is available"):
        jtorch.accelerator.get_memory_info()
    for package in (jtorch.xpu, jtorch.mtia):
        assert not package.is_available() and package.device_count() == 0 and package.memory_allocated() == 0
        with pytest.raises(RuntimeError, match="devices"):
            package.synchronize()
    with pytest.raises(cuda.CudaError, match="2"):
        cuda.check_error(2)
    cuda.check_error(0)


def test_the_cpu_asked_as_an_accelerator():
    s, before = jtorch.cpu.Stream(), jtorch.cpu.current_stream()
    with jtorch.cpu.stream(s):
        assert jtorch.cpu.current_stream() is s
        s.wait_stream(before)
    assert jtorch.cpu.current_stream() is before
    event = jtorch.cpu.Event()
    event.record()
    event.synchronize()
    assert event.query() and jtorch.cpu.is_initialized()


def test_storages_know_their_device():
    storage = jtorch.FloatStorage(3)
    assert isinstance(storage, jtorch.FloatStorage) and not isinstance(storage, jtorch.cuda.FloatStorage)
    assert repr(jtorch.cuda.FloatStorage) == "<class 'torch.cuda.FloatStorage'>"


def test_regions_by_number():
    nvtx = jtorch.cuda.nvtx
    first, second = nvtx.range_start("a"), nvtx.range_start("b")
    assert first != second
    nvtx.range_end(first)
    nvtx.range_end(second)
    nvtx.range_end(second)


def test_preferred_libraries_are_kept():
    prefer = jtorch.backends.cuda.preferred_linalg_library
    before = prefer()
    assert repr(prefer("magma")) == "<_LinalgBackend.Magma>" and prefer() == "_LinalgBackend.Magma"
    assert prefer("default") == before
    with pytest.raises(RuntimeError, match="cusolver"):
        prefer("lapack")


def test_tensors_between_devices():
    comm, nccl = jtorch.nn.parallel.comm, jtorch.cuda.nccl
    x = jtorch.arange(6.0)
    assert [p.tolist() for p in comm.scatter(x, ["cpu", "cpu"], [2, 4])] == [[0, 1], [2, 3, 4, 5]]
    out = (jtorch.zeros(2), jtorch.zeros(4))
    assert comm.scatter(x, out=out) == out and out[1].tolist() == [2, 3, 4, 5]
    assert comm.gather(out).equal(x) and comm.gather(out, out=jtorch.zeros(6)).equal(x)
    assert comm.reduce_add([x, x, x]).equal(3 * x)
    assert [[t.tolist() for t in row] for row in comm.broadcast_coalesced([x[:1], x[:2]], ["cpu"] * 2)] == [
        [[0], [0, 1]]
    ] * 2
    with pytest.raises(RuntimeError, match="Exactly one"):
        comm.broadcast(x)
    with pytest.raises(ValueError, match="input 1 has invalid size"):
        comm.reduce_add([x, x[:2]])
    parts = [jtorch.zeros(3), jtorch.zeros(3)]
    nccl.reduce_scatter([x, 2 * x], parts)
    assert [p.tolist() for p in parts] == [[0, 3, 6], [9, 12, 15]]
    whole = [jtorch.zeros(6), jtorch.zeros(6)]
    nccl.all_gather(parts, whole)
    assert whole[0].equal(whole[1]) and whole[0].equal(3 * x)
    nccl.all_reduce(whole, op=3)
    nccl.reduce(whole, parts := jtorch.zeros(6))
    assert parts.equal(6 * x)
    nccl.broadcast([a := jtorch.zeros(6), x], root=1)
    assert a.equal(x)


def test_capabilities_of_the_processor():
    found = jtorch.cpu.get_capabilities()
    assert found["num_logical_cores"] >= 1 and found["architecture"]
    torch = pytest.importorskip("torch")
    theirs = torch.cpu.get_capabilities()
    assert {k: v for k, v in found.items() if isinstance(v, bool) and v != theirs.get(k, v)} == {}
    assert found["architecture"] == theirs["architecture"]
