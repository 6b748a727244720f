"""Training steps under jtorch, PyTorch eager, torch.compile and hand-written JAX + optax, in one process, alternating.

    python benchmarks/train_step.py [--models mlp,cnn,gpt,lstm,resnet18] [--rounds 7] [--compile]

Each round runs a burst of steps of every contender in turn; a row shows the median over rounds of the ratio of burst
times in the same round, so that a machine that is busy for a while slows both sides of a ratio alike.
"""

from __future__ import annotations

import argparse
import statistics
import time

import jax

import jtorch
from benchmarks import jax_models, models
from jtorch.debug import counters


def stepper(torch, name, compiled=False):
    """A function that runs one training step in PyTorch's API and returns the loss."""
    model, batch, loss_of = models.build(name, torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    run_model = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad()
        loss = loss_of(run_model, *batch)
        loss.backward()
        optimizer.step()
        return loss

    return step, batch


def burst(step, wait, n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        out = step()
    wait(out)
    return (time.perf_counter() - start) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(models.NAMES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a burst")
    parser.add_argument("--compile", action="store_true", help="include torch.compile (needs a C++ compiler)")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: comparing with JAX only")
    print(f"{'model':<10} {'jtorch ms':>10} {'/ torch':>9} {'/ compile':>10} {'/ jax':>7} {'compiles':>9} "
          f"{'first step s':>13} {'torch':>6} {'jax':>6}")  # fmt: skip
    for name in args.models.split(","):
        contenders, first = {}, {}
        before = counters()["compiles"]
        contenders["jtorch"] = (*stepper(jtorch, name), lambda out: jtorch.sync())
        if torch is not None:
            contenders["torch"] = (*stepper(torch, name), lambda out: None)
            if args.compile:
                contenders["compile"] = (*stepper(torch, name, True), lambda out: None)
        batch = [b.numpy() for b in contenders["jtorch"][1]]
        start = time.perf_counter()
        contenders["jax"] = (jax_models.build(name, batch), None, jax.block_until_ready)
        setup = time.perf_counter() - start
        for key, (step, _, wait) in contenders.items():
            start = time.perf_counter()
            wait(step())
            first[key] = time.perf_counter() - start + (setup if key == "jax" else 0)
            for _ in range(3):
                wait(step())
        compiles = counters()["compiles"] - before
        counts = {
            key: max(1, min(200, round(args.seconds / max(burst(step, wait, 2), 1e-5))))
            for key, (step, _, wait) in contenders.items()
        }
        rounds = [
            {key: burst(step, wait, counts[key]) for key, (step, _, wait) in contenders.items()}
            for _ in range(args.rounds)
        ]

        def ratio(key, rounds=rounds):
            if key not in rounds[0]:
                return float("nan")
            return statistics.median(r["jtorch"] / r[key] for r in rounds)

        mine = statistics.median(r["jtorch"] for r in rounds) * 1e3
        print(f"{name:<10} {mine:>10.2f} {ratio('torch'):>9.2f} {ratio('compile'):>10.2f} {ratio('jax'):>7.2f} "
              f"{compiles:>9} {first['jtorch']:>13.2f} {first.get('torch', float('nan')):>6.2f} {first['jax']:>6.2f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
