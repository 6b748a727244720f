"""Microseconds of Python per operation: recording in jtorch, against PyTorch eager and JAX eager dispatch.

    python -m benchmarks.recording [--ops 500] [--repeats 30]

Each row runs a chain of the same small operation and divides by its length. For jtorch only recording is timed (the
flush is outside the clock); PyTorch and JAX compute as they dispatch, on tensors so small that dispatch dominates.
"""

from __future__ import annotations

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import jtorch


def timed(run, after, repeats: int) -> float:
    """Median seconds of ``run()``; ``after()`` settles what it started, off the clock."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        kept = run()
        seconds.append(time.perf_counter() - start)
        after(kept)
    return statistics.median(seconds)


def chain(kind, x, n, linear=None):
    if kind == "x + 1":
        for _ in range(n):
            x = x + 1
    elif kind == "x * x":
        for _ in range(n):
            x = x * x
    elif kind == "x.reshape(-1)":
        for _ in range(n // 2):
            x = x.reshape(-1).reshape(4, 4)
    else:
        for _ in range(n):
            x = linear(x)
    return x


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args(arguments)
    n, repeats = args.ops, args.repeats
    try:
        import torch
    except ImportError:
        torch = None
    kinds = ("x + 1", "x * x", "x.reshape(-1)", "linear(x, w, b)")
    data = np.full((4, 4), 0.5, np.float32)
    w, b = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    print(f"{'us per op':<18} {'jtorch':>8} {'jtorch tape':>12} {'backward':>9} {'torch':>7} {'torch tape':>11} "
          f"{'backward':>9} {'jax eager':>10}")  # fmt: skip
    for kind in kinds:
        row = []
        for library in (jtorch, torch):
            if library is None:
                row += [float("nan")] * 3
                continue
            lw, lb = library.from_numpy(w), library.from_numpy(b)
            linear = lambda x, f=library.nn.functional.linear, lw=lw, lb=lb: f(x, lw, lb)  # noqa: E731
            x = library.from_numpy(data.copy())
            settle = (lambda kept: (kept, jtorch.sync())) if library is jtorch else (lambda kept: None)
            row.append(timed(lambda: chain(kind, x, n, linear), settle, repeats))  # noqa: B023
            leaf = library.from_numpy(data.copy()).requires_grad_()
            row.append(timed(lambda: chain(kind, leaf, n, linear), settle, repeats))  # noqa: B023
            seconds = []
            for _ in range(repeats):
                out = chain(kind, leaf, n, linear).sum()
                start = time.perf_counter()
                (g,) = library.autograd.grad(out, leaf)
                seconds.append(time.perf_counter() - start)
                settle((out, g))
            row.append(statistics.median(seconds))
        jx, jw, jb = jnp.asarray(data), jnp.asarray(w), jnp.asarray(b)
        jlinear = lambda x, w=jw, b=jb: x @ w.T + b  # noqa: E731
        row.append(timed(lambda: chain(kind, jx, n, jlinear), jax.block_until_ready, repeats))  # noqa: B023
        us = [s / n * 1e6 for s in row]
        print(f"{kind:<18} {us[0]:>8.2f} {us[1]:>12.2f} {us[2]:>9.2f} {us[3]:>7.2f} {us[4]:>11.2f} {us[5]:>9.2f} "
              f"{us[6]:>10.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
