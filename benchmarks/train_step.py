"""Training steps of the same networks: jtorch, PyTorch eager, torch.compile and hand-written JAX + optax.

    python -m benchmarks.train_step [--models mlp,gpt] [--rounds 7] [--compile] [--autocast]

Forward, backward and Adam. All contenders run in one process and take turns; a ratio is the median over rounds of
jtorch's time / the other's in the same round, so below 1 jtorch is the faster. "jtorch" is the plain step, recorded
anew each time; "compiled" is the same step under ``jtorch.compile``. Hand-written JAX exists for some of the networks.
With ``--autocast`` the forward pass is under bfloat16 autocast, but not JAX's.
"""

from __future__ import annotations

from contextlib import nullcontext

import jax

import jtorch
from benchmarks import common, jax_models, models
from benchmarks.common import Contender
from jtorch import config
from jtorch.debug import clear_executables, counters


def stepper(torch, name, compiled=None, *, tiny=False, batch=None, autocast=False):
    """A function that runs one training step in PyTorch's API and returns the loss, and the batch it uses.

    ``compiled="step"`` puts the whole step under ``torch.compile``, ``"model"`` the forward pass.
    """
    device = common.device_of(torch)
    case = models.build(name, torch, device=device, tiny=tiny, batch=batch)
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-3)
    run_model = torch.compile(case.model) if compiled == "model" else case.model

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16) if autocast else nullcontext():
            loss = case.loss(run_model(*case.inputs), *case.targets)
        loss.backward()
        optimizer.step()
        return loss

    return torch.compile(step) if compiled == "step" else step, (*case.inputs, *case.targets)


def contenders(name: str, *, with_compile: bool, tiny: bool, autocast: bool) -> dict[str, Contender]:
    def theirs(library, compiled=None):
        step, _ = stepper(library, name, compiled, tiny=tiny, autocast=autocast)
        return Contender(step, lambda out: common.finish(library))

    found = {"jtorch": theirs(jtorch), "compiled": theirs(jtorch, "step")}
    torch = common.pytorch()
    if torch is not None:
        found["torch"] = theirs(torch)
        if with_compile:
            found["torch.compile"] = theirs(torch, "model")
    if name in jax_models.FORMS:
        case = models.build(name, jtorch, tiny=tiny)
        batch = [t.numpy() for t in (*case.inputs, *case.targets)]
        found["jax"] = Contender(jax_models.trainer(name, models.sizes(name, tiny=tiny), batch), jax.block_until_ready)
    return found


def main(arguments=None) -> common.Table:
    parser = common.parser(__doc__)
    parser.add_argument("--models", default=",".join(models.NAMES), help=f"also {', '.join(models.LARGE)}")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a burst")
    parser.add_argument("--compile", action="store_true", help="include torch.compile (needs a C++ compiler)")
    parser.add_argument("--autocast", action="store_true", help="the forward pass in bfloat16")
    args = parser.parse_args(arguments)
    why_not = common.no_torch_compile(common.pytorch()) if args.compile else "not asked for (--compile)"
    table = common.Table(
        "model", "jtorch ms", "/ torch", "/ torch.compile", "/ jax", "compiled ms", "compiled / torch",
        "compiled / jax", "compiles", "first step s: jtorch", "torch", "jax",
    )  # fmt: skip
    for name in args.models.split(","):
        clear_executables()  # as in a process of its own: a line that has met many programs compiles the next quickly
        each = contenders(name, with_compile=why_not is None, tiny=args.tiny, autocast=args.autocast)
        jtorch.sync()  # the initial weights are no part of the first step
        before = counters()["compiles"]
        first = common.first_steps({"jtorch": each["jtorch"]})
        compiles = counters()["compiles"] - before
        first |= common.first_steps({k: c for k, c in each.items() if k != "jtorch"})
        times = common.alternate(each, args.rounds, args.seconds)
        table.row(
            name, common.median(times, "jtorch"), common.ratio(times, "jtorch", "torch"),
            common.ratio(times, "jtorch", "torch.compile"), common.ratio(times, "jtorch", "jax"),
            common.median(times, "compiled"), common.ratio(times, "compiled", "torch"),
            common.ratio(times, "compiled", "jax"), compiles, first["jtorch"], first.get("torch"), first.get("jax"),
        )  # fmt: skip
    if why_not:
        print(f"\ntorch.compile: {why_not}")
    return table


if __name__ == "__main__":
    config.cache_dir = ""  # first steps are cold ones
    main()
