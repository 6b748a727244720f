"""What the benchmarks share: contenders that take turns, tables that are Markdown, the machine in words."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax

import jtorch


def pytorch():
    """PyTorch, or None where it is not installed (the comparison is then left out, and the tables show dashes)."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def device_of(torch) -> str:
    """Where a library's benchmarks run: its GPU if it has one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def finish(torch) -> None:
    """Wait for what the library has started."""
    if torch is jtorch:
        jtorch.sync()
    elif torch.cuda.is_available():
        torch.cuda.synchronize()


def no_torch_compile(torch) -> str | None:
    """Why torch.compile does not work here, or None if it does; found out by trying."""
    if torch is None:
        return "PyTorch is not installed"
    try:
        torch.compile(lambda x: (x * 2 + 1).relu())(torch.ones(8, device=device_of(torch)))
    except Exception as e:
        return f"{type(e).__name__}: {str(e).strip().splitlines()[0][:120]}"
    return None


class Contender(NamedTuple):
    """``step`` starts one unit of work and returns something; ``wait`` is given it and returns when it is done."""

    step: Callable
    wait: Callable


def burst(contender: Contender, n: int) -> float:
    """Seconds a step, over ``n`` steps."""
    start = time.perf_counter()
    for _ in range(n):
        out = contender.step()
    contender.wait(out)
    return (time.perf_counter() - start) / n


def first_steps(contenders: dict[str, Contender], warm_up: int = 3) -> dict[str, float]:
    """Seconds of each contender's first step; ``warm_up`` more steps are run and not timed."""
    first = {}
    for name, contender in contenders.items():
        first[name] = burst(contender, 1)
        for _ in range(warm_up):
            burst(contender, 1)
    return first


def alternate(contenders: dict[str, Contender], rounds: int, seconds: float = 0.4, most: int = 200) -> dict:
    """``{name: seconds a step in each round}``: in each round every contender in turn runs for about ``seconds``."""
    counts = {n: max(1, min(most, round(seconds / max(burst(c, 2), 1e-6)))) for n, c in contenders.items()}
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(burst(contender, counts[name]))
    return times


def ratio(times: dict, ours: str, theirs: str) -> float | None:
    """The median over rounds of our time / theirs in the same round, so that a busy spell slows both sides alike."""
    if ours not in times or theirs not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def median(times: dict, name: str, unit: float = 1e3) -> float | None:
    """The median of a contender's times in milliseconds (or another ``unit``)."""
    return statistics.median(times[name]) * unit if name in times else None


class Table:
    """A Markdown table that is printed row by row, aligned well enough to be read in a terminal."""

    def __init__(self, *columns: str):
        self.widths = [max(len(c), 8) for c in columns]
        self.rows: list[tuple] = []
        self._print(columns)
        self._print(["-" * w for w in self.widths])

    def row(self, *cells) -> None:
        """Numbers with three digits, None as a dash."""
        self.rows.append(cells)
        self._print([self._text(c) for c in cells])

    @staticmethod
    def _text(cell) -> str:
        if cell is None:
            return "-"
        if isinstance(cell, float):
            return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) < 1 else f"{cell:.2f}"
        return str(cell)

    def _print(self, cells) -> None:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(cells, self.widths, strict=True)) + " |", flush=True)


def read_tables(text: str) -> list[dict[str, list[str]]]:
    """The Markdown tables in a text, each as ``{column: cells}``."""
    tables, header = [], None
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            header = None
        elif header is None:
            header = {c: [] for c in cells}
            tables.append(header)
        elif set("".join(cells)) != {"-"}:
            for column, cell in zip(header.values(), cells, strict=True):
                column.append(cell)
    return tables


def machine() -> list[str]:
    """Processor, devices and versions: what a reader needs to place the numbers."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as f:
            names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
        model = names[0] if names else model
    devices = sorted({f"{d.platform}: {d.device_kind}" for d in jax.devices()})
    torch = pytorch()
    theirs = "not installed" if torch is None else f"{torch.__version__}, {torch.get_num_threads()} threads"
    if torch is not None and torch.cuda.is_available():
        theirs += f", on {torch.cuda.get_device_name()}"
    return [
        f"processor: {model}, {len(os.sched_getaffinity(0))} logical cores",
        f"JAX's devices: {', '.join(devices)}",
        f"Python {platform.python_version()}, jtorch {jtorch.__version__}, jax {jax.__version__}",
        f"PyTorch {theirs}",
    ]


def parser(doc: str) -> argparse.ArgumentParser:
    """A script's options; ``--rounds`` and ``--tiny`` are everybody's."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rounds", type=int, default=7, help="how often the contenders take turns")
    found.add_argument("--tiny", action="store_true", help="the sizes of the tests, to see that everything runs")
    return found
