"""Functions that distributed tensors over ranks take in another way than operation by operation."""

from __future__ import annotations

import threading

import jtorch

from ...tables import by_name
from ...tensor import Tensor, overriding
from .placements import Partial, Replicate, Shard
from .ranked import HANDLERS, RankDTensor, laid_out, make, summed

#: Register ``f(func, args, kwargs)`` for functions by name.
handles = by_name(HANDLERS)


@handles("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like")
def _like(func, args, kwargs):
    """New tensors in the layout of another; random ones are each rank's own, from its own generator."""
    t, *rest = args
    with overriding.without_subclasses():
        part = func(t._stored, *rest, **kwargs)
    return make(part, t._mesh, summed_placements(t), t._whole)


def summed_placements(t) -> list:
    return [Replicate() if isinstance(p, Partial) else p for p in t._placements]


@handles(
    "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_",
    "log_normal_", "trunc_normal_",
)  # fmt: skip
def _filled(func, args, kwargs):
    """Written to part by part; random numbers are each rank's own."""
    t, *rest = args
    rest = [x.item() if isinstance(x, RankDTensor) else x for x in rest]
    with overriding.without_subclasses():
        func(t._stored, *rest, **kwargs)
    return t


@handles("dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(func, args, kwargs):
    t, *rest = args
    t = summed(t)
    with overriding.without_subclasses():
        part = func(t._stored, *rest, **kwargs)
    return make(part, t._mesh, t._placements, t._whole)


@handles("equal", "allclose")
def _compared(func, args, kwargs):
    """Whether the tensors are alike on every rank."""
    whole = [x.full_tensor() if isinstance(x, RankDTensor) else x for x in args]
    with overriding.without_subclasses():
        return func(*whole, **kwargs)


@handles("is_same_size")
def _same_size(func, args, kwargs):
    return tuple(args[0].shape) == tuple(args[1].shape)


# --- cross entropy ---------------------------------------------------------------------------------------------------


class _Loss(threading.local):
    parallel = False


loss = _Loss()


@handles("cross_entropy")
def _cross_entropy(func, args, kwargs):
    """Scores cut along the batch give sums of each rank's part; within ``loss_parallel()`` they may be cut by class."""
    given = dict(zip(("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction",
                      "label_smoothing"), args, strict=False)) | kwargs  # fmt: skip
    scores, target = given["input"], given["target"]
    plain = set(given) <= {"input", "target", "ignore_index", "reduction"} or all(
        given.get(k) in (None, 0.0) for k in ("weight", "size_average", "reduce", "label_smoothing")
    )
    how, ignored = given.get("reduction", "mean"), given.get("ignore_index", -100)
    if not isinstance(scores, RankDTensor) or not plain or scores.dim() < 2 or target.is_floating_point():
        return _by_operation(func, args, kwargs)
    scores = summed(scores)
    mesh = scores._mesh
    if not isinstance(target, RankDTensor):
        target = make(target, mesh, (Replicate(),) * mesh.ndim, target.shape)
    by_class = [d for d, p in enumerate(scores._placements) if p == Shard(1)]
    batch = [d for d, p in enumerate(scores._placements) if p == Shard(0)]
    if by_class and not loss.parallel or len(by_class) > 1 or len(by_class) + len(batch) < sum(
        isinstance(p, Shard) for p in scores._placements
    ):  # fmt: skip
        return _by_operation(func, args, kwargs)
    target = laid_out(target, [Shard(0) if d in batch else Replicate() for d in range(mesh.ndim)])
    if by_class:
        losses = _losses_by_class(scores, target, by_class[0], ignored)
    else:
        with overriding.without_subclasses():
            losses = func(scores._stored, target._stored, ignore_index=ignored, reduction="none")
    if how == "none":
        return make(losses, mesh, target._placements, target._whole)
    terms = [Partial("sum") if d in batch else Replicate() for d in range(mesh.ndim)]
    total = summed(make(losses.sum(), mesh, terms, ()))
    if how == "sum":
        return total
    counted = summed(make((target._stored != ignored).sum(), mesh, terms, ()))
    return total / counted.to(total.dtype)


def _by_operation(func, args, kwargs):
    inner = getattr(func, "__wrapped__", None) if getattr(func, "asks", False) else None
    if inner is not None:
        return inner(*args, **kwargs)
    with overriding.without_subclasses():
        return func(*args, **kwargs)


def _losses_by_class(scores, target, mesh_dim: int, ignored: int) -> Tensor:
    """``log Σ exp x - x[y]`` of scores whose classes the ranks share: three numbers a row go over the ranks."""
    from . import moves

    mesh, x = scores._mesh, scores._stored
    sizes, offsets = moves.extents(scores._whole, mesh, scores._placements)
    group = mesh.get_group(mesh_dim)
    y = target._stored
    most = x.detach().amax(1) if x.shape[1] else x.new_full(y.shape, float("-inf"))
    top = moves.reduced(most, group, moves._OPS["max"])
    whole = lambda t: moves._Move.apply(t, group, Partial("sum"), Replicate(), 0)  # noqa: E731
    total = whole((x - top.unsqueeze(1)).exp().sum(1))
    mine = (y >= offsets[1]) & (y < offsets[1] + sizes[1])
    at = jtorch.where(mine, y - offsets[1], 0).unsqueeze(1)
    picked = whole(jtorch.where(mine, x.gather(1, at).squeeze(1), jtorch.zeros((), dtype=x.dtype)))
    return jtorch.where(y == ignored, jtorch.zeros((), dtype=x.dtype), total.log() + top - picked)
