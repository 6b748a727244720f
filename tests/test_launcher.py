"""``jtorchrun``: the environment of the ranks, one failure ends all, restarts, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from jtorch.distributed import run

ROOT = Path(__file__).parents[1]


def start(path, source, *options):
    script = path / "script.py"
    script.write_text(textwrap.dedent(source))
    env = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    command = [sys.executable, "-m", "jtorch.distributed.run", "--nproc-per-node", "2", "--log-dir", path / "logs"]
    return subprocess.Popen(
        [*command, *options, script, "an", "--argument"], env=env, cwd=path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_environment_and_shim(tmp_path):
    source = """
        import json, os, sys, torch
        names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK ROLE_RANK MASTER_ADDR OMP_NUM_THREADS "
        names += "TORCHELASTIC_RESTART_COUNT TORCHELASTIC_RUN_ID"
        print(json.dumps([{n: os.environ[n] for n in names.split()}, sys.argv[1:], torch.__name__]))
    """
    code, out, err = finish(start(tmp_path, source, "--tee", "3", "--rdzv-id", "job"))
    assert code == 0, err
    lines = sorted(out.splitlines())
    for rank, line in enumerate(lines):
        assert line.startswith(f"[default{rank}]:")
        found, arguments, name = json.loads(line.partition(":")[2])
        assert arguments == ["an", "--argument"] and name == "torch"
        assert found == {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
            "ROLE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_RUN_ID": "job",
        }  # fmt: skip
    assert len(list((tmp_path / "logs").glob("job_*/attempt_0/*/stdout.log"))) == 2


def test_one_failure_ends_all_and_is_named(tmp_path):
    source = """
        import os, time
        from torch.distributed.elastic.multiprocessing.errors import record
        @record
        def main():
            if os.environ["RANK"] == "1":
                raise ValueError("no luck")
            open("pid", "w").write(str(os.getpid()))
            time.sleep(60)
        main()
    """
    before = time.monotonic()
    code, out, err = finish(start(tmp_path, source))
    assert code == 1 and "rank 1 (local_rank 1, pid" in err and "ValueError: no luck" in err
    assert time.monotonic() - before < 55
    pid = tmp_path / "pid"
    assert not pid.exists() or not os.path.exists(f"/proc/{pid.read_text()}")


def test_restart_goes_on_from_a_checkpoint(tmp_path):
    source = """
        import os, pathlib, signal
        rank = os.environ["RANK"]
        saved = pathlib.Path(f"step{rank}")
        step = int(saved.read_text()) if saved.exists() else 0
        print(f"rank {rank} starts at {step}", flush=True)
        for step in range(step + 1, 5):
            saved.write_text(str(step))
            if rank == "1" and step == 3 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                os.kill(os.getpid(), signal.SIGKILL)
    """
    code, out, err = finish(start(tmp_path, source, "--max-restarts", "1"))
    assert code == 0 and "rank 1 starts at 3" in out, out + err
    assert "signal 9 (SIGKILL)" in err and "restarting all ranks" in err
    assert (tmp_path / "step1").read_text() == "4"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_launcher(tmp_path, number):
    source = """
        import os, pathlib, signal, sys, time
        rank = os.environ["RANK"]
        def on_term(*_):
            pathlib.Path(f"told{rank}").touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, on_term)
        pathlib.Path(f"pid{rank}.new").write_text(str(os.getpid()))
        os.rename(f"pid{rank}.new", f"pid{rank}")
        time.sleep(60)
    """
    process = start(tmp_path, source)
    deadline = time.monotonic() + 50
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    while not all(f.exists() for f in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [f.read_text() for f in files]
    process.send_signal(number)
    code, _, _ = finish(process)
    if number == signal.SIGTERM:
        assert code == 128 + number and (tmp_path / "told0").exists() and (tmp_path / "told1").exists()
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_options():
    spec = run.spec_of(run.parse_args(["--nproc_per_node=3", "--redirects", "0:1,2:3", "-m", "pkg.mod", "-x"]))
    assert spec.nproc == 3 and spec.redirects == {0: 1, 2: 3} and spec.command[-4:] == ["jtorch", "-m", "pkg.mod", "-x"]
    spec = run.spec_of(run.parse_args(["--nnodes", "2", "--node-rank", "1", "--rdzv-endpoint", "h:12", "s.py"]))
    assert (spec.nnodes, spec.node_rank, spec.master_addr, spec.master_port) == (2, 1, "h", 12)
    for options, kind, match in [
        (["--nnodes", "1:4"], NotImplementedError, "cannot change"),
        (["--rdzv-backend", "etcd"], NotImplementedError, "etcd"),
        (["--nnodes", "2", "--max-restarts", "1", "--master-addr", "h"], NotImplementedError, "one machine"),
        (["--nnodes", "2"], ValueError, "--master-addr"),
        (["--nproc-per-node", "some"], ValueError, "got 'some'"),
        (["--tee", "5"], ValueError, "streams are"),
    ]:
        with pytest.raises(kind, match=match):
            run.spec_of(run.parse_args([*options, "s.py"]))


@pytest.mark.slow
def test_ddp_goes_on_after_a_killed_rank(tmp_path):
    source = """
        import os, signal, torch, torch.distributed as dist
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        torch.manual_seed(0)
        inner = torch.nn.Linear(4, 1)
        begin = 0
        if os.path.exists("checkpoint.pt"):
            saved = torch.load("checkpoint.pt")
            inner.load_state_dict(saved["model"])
            begin = saved["step"]
        model = torch.nn.parallel.DistributedDataParallel(inner)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(begin, 6):
            x = torch.arange(4.0).add(rank + step).view(1, 4) / 10
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
            if rank == 0:
                torch.save({"model": inner.state_dict(), "step": step + 1}, "new.pt")
                os.rename("new.pt", "checkpoint.pt")
            dist.barrier()
            if step == 2 and rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == os.environ["KILL_AT"]:
                os.kill(os.getpid(), signal.SIGKILL)
        print(f"rank {rank} from {begin}: {inner.weight.flatten().tolist()}", flush=True)
        dist.destroy_process_group()
    """
    ends = []
    for kill_at in ("0", "never"):
        folder = tmp_path / kill_at
        folder.mkdir()
        before, os.environ["KILL_AT"] = os.environ.get("KILL_AT"), kill_at
        try:
            code, out, err = finish(start(folder, source, "--max-restarts", "1"))
        finally:
            os.environ.pop("KILL_AT") if before is None else os.environ.update(KILL_AT=before)
        assert code == 0, out + err
        assert ("from 3" in out) == (kill_at == "0"), out + err
        ends.append({line.partition(": ")[2] for line in out.splitlines() if line.startswith("rank")})
    assert len(ends[0]) == 1 and ends[0] == ends[1]


def test_a_program_that_launches_gets_an_exception(tmp_path):
    source = f"""
        from jtorch.distributed import run
        from jtorch.distributed.elastic.multiprocessing.errors import ChildFailedError
        options = ["--nproc-per-node", "2", "--log-dir", {str(tmp_path)!r}, "--no-python", "sh", "-c"]
        run.run(run.parse_args([*options, "true"]))
        try:
            run.run(run.parse_args([*options, "test $RANK = 0 && sleep 60; exit 3"]))
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            print(rank, failure.local_rank, failure.exitcode, failure.signal_name(), error)
    """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("1 1 3 <N/A> sh FAILED\n  rank 1 (local_rank 1, pid "), done.stderr
    assert done.stdout.endswith("): exit code 3\n")
