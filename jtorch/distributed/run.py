"""``jtorchrun``: start a script once per device, as ``torchrun`` does.

    jtorchrun --nproc-per-node 2 script.py [arguments]
    python -m jtorch.distributed.run ...

The script runs as under ``python -m jtorch``: its ``import torch`` gives jtorch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import uuid

from jtorch.distributed.elastic.agent import Agent, Spec
from jtorch.distributed.elastic.multiprocessing.errors import ChildFailedError


def get_args_parser() -> argparse.ArgumentParser:
    """The command line; every option may be spelled with ``-`` or ``_``, or given as ``PET_NAME`` in the
    environment."""
    parser = argparse.ArgumentParser(prog="jtorchrun", description="Start a script in several processes.")

    def option(name, **kwargs):
        spellings = dict.fromkeys([f"--{name}", f"--{name.replace('-', '_')}"])
        variable = "PET_" + name.replace("-", "_").upper()
        if kwargs.get("action") == "store_true":
            kwargs["default"] = os.environ.get(variable, "0") not in ("0", "")
        elif variable in os.environ:
            kwargs["default"] = os.environ[variable]
        short = kwargs.pop("short", None)
        parser.add_argument(*([short] if short else []), *spellings, **kwargs)

    option("nnodes", default="1", help="number of machines")
    option("nproc-per-node", default="1", help="processes on this machine: a number, auto, cpu or gpu")
    option("node-rank", type=int, default=0, help="which of the machines this one is")
    option("master-addr", default=None, help="address of machine 0")
    option("master-port", type=int, default=None, help="a free port of machine 0")
    option("rdzv-backend", default="static", help="static, or c10d with the machines numbered by --node-rank")
    option("rdzv-endpoint", default="", help="host:port, another spelling of --master-addr and --master-port")
    option("rdzv-id", default="none", help="a name for the job")
    option("rdzv-conf", default="", help="not supported")
    option("standalone", action="store_true", help="one machine, any free port")
    option("max-restarts", type=int, default=0, help="how often all ranks are started again after a failure")
    option("monitor-interval", type=float, default=0.1, help="seconds between two looks at the processes")
    option("start-method", default="spawn", choices=["spawn", "fork", "forkserver"], help="accepted")
    option("role", default="default", help="what lines of output are marked with, before the local rank")
    option("module", action="store_true", short="-m", help="run a module instead of a file")
    option("no-python", action="store_true", help="run a program that is not Python")
    option("run-path", action="store_true", help="accepted; scripts are run so")
    option("log-dir", default=None, help="folder for logs")
    option(
        "redirects", default="0", short="-r", help="streams to files: 1 stdout, 2 stderr, 3 both, or 0:1,1:2 by rank"
    )
    option("tee", default="0", short="-t", help="the same, to files and, line by line, to the terminal")
    parser.add_argument("training_script", help="the script, module or program")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER)
    return parser


def parse_args(args=None) -> argparse.Namespace:
    """Parse a command line (default: this process's)."""
    return get_args_parser().parse_args(args)


def spec_of(args: argparse.Namespace) -> Spec:
    """What a command line asks for.

    Raises:
        ValueError: a malformed or contradictory option.
        NotImplementedError: an option that ``torchrun`` has and this launcher has not.
    """
    nnodes = _nodes(args.nnodes)
    if args.rdzv_backend not in ("static", "c10d"):
        raise NotImplementedError(
            f"--rdzv-backend {args.rdzv_backend} is not supported: give --master-addr, --master-port and --node-rank"
        )
    if args.rdzv_conf:
        raise NotImplementedError("--rdzv-conf is not supported: machines do not negotiate")
    host, _, port = args.rdzv_endpoint.partition(":")
    address = args.master_addr or host or "127.0.0.1"
    port = args.master_port if args.master_port is not None else int(port or 0)
    if args.standalone:
        nnodes, address, port = 1, "127.0.0.1", 0
    if nnodes > 1:
        if args.max_restarts:
            raise NotImplementedError(
                "--max-restarts is supported on one machine: the launchers of several machines do not know of each "
                "other's failures. Restart the job from outside"
            )
        if args.master_addr is None and not host:
            raise ValueError("--nnodes > 1 needs --master-addr (or --rdzv-endpoint), the address of machine 0")
        if not 0 <= args.node_rank < nnodes:
            raise ValueError(f"--node-rank must be between 0 and {nnodes - 1}, got {args.node_rank}")
        port = port or 29500
    nproc = _processes(args.nproc_per_node)
    folder = args.log_dir or os.path.join(tempfile.gettempdir(), "jtorchrun")
    run_id = args.rdzv_id if args.rdzv_id != "none" or not args.standalone else str(uuid.uuid4())
    os.makedirs(folder, exist_ok=True)
    return Spec(
        command=_command(args), nproc=nproc, nnodes=nnodes, node_rank=args.node_rank, master_addr=address,
        master_port=port, max_restarts=args.max_restarts, interval=args.monitor_interval, run_id=run_id,
        role=args.role, log_dir=tempfile.mkdtemp(prefix=f"{run_id}_", dir=folder),
        redirects=_streams(args.redirects, nproc), tee=_streams(args.tee, nproc),
    )  # fmt: skip


def _nodes(text: str) -> int:
    least, _, most = text.partition(":")
    if most and most != least:
        raise NotImplementedError(f"--nnodes {text}: the number of machines cannot change while a job runs; give one")
    return int(least)


def _processes(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    if text == "cpu":
        return os.cpu_count() or 1
    if text in ("gpu", "auto"):
        count = _count_gpus()
        if count or text == "auto":
            return count or os.cpu_count() or 1
        raise ValueError("--nproc-per-node gpu: this machine has no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides them all")
    raise ValueError(f"--nproc-per-node must be a positive number, auto, cpu or gpu, got {text!r}")


def _count_gpus() -> int:
    """How many GPUs the processes will see. JAX is not asked: the launcher would take their memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([d for d in visible.split(",") if d.strip() and d.strip() != "-1"])
    try:
        return len([name for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)])
    except OSError:
        return 0


def _streams(text: str, nproc: int) -> dict[int, int]:
    """``3``, or ``0:1,1:2``: which streams, by local rank."""
    if text.isdigit():
        found = dict.fromkeys(range(nproc), int(text))
    else:
        found = {int(rank): int(streams) for rank, _, streams in (part.partition(":") for part in text.split(","))}
    if any(streams not in (0, 1, 2, 3) for streams in found.values()):
        raise ValueError(f"streams are 0 (none), 1 (stdout), 2 (stderr) or 3 (both), got {text!r}")
    return {rank: streams for rank, streams in found.items() if streams}


def _command(args: argparse.Namespace) -> list[str]:
    program = [args.training_script, *args.training_script_args]
    if args.no_python:
        if args.module:
            raise ValueError("--no-python and --module exclude each other")
        return program
    return [sys.executable, "-u", "-m", "jtorch", *(["-m"] if args.module else []), *program]


def run(args: argparse.Namespace) -> None:
    """Run the job that a parsed command line (see :func:`parse_args`) asks for.

    Raises:
        ChildFailedError: a rank failed, and no restart is left.
        SystemExit: a signal ended the job; its code is 128 + the signal's number.
        ValueError, NotImplementedError: see :func:`spec_of`.
    """
    spec = spec_of(args)
    agent = Agent(spec)
    code = agent.run()
    if not spec.redirects and not spec.tee:
        shutil.rmtree(spec.log_dir, ignore_errors=True)  # the ranks' error files, which the summary has named
    if agent.failures:
        raise ChildFailedError(args.training_script, agent.failures)
    if code:
        sys.exit(code)


def main(args=None) -> None:
    """The program ``jtorchrun``: ends with the exit code of the job."""
    try:
        run(parse_args(args))
    except (ValueError, NotImplementedError) as error:
        print(f"jtorchrun: {error}", file=sys.stderr)
        sys.exit(2)
    except ChildFailedError:  # the agent has printed which, and how
        sys.exit(1)


if __name__ == "__main__":
    main()
