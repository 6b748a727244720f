"""Runs every benchmark and writes ``benchmarks/RESULTS.md`` and, with matplotlib, ``benchmarks/results.svg``.

    python -m benchmarks [--quick] [--only train_step,ops] [--out FOLDER]

Each script runs in a process of its own, one after the other. The same command serves a machine with a GPU: PyTorch and
jtorch each use CUDA where they find it, and JAX its own default device. ``--quick`` takes fewer rounds and sizes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import common

ROOT = Path(__file__).parents[1]

#: script, and what it measures if that is one of several things: (title, options, options of a quick run)
SCRIPTS = {
    "train_step": ("Training steps", ["--compile"], ["--rounds", "3", "--models", "mlp,cnn,gpt,lstm"]),
    "train_step:bfloat16": (
        "Training steps under bfloat16 autocast",
        ["--autocast", "--models", "mlp,cnn,vit,gpt,lstm"],
        ["--autocast", "--rounds", "3", "--models", "mlp,gpt"],
    ),
    "inference": ("Inference", [], ["--rounds", "3", "--models", "mlp,cnn,gpt,lstm"]),
    "generate": ("Generation with a cache of keys and values", [], ["--rounds", "3", "--tokens", "32"]),
    "memory": ("Memory of a training step", [], ["--layers", "4"]),
    "compile_time": ("Time to the first result", [], ["--rounds", "1", "--depths", "4,12"]),
    "lengths": ("Batches of different lengths", [], ["--steps", "10"]),
    "recording": ("Python per operation", [], ["--repeats", "5"]),
    "ops": ("Operations", [], ["--rounds", "3", "--sizes", "1,100000"]),
    "int8": ("int8 quantization", [], ["--rounds", "3"]),
}
#: what --tiny means to those that have no such option
TINY = {
    "train_step:bfloat16": ["--tiny", "--rounds", "2", "--autocast"],
    "recording": ["--ops", "10", "--repeats", "2"],
    "ops": ["--sizes", "1,3000", "--rounds", "1"],
    "int8": ["--width", "16", "--batches", "1", "--rounds", "1"],
}


def written(path: Path, text: str) -> None:
    """Whole or not at all: another name first."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    os.replace(draft, path)


def module_of(name: str) -> str:
    return f"benchmarks.{name.partition(':')[0]}"


def run(name: str, options: list[str]) -> tuple[str, int]:
    """A script's output, which is also shown as it comes, and its exit status."""
    command = [sys.executable, "-u", "-m", module_of(name), *options]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines).strip(), process.returncode


def section(name: str, title: str, options: list[str], output: str, status: int, seconds: float) -> str:
    # what is not Markdown already stays as it was printed
    body = output if output.startswith("|") else f"```\n{output}\n```"
    failed = f"\n**This script failed with status {status}; what it printed until then is above.**\n" if status else ""
    command = " ".join(["python -m", module_of(name), *options])
    return f"## {title}\n\n`{command}` ({seconds:.0f} s)\n\n{body}\n{failed}"


def plot(outputs: dict[str, str], path: Path) -> str:
    """Draw how training steps compare; say in a line what was done."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is not installed (`pip install jtorch[bench]`), so there is no plot."
    tables = common.read_tables(outputs.get("train_step", ""))
    if not tables or not tables[0]["model"]:
        return "Training steps were not run, so there is no plot."
    table = tables[0]
    series = {f"jtorch {c}": c for c in ("/ torch", "/ jax")} | {c: c for c in ("compiled / torch", "compiled / jax")}
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for i, (label, column) in enumerate(series.items()):
        bars = [(j + 0.2 * i, float(cell)) for j, cell in enumerate(table[column]) if cell != "-"]
        if bars:
            axes.bar([x for x, _ in bars], [y for _, y in bars], 0.2, label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks([j + 0.3 for j in range(len(table["model"]))], table["model"])
    axes.set_yscale("log")
    axes.set_ylabel("time of a step, jtorch / other")
    axes.legend()
    draft = path.with_name("." + path.name)
    figure.savefig(draft, format="svg", metadata={"Date": None})
    os.replace(draft, path)
    return f"![Training steps]({path.name})"


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, models and sizes")
    parser.add_argument("--tiny", action="store_true", help="the tests' sizes: only to see that everything runs")
    parser.add_argument("--only", default="", help=f"some of {', '.join(SCRIPTS)}")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args(arguments)
    chosen = args.only.split(",") if args.only else list(SCRIPTS)
    if unknown := [name for name in chosen if name not in SCRIPTS]:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    sections, outputs, failures = [], {}, []
    for name in chosen:
        title, full, quick = SCRIPTS[name]
        options = quick if args.quick else full
        if args.tiny:
            options = TINY.get(name, ["--tiny", "--rounds", "2"])
        print(f"\n=== {title}", flush=True)
        start = time.perf_counter()
        outputs[name], status = run(name, options)
        sections.append(section(name, title, options, outputs[name], status, time.perf_counter() - start))
        failures += [name] if status else []
    args.out.mkdir(parents=True, exist_ok=True)
    figure = plot(outputs, args.out / "results.svg")
    facts = "\n".join(f"- {line}" for line in common.machine())
    intro = (
        "Generated by `python -m benchmarks`. Ratios are jtorch's time over the other's in the same round, medians\n"
        "over rounds; below 1 jtorch is the faster. What each table measures is said in docs/benchmarks.md."
    )
    written(args.out / "RESULTS.md", "\n\n".join(["# Results", intro, facts, figure, *sections]))
    print(f"\nwritten: {args.out / 'RESULTS.md'}")
    if failures:
        sys.exit(f"failed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
