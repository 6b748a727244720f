"""Operations against PyTorch eager, from one element to ten million.

    python -m benchmarks.ops [--sizes 1,1000,100000,10000000] [--rounds 5] [--only sum,sort]

Each round times a burst of every contender in turn; a cell shows jtorch's median time in microseconds and, in
brackets, the median over rounds of its ratio to PyTorch's. In jtorch every operation is a program of its own here, else
XLA would merge the equal ones of a burst: for small tensors this shows the price of starting a program, which a real
one pays per step. The worst ten ratios are listed below the table.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import jtorch
from jtorch.trace.recorder import flush_all

#: name: (torch, x of n elements, a second one) -> result
OPERATIONS = {
    "add": lambda t, x, y: x + y,
    "mul_scalar": lambda t, x, y: x * 1.5,
    "exp": lambda t, x, y: x.exp(),
    "tanh": lambda t, x, y: x.tanh(),
    "gelu": lambda t, x, y: t.nn.functional.gelu(x),
    "fused chain": lambda t, x, y: ((x * y + 1).tanh() * x.sigmoid() - y).relu(),
    "where": lambda t, x, y: t.where(x > 0, x, y),
    "sum": lambda t, x, y: x.sum(),
    "sum rows": lambda t, x, y: _matrix(x).sum(1),
    "sum columns": lambda t, x, y: _matrix(x).sum(0),
    "max": lambda t, x, y: x.max(),
    "argmax rows": lambda t, x, y: _matrix(x).argmax(1),
    "var": lambda t, x, y: x.var(),
    "softmax": lambda t, x, y: _matrix(x).softmax(1),
    "layer_norm": lambda t, x, y: t.nn.functional.layer_norm(_matrix(x), (_matrix(x).shape[1],)),
    "logsumexp": lambda t, x, y: _matrix(x).logsumexp(1),
    "cumsum": lambda t, x, y: x.cumsum(0),
    "sort": lambda t, x, y: x.sort()[0],
    "topk": lambda t, x, y: x.topk(min(10, x.shape[0]))[0],
    "transpose": lambda t, x, y: _matrix(x).t().contiguous(),
    "cat": lambda t, x, y: t.cat([x, y]),
    "flip": lambda t, x, y: x.flip(0),
    "index_select": lambda t, x, y: x.index_select(0, _indices(t, x)),
    "scatter_add": lambda t, x, y: t.zeros_like(x).scatter_add(0, _indices(t, x), y),
    "masked_fill": lambda t, x, y: x.masked_fill(y > 0, 0.0),
    "matmul": lambda t, x, y: _matrix(x) @ _matrix(y).t(),
    "matvec": lambda t, x, y: _matrix(x) @ _matrix(y)[0],
    "outer": lambda t, x, y: t.outer(x[:1000], y[: max(1, x.shape[0] // 1000)]),
    "conv1d": lambda t, x, y: t.nn.functional.conv1d(x.view(1, 1, -1), y[:9].view(1, 1, -1), padding=4),
    "max_pool1d": lambda t, x, y: t.nn.functional.max_pool1d(x.view(1, 1, -1), 2, ceil_mode=True),
    "to float64": lambda t, x, y: x.double(),
}
LARGEST = {"matmul": 4_000_000, "sort": 1_000_000, "topk": 10_000_000}
_kept: dict = {}


def _matrix(x):
    """A vector as the squarest matrix of its length."""
    n = x.shape[0]
    rows = next(r for r in range(int(n**0.5), 0, -1) if n % r == 0)
    return x.view(rows, n // rows)


def _indices(torch, x):
    key = torch.__name__, x.shape[0]
    if key not in _kept:
        _kept[key] = torch.from_numpy(np.random.default_rng(1).integers(0, x.shape[0], x.shape[0]))
    return _kept[key]


def _burst(operation, torch, x, y, n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        result = operation(torch, x, y)  # noqa: F841 (held, so that it is computed)
        if torch is jtorch:
            flush_all("benchmark")
    if torch is jtorch:
        jtorch.sync()
    return (time.perf_counter() - start) / n * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1,1000,100000,10000000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    import torch

    sizes = [int(n) for n in args.sizes.split(",")]
    chosen = args.only.split(",") if args.only else list(OPERATIONS)
    print(f"{'us (ratio to PyTorch)':<22}" + "".join(f"{n:>20,}" for n in sizes))
    worst = []
    with jtorch.no_grad(), torch.no_grad():
        for name in chosen:
            operation, cells = OPERATIONS[name], []
            for n in sizes:
                if n > LARGEST.get(name, n):
                    cells.append(f"{'-':>20}")
                    continue
                rng = np.random.default_rng(0)
                data = [rng.standard_normal(n).astype(np.float32) for _ in range(2)]
                contenders = [(lib, *map(lib.from_numpy, data)) for lib in (jtorch, torch)]
                count = max(2, min(100, 2_000_000 // max(n, 1)))
                for c in contenders:
                    _burst(operation, *c, count)
                    _burst(operation, *c, count)
                rounds = [[_burst(operation, *c, count) for c in contenders] for _ in range(args.rounds)]
                ratio = statistics.median(a / b for a, b in rounds)
                worst.append((ratio, name, n))
                cells.append(f"{statistics.median(a for a, _ in rounds):>12.1f} ({ratio:5.2f})")
            print(f"{name:<22}" + "".join(cells), flush=True)
    print("\nworst ratios:")
    for ratio, name, n in sorted(worst, reverse=True)[:10]:
        print(f"  {ratio:6.2f}  {name}, {n:,} elements")


if __name__ == "__main__":
    main()
