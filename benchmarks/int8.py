"""A float MLP, its quantized forms and PyTorch's, in one process, alternating.

    python -m benchmarks.int8 [--width 1024] [--layers 3] [--batches 1,64,512] [--rounds 9]

Each round runs a burst of forward passes of every contender in turn; a row shows the median time of a pass and the
median over rounds of float time / quantized time in the same round, so that a machine that is busy for a while slows
both sides of a ratio alike. How much int8 gains is up to the processor: XLA's int8 kernels are fastest with AMX, and a
processor without it gains much less.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings

import numpy as np

import jtorch
from jtorch import nn
from jtorch.ao import quantization as aq

BURST = 20


def mlp(nn, width: int, layers: int, *ends):
    body = [m for _ in range(layers) for m in (nn.Linear(width, width), nn.ReLU())]
    first, last = ends or ([], [])
    return nn.Sequential(*first, *body, *last).eval()


def static(model, calibration):
    fused = aq.fuse_modules(model, [[str(i), str(i + 1)] for i in range(1, len(model) - 1, 2)])
    fused.qconfig = aq.get_default_qconfig("x86")
    prepared = aq.prepare(fused)
    prepared(calibration)
    return aq.convert(prepared)


def contenders(width: int, layers: int, calibration):
    """Name to a function of a NumPy batch that makes a function of no arguments: one forward pass, to the end."""
    plain = mlp(nn, width, layers)
    stubbed = mlp(nn, width, layers, [aq.QuantStub()], [aq.DeQuantStub()])
    stubbed.load_state_dict({f"{int(k.split('.')[0]) + 1}.{k.split('.')[1]}": v for k, v in plain.state_dict().items()})
    models = {
        "jtorch float32": plain,
        "jtorch int8 dynamic": aq.quantize_dynamic(plain),
        "jtorch int8 static": static(stubbed, jtorch.from_numpy(calibration)),
    }

    def ours(model):
        def bind(batch):
            x = jtorch.from_numpy(batch)
            return lambda: model(x).numpy()

        return bind

    found = {name: ours(model) for name, model in models.items()}
    try:
        import torch
    except ImportError:
        return found, models
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mlp(torch.nn, width, layers)
        quantized = torch.ao.quantization.quantize_dynamic(theirs)

    def torchs(model):
        def bind(batch):
            x = torch.from_numpy(batch)
            return lambda: model(x).numpy()

        return bind

    return found | {"PyTorch float32": torchs(theirs), "PyTorch int8 dynamic": torchs(quantized)}, models


def burst(step) -> float:
    start = time.perf_counter()
    for _ in range(BURST):
        step()
    return (time.perf_counter() - start) / BURST


def measure(makers, batch, rounds: int):
    """Milliseconds a pass in each round, for each contender."""
    steps = {name: make(batch) for name, make in makers.items()}
    for step in steps.values():
        step()
        step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(1e3 * burst(step))
    return times


def size_of(model) -> int:
    file = io.BytesIO()
    jtorch.save(model.state_dict(), file)
    return file.tell()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batches", default="1,64,512")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    makers, models = contenders(args.width, args.layers, rng.standard_normal((256, args.width), dtype=np.float32))
    print(f"{args.layers} x (Linear({args.width}, {args.width}), ReLU), forward\n")
    print(f"{'batch':>5}  {'':22} {'ms':>8}  {'x float32':>9}")
    try:
        import torch

        guard = torch.no_grad()
    except ImportError:
        guard = jtorch.no_grad()
    with jtorch.no_grad(), guard:
        for rows in map(int, args.batches.split(",")):
            times = measure(makers, rng.standard_normal((rows, args.width), dtype=np.float32), args.rounds)
            for name, own in times.items():
                base = times["jtorch float32" if name.startswith("jtorch") else "PyTorch float32"]
                ratio = statistics.median(b / t for b, t in zip(base, own, strict=True))
                print(f"{rows:>5}  {name:22} {statistics.median(own):8.3f}  {ratio:9.2f}")
    print()
    whole = size_of(models["jtorch float32"])
    for name, model in models.items():
        print(f"state dict  {name:22} {size_of(model) / 1e6:6.2f} MB  {size_of(model) / whole:5.3f} of float32")


if __name__ == "__main__":
    main()
