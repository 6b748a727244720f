"""Where a training step's time goes: XLA's operations by the recorded operation they come from.

    python -m benchmarks.profile_step gpt [--steps 20] [--top 25]

Times are those of the thread that starts an operation, the least of the steps, so that a busy machine disturbs little;
run it with ``taskset -c 0`` where operations run side by side. For dots and convolutions the table shows the arithmetic
they do in a second (a core of an x86-64 server does 100 to 200 GFLOP/s); the last lines sum up by recorded operation.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import jax
from jax.profiler import ProfileData

import jtorch
from benchmarks import models
from benchmarks.train_step import stepper

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def profiled(step, wait, steps: int):
    """``{(module, operation): [seconds a step, calls a step]}`` on the threads that run XLA's kernels."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                out = step()
            wait(out)
        data = ProfileData.from_file(str(next(Path(folder).rglob("*.xplane.pb"))))
    times = defaultdict(list)
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats:
                    times[stats["hlo_module"], stats["hlo_op"]].append(event.duration_ns * 1e-9)
    return {op: (min(found) * len(found) / steps, len(found) / steps) for op, found in times.items()}


def instructions(text: str) -> dict[str, dict]:
    """``{name: {shape, kind, source, body, operands}}`` of a compiled program's text."""
    found, computations, current = {}, defaultdict(list), None
    for line in text.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith("{"):
            current = line.split()[1 if line.startswith("ENTRY") else 0].lstrip("%")
            continue
        m = _INSTRUCTION.match(line)
        if not m:
            continue
        name, shape, kind, rest = m.groups()
        source = re.search(r'op_name="([^"]*)"', rest)
        called = re.search(r"(?:calls|to_apply|body)=%?([\w.\-]+)", rest)
        found[name] = {
            "shape": shape, "kind": kind, "source": source.group(1) if source else "", "line": line,
            "called": called.group(1) if called else None,
            "operands": re.findall(r"%([\w.\-]+)", rest.split("),")[0]),
        }  # fmt: skip
        computations[current].append(name)
    for entry in found.values():
        entry["body"] = [found[n] for n in computations.get(entry["called"], ())]
    return found


def sizes(shape: str) -> list[int]:
    m = _SHAPE.search(shape)
    return [int(n) for n in m.group(2).split(",") if n] if m else []


def arithmetic(entry, table) -> float:
    """Floating-point operations of the dots and convolutions in an instruction."""
    total = 0.0
    for e in [entry, *entry["body"]]:
        if e["kind"] == "dot":
            left = sizes(table[e["operands"][0]]["shape"])
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", e["line"]).group(1)
            inner = math.prod(left[int(d)] for d in contracted.split(",") if d)
            total += 2 * math.prod(sizes(e["shape"])) * inner
        elif e["kind"] == "convolution":
            kernel = sizes(table[e["operands"][1]]["shape"])
            labels = re.search(r"dim_labels=\w+_(\w+)->", e["line"]).group(1)
            total += 2 * math.prod(sizes(e["shape"])) * math.prod(kernel) / kernel[labels.index("o")]
    return total


def recorded(source: str) -> str:
    """The recorded operation in an instruction's name: ``jit(flat)/jit(linear)/dot_general`` gives ``linear``."""
    names = re.findall(r"jit\(([^()]*)\)", source)
    return names[1] if len(names) > 1 else source or "-"


def sources(entry) -> str:
    """The recorded operations an instruction was fused from, most instructions first."""
    counts = defaultdict(int)
    for e in entry["body"] or [entry]:
        if e["source"]:
            counts[recorded(e["source"])] += 1
    own = recorded(entry["source"])
    rest = sorted((n for n in counts if n != own), key=counts.get, reverse=True)
    return ", ".join([own, *rest[:4]])


def table(step, wait, text: str, steps: int, top: int) -> None:
    found = instructions(text)
    times = profiled(step, wait, steps)
    modules = defaultdict(float)
    for (module, _), (seconds, _) in times.items():
        modules[module] += seconds
    module = max(modules, key=modules.get)
    rows = [(s, n, op) for (m, op), (s, n) in times.items() if m == module and op in found]
    total = sum(s for s, _, _ in rows)
    print(f"{total * 1e3:.2f} ms of thread time a step in {len(rows)} operations")
    by_kind, by_op = defaultdict(float), defaultdict(float)
    print(f"{'ms':>8} {'%':>5} {'calls':>6} {'GFLOP/s':>8}  operation")
    for seconds, calls, name in sorted(rows, reverse=True):
        entry = found[name]
        flops = arithmetic(entry, found) * calls
        kind = "product" if flops else "copy" if re.match(r"copy|transpose", name) else entry["kind"]
        by_kind[kind] += seconds
        by_op[recorded(entry["source"])] += seconds
        if top > 0:
            speed = f"{flops / seconds / 1e9:8.0f}" if flops else " " * 8
            print(f"{seconds * 1e3:8.3f} {seconds / total:5.0%} {calls:6.0f} {speed}  {name} "
                  f"{entry['shape'][:48]} <- {sources(entry)}")  # fmt: skip
            top -= 1
    for title, groups in (("by kind", by_kind), ("by recorded operation", by_op)):
        print(f"\n{title}")
        for name, seconds in sorted(groups.items(), key=lambda item: -item[1])[:25]:
            print(f"{seconds * 1e3:8.3f} {seconds / total:5.0%}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=(*models.NAMES, *models.LARGE))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--top", type=int, default=25, help="rows of single operations to print")
    parser.add_argument("--hlo", help="write the compiled program's text to this file")
    parser.add_argument("--autocast", action="store_true", help="the forward pass in bfloat16")
    args = parser.parse_args()
    step, _ = stepper(jtorch, args.model, autocast=args.autocast)
    for _ in range(3):
        step()
        jtorch.sync()
    text = jtorch.debug.last_trace().hlo()
    if args.hlo:
        Path(args.hlo).write_text(text)
    table(step, lambda out: jtorch.sync(), text, args.steps, args.top)


if __name__ == "__main__":
    main()
