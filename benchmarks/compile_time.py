"""Seconds before the first result: stages by depth, a program's start cold and warm, and the import.

    python -m benchmarks.compile_time [--depths 4,12,48] [--rounds 3] [--steps 1] [--limit 300]

The first table takes one training step of a stack of equal transformer blocks through its stages, each depth in a
fresh process without caches: recording (Python, jtorch only), tracing and lowering (JAX), compiling (XLA). XLA's time
for a long program grows faster than its length; a process that takes longer than ``--limit`` seconds is stopped. The
second starts ``examples/char_gpt.py`` as a process, with an empty compilation cache and with the one that run left. The
third is ``import jtorch`` over ``import jax``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common

CHAR_GPT = Path(__file__).parents[1] / "examples" / "char_gpt.py"


def stages(library: str, depth: int, width: int) -> dict[str, float | None]:
    """Runs in a process of its own. What JAX reports about itself is summed; the rest of the wall is Python's."""
    import jax
    import numpy as np

    seconds = {"lowering": 0.0, "compiling": 0.0}
    events = {"jaxpr_to_mlir_module_duration": "lowering", "backend_compile_duration": "compiling"}

    def listen(event, duration, **_):
        stage = events.get(event.rsplit("/", 1)[-1])
        if stage:
            seconds[stage] += duration

    sizes = {"layers": depth, "heads": 4, "width": width, "length": 32, "vocabulary": 64}
    if library == "jtorch":
        import jtorch
        from benchmarks.models.data import next_tokens, token_loss
        from benchmarks.models.gpt import network

        model = network(jtorch, **sizes).to(common.device_of(jtorch))
        x, y = (t.to(common.device_of(jtorch)) for t in next_tokens(jtorch, 64, 4, 32))
        loss, optimizer = token_loss(jtorch), jtorch.optim.Adam(model.parameters())
        jtorch.sync()
        jax.monitoring.register_event_duration_secs_listener(listen)
        start = time.perf_counter()
        loss(model(x), y).backward()
        seconds["recording"] = time.perf_counter() - start
        optimizer.step()
        jtorch.sync()
    else:
        from benchmarks import jax_models

        ids = np.random.default_rng(0).integers(0, 64, (4, 33))
        step = jax_models.trainer("gpt", sizes, (ids[:, :-1], ids[:, 1:]))
        jax.monitoring.register_event_duration_secs_listener(listen)
        start = time.perf_counter()
        jax.block_until_ready(step())
        seconds["recording"] = 0.0
    seconds["total"] = time.perf_counter() - start
    rest = seconds["total"] - seconds["recording"] - seconds["lowering"] - seconds["compiling"]
    seconds["tracing"] = rest if rest > 0 else None  # pieces of a long program are compiled side by side
    return seconds


def fresh(*command: str, limit: float | None = None, **env: str) -> tuple[float, str]:
    """Wall seconds of a Python process, and what it printed.

    Raises:
        subprocess.TimeoutExpired: it takes more than ``limit`` seconds.
    """
    root = str(Path(__file__).parents[1])
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, text=True, cwd=root, timeout=limit,
        env={**os.environ, "PYTHONPATH": root, **env},
    )  # fmt: skip
    return time.perf_counter() - start, done.stdout


def by_depth(depths, width: int, limit: float) -> None:
    table = common.Table("library", "layers", "total s", "recording", "tracing + first run", "lowering", "compiling")
    for depth in depths:
        for library in ("jtorch", "jax"):
            options = ("--stages", library, "--depths", str(depth), "--width", str(width))
            # an empty name turns jtorch's compilation cache off
            caches = {"JTORCH_CACHE_DIR": "", "JAX_COMPILATION_CACHE_DIR": ""}
            try:
                out = fresh("-m", "benchmarks.compile_time", *options, limit=limit, **caches)[1]
            except subprocess.TimeoutExpired:
                table.row(library, depth, f"> {limit:.0f}", None, None, None, None)
                continue
            s = json.loads(out.splitlines()[-1])
            recording = s["recording"] if library == "jtorch" else None
            table.row(library, depth, s["total"], recording, s["tracing"], s["lowering"], s["compiling"])


def starts(rounds: int, steps: int) -> None:
    """Rounds of a cold and then a warm start, medians."""
    seconds = {"cold": [], "warm": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for kind in seconds:
                seconds[kind].append(fresh(str(CHAR_GPT), "--steps", str(steps), JTORCH_CACHE_DIR=cache)[0])
    table = common.Table("examples/char_gpt.py, whole process", "seconds")
    for kind, found in seconds.items():
        table.row(f"{kind} compilation cache, {steps} steps and 10 tokens", statistics.median(found))


def imports(rounds: int) -> None:
    found = {module: [] for module in ("jax", "jtorch", "torch") if module != "torch" or common.pytorch()}
    for _ in range(rounds):
        for module, seconds in found.items():
            seconds.append(fresh("-c", f"import {module}")[0])
    middle = {module: statistics.median(seconds) for module, seconds in found.items()}
    table = common.Table("whole process", "seconds", "over import jax")
    for module, seconds in middle.items():
        table.row(f"import {module}", seconds, None if module == "jax" else seconds - middle["jax"])


def main(arguments=None) -> None:
    parser = common.parser(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--depths", default="4,12,48", help="how many equal layers")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--limit", type=float, default=300, help="seconds that one depth may take")
    parser.add_argument("--steps", type=int, default=1, help="training steps of examples/char_gpt.py")
    parser.add_argument("--stages", choices=("jtorch", "jax"), help="measure one depth here and print JSON")
    args = parser.parse_args(arguments)
    if args.stages:
        print(json.dumps(stages(args.stages, int(args.depths), args.width)))
        return
    if args.tiny:
        args.depths, args.width = "1", 16
    by_depth(map(int, args.depths.split(",")), args.width, args.limit)
    print()
    imports(args.rounds)
    if not args.tiny:
        print()
        starts(args.rounds, args.steps)


if __name__ == "__main__":
    main()
