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
from benchmarks import common
from jtorch.trace.recorder import flush_all

#: name: (torch, x of n elements, a second one) -> result
OPERATIONS = {
    "add": lambda t, x, y: x + y,
    "mul_scalar": lambda t, x, y: x * 1.5,
    "exp": lambda t, x, y: x.exp(),
    "tanh": lambda t, x, y: x.tanh(),
    "gelu": lambda t, x, y: t.nn.functional.gelu(x),
    "fused chain": lambda t, x, y: ((x * y + 1).tanh() * x.sigmoid() - y).relu(),
    "pow": lambda t, x, y: x.abs() ** 1.7,
    "log_": lambda t, x, y: x.clone().abs_().add_(1).log_(),
    "erfinv": lambda t, x, y: t.special.erfinv(x.clamp(-0.9, 0.9)),
    "compare": lambda t, x, y: (x > y) & (x < 1),
    "bitwise": lambda t, x, y: (x.view(t.int32) ^ y.view(t.int32)) >> 3,
    "where": lambda t, x, y: t.where(x > 0, x, y),
    "sum": lambda t, x, y: x.sum(),
    "sum rows": lambda t, x, y: _matrix(x).sum(1),
    "sum columns": lambda t, x, y: _matrix(x).sum(0),
    "max": lambda t, x, y: x.max(),
    "argmax rows": lambda t, x, y: _matrix(x).argmax(1),
    "any": lambda t, x, y: (x > 9).any(),
    "var": lambda t, x, y: x.var(),
    "batch_norm": lambda t, x, y: t.nn.functional.batch_norm(_image(x), None, None, training=True),
    "cross_entropy": lambda t, x, y: t.nn.functional.cross_entropy(_matrix(x), _labels(t, _matrix(x))),
    "mse_loss": lambda t, x, y: t.nn.functional.mse_loss(x, y),
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
    "embedding": lambda t, x, y: t.nn.functional.embedding(_indices(t, x)[::16] // 16, _rows(x)),
    "scatter_add": lambda t, x, y: t.zeros_like(x).scatter_add(0, _indices(t, x), y),
    "masked_fill": lambda t, x, y: x.masked_fill(y > 0, 0.0),
    "matmul": lambda t, x, y: _matrix(x) @ _matrix(y).t(),
    "matvec": lambda t, x, y: _matrix(x) @ _matrix(y)[0],
    "outer": lambda t, x, y: t.outer(x[:1000], y[: max(1, x.shape[0] // 1000)]),
    "conv1d": lambda t, x, y: t.nn.functional.conv1d(x.view(1, 1, -1), y[:9].view(1, 1, -1), padding=4),
    "conv2d": lambda t, x, y: t.nn.functional.conv2d(_image(x), _kernel(y), padding=1),
    "avg_pool2d": lambda t, x, y: t.nn.functional.avg_pool2d(_image(x), 2, ceil_mode=True),
    "attention": lambda t, x, y: t.nn.functional.scaled_dot_product_attention(_heads(x), _heads(y), _heads(x)),
    "interpolate": lambda t, x, y: t.nn.functional.interpolate(_image(x), scale_factor=2.0, mode="nearest"),
    "pad": lambda t, x, y: t.nn.functional.pad(x, (1, 1)),
    "fft": lambda t, x, y: t.fft.rfft(x),
    "randn": lambda t, x, y: t.randn(x.shape[0], device=x.device),
    "dropout": lambda t, x, y: t.nn.functional.dropout(x, 0.5),
    "solve": lambda t, x, y: t.linalg.solve(_system(t, x), _square(y)),
    "max_pool1d": lambda t, x, y: t.nn.functional.max_pool1d(x.view(1, 1, -1), 2, ceil_mode=True),
    "to float64": lambda t, x, y: x.double(),
}
LARGEST = {"matmul": 4_000_000, "sort": 1_000_000, "attention": 1_000_000, "solve": 1_000_000}
SMALLEST = {"batch_norm": 64, "var": 2}
_kept: dict = {}


def _matrix(x):
    """A vector as the squarest matrix of its length."""
    n = x.shape[0]
    rows = next(r for r in range(int(n**0.5), 0, -1) if n % r == 0)
    return x.view(rows, n // rows)


def _labels(torch, matrix):
    """A class for each row."""
    return _indices(torch, matrix.view(-1))[: matrix.shape[0]] % matrix.shape[1]


def _square(x):
    side = int(x.shape[0] ** 0.5)
    return x[: side * side].view(side, side)


def _system(torch, x):
    """A matrix that has an inverse."""
    matrix = _square(x)
    return matrix + 10 * matrix.shape[0] ** 0.5 * torch.eye(matrix.shape[0], device=x.device)


def _image(x):
    """Four images with as many channels as fit up to eight, as square as they come."""
    n = x.shape[0]
    channels = 8 if n >= 2048 else 1
    batch = 4 if n >= 64 else 1
    side = int((n // (batch * channels)) ** 0.5)
    return x[: batch * channels * side * side].view(batch, channels, side, side)


def _kernel(y):
    channels = 8 if y.shape[0] >= 2048 else 1
    return y[: channels * channels * 9].view(channels, channels, 3, 3) if y.shape[0] >= 9 else y.view(1, 1, 1, 1)


def _heads(x):
    """Queries, keys or values of one head, width 64 where there is so much."""
    width = next(w for w in (64, 8, 1) if x.shape[0] % w == 0)
    return x.view(1, 1, -1, width)


def _rows(x):
    """A table with a sixteenth of the elements' number of rows (at least one)."""
    rows = max(1, x.shape[0] // 16)
    return x[: rows * max(1, x.shape[0] // rows)].view(rows, -1)


def _indices(torch, x):
    key = torch.__name__, x.shape[0]
    if key not in _kept:
        indices = torch.from_numpy(np.random.default_rng(1).integers(0, x.shape[0], x.shape[0]))
        _kept[key] = indices.to(x.device)
    return _kept[key]


def _burst(operation, torch, x, y, n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        result = operation(torch, x, y)  # noqa: F841 (held, so that it is computed)
        if torch is jtorch:
            flush_all("benchmark")
    common.finish(torch)
    return (time.perf_counter() - start) / n * 1e6


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1,1000,100000,10000000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args(arguments)
    import torch

    sizes = [int(n) for n in args.sizes.split(",")]
    chosen = args.only.split(",") if args.only else list(OPERATIONS)
    table = common.Table("operation".ljust(14), *(f"us at {n:,}".ljust(18) for n in sizes))
    worst = []
    with jtorch.no_grad(), torch.no_grad():
        for name in chosen:
            operation, cells = OPERATIONS[name], []
            for n in sizes:
                if not SMALLEST.get(name, n) <= n <= LARGEST.get(name, n):
                    cells.append(None)
                    continue
                rng = np.random.default_rng(0)
                data = [rng.standard_normal(n).astype(np.float32) for _ in range(2)]
                contenders = [
                    (lib, *(lib.from_numpy(d).to(common.device_of(lib)) for d in data)) for lib in (jtorch, torch)
                ]
                count = max(2, min(100, 2_000_000 // max(n, 1)))
                for c in contenders:
                    _burst(operation, *c, count)
                    _burst(operation, *c, count)
                rounds = [[_burst(operation, *c, count) for c in contenders] for _ in range(args.rounds)]
                ratio = statistics.median(a / b for a, b in rounds)
                worst.append((ratio, name, n))
                cells.append(f"{statistics.median(a for a, _ in rounds):.1f} ({ratio:.2f})")
            table.row(name, *cells)
    print("\nThe worst ratios:\n")
    table = common.Table("operation".ljust(14), "elements", "time / PyTorch's")
    for ratio, name, n in sorted(worst, reverse=True)[:10]:
        table.row(name, f"{n:,}", ratio)


if __name__ == "__main__":
    main()
