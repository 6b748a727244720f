"""Forward passes in eval mode under ``no_grad``, batch 1 and 64: jtorch, PyTorch eager and hand-written JAX.

    python -m benchmarks.inference [--models mlp,gpt] [--batches 1,64] [--rounds 7]

Each pass ends with its result on the host's side of the fence (nothing is batched up between passes). Ratios are as in
``train_step``: the median over rounds of jtorch's time / the other's; "compiled" is the model under ``jtorch.compile``.
"""

from __future__ import annotations

import jax

import jtorch
from benchmarks import common, jax_models, models
from benchmarks.common import Contender


def passes(torch, name, *, compiled=False, tiny=False, batch=None) -> Contender:
    case = models.build(name, torch, device=common.device_of(torch), tiny=tiny, batch=batch)
    model = torch.compile(case.model.eval()) if compiled else case.model.eval()

    def step():
        with torch.no_grad():
            out = model(*case.inputs)
        common.finish(torch)
        return out

    return Contender(step, lambda out: None)


def contenders(name: str, *, tiny: bool, batch: int) -> dict[str, Contender]:
    found = {
        "jtorch": passes(jtorch, name, tiny=tiny, batch=batch),
        "compiled": passes(jtorch, name, compiled=True, tiny=tiny, batch=batch),
    }
    torch = common.pytorch()
    if torch is not None:
        found["torch"] = passes(torch, name, tiny=tiny, batch=batch)
    if name in jax_models.FORMS:
        inputs = [t.numpy() for t in models.build(name, jtorch, tiny=tiny, batch=batch).inputs]
        predict = jax_models.predictor(name, models.sizes(name, tiny=tiny, batch=batch), inputs)
        found["jax"] = Contender(lambda: jax.block_until_ready(predict()), lambda out: None)
    return found


def main(arguments=None) -> common.Table:
    parser = common.parser(__doc__)
    parser.add_argument("--models", default=",".join(models.NAMES), help=f"also {', '.join(models.LARGE)}")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a burst")
    args = parser.parse_args(arguments)
    table = common.Table(
        "model", "batch", "jtorch ms", "/ torch", "/ jax", "compiled ms", "compiled / torch", "compiled / jax"
    )
    for name in args.models.split(","):
        for batch in map(int, args.batches.split(",")):
            each = contenders(name, tiny=args.tiny, batch=batch)
            common.first_steps(each)
            times = common.alternate(each, args.rounds, args.seconds)
            table.row(
                name, batch, common.median(times, "jtorch"), common.ratio(times, "jtorch", "torch"),
                common.ratio(times, "jtorch", "jax"), common.median(times, "compiled"),
                common.ratio(times, "compiled", "torch"), common.ratio(times, "compiled", "jax"),
            )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
