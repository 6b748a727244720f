"""PowerSGD: gradients go over the ranks as products of two thin matrices (Vogels, Karimireddy, Jaggi, 2019)."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from ...collectives import all_reduce
from ...group import resolve


class PowerSGDState:
    """What :func:`powerSGD_hook` keeps between steps.

    Args:
        process_group: the ranks that take part (default: all).
        matrix_approximation_rank: the number of columns of the thin matrices.
        start_powerSGD_iter: how many steps are averaged exactly first.
        min_compression_rate: a gradient is compressed if that makes it smaller by this factor at least.
        use_error_feedback: add what compression left out to the next gradient.
        warm_start: begin with the factors of the step before.
        orthogonalization_epsilon: added to the norms of columns that are divided by them.
        random_seed: of the factors that the first compressed step begins with, the same on all ranks.
        compression_stats_logging_frequency: accepted; :meth:`compression_stats` can be called at any time.
        batch_tensors_with_same_shape: accepted: products of equal shape are part of one program in any case.

    Raises:
        ValueError: error feedback or a warm start from the first step on.
    """

    def __init__(
        self, process_group, matrix_approximation_rank: int = 1, start_powerSGD_iter: int = 1_000,
        min_compression_rate: float = 2, use_error_feedback: bool = True, warm_start: bool = True,
        orthogonalization_epsilon: float = 0, random_seed: int = 0,
        compression_stats_logging_frequency: int = 10_000, batch_tensors_with_same_shape: bool = False,
    ):  # fmt: skip
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError(
                "Expect `start_powerSGD_iter` > 1 if `use_error_feedback` or `warm_start` is enabled, because PowerSGD "
                "can only be applied after the first two iterations in DDP."
            )
        self.process_group, self.matrix_approximation_rank = process_group, matrix_approximation_rank
        self.start_powerSGD_iter, self.min_compression_rate = start_powerSGD_iter, min_compression_rate
        self.use_error_feedback, self.warm_start = use_error_feedback, warm_start
        self.orthogonalization_epsilon = orthogonalization_epsilon
        self.rng = np.random.RandomState(random_seed)
        self.error_dict: dict[int, jtorch.Tensor] = {}
        self.p_memory_dict: dict[int, list] = {}
        self.q_memory_dict: dict[int, list] = {}
        self.iter = 0
        self.total_numel_before_compression = self.total_numel_after_compression = 0

    def maybe_increase_iter(self, bucket) -> None:
        """Count a step when its last bucket has come."""
        self.iter += bucket.is_last()

    def compression_stats(self) -> tuple[float, int, int]:
        """The factor by which gradients became smaller, and their numbers of elements before and after."""
        before, after = self.total_numel_before_compression, self.total_numel_after_compression
        return (before / after if after else 0), before, after

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "process_group"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, process_group=None)


def _orthogonal(columns, epsilon: float):
    """An orthonormal basis of the columns' space."""
    if columns.shape[1] > 2:
        return jtorch.linalg.qr(columns)[0]
    out: list = []
    for i in range(columns.shape[1]):
        column = columns[:, i]
        for other in out:
            column = column - (other * column).sum() * other
        size = column.norm() + epsilon
        out.append(jtorch.where(size > 0, column / size, jtorch.zeros_like(column)))
    return jtorch.stack(out, 1)


def _summed(tensors: list, group) -> list:
    """The sums over the ranks, in one collective."""
    if not tensors:
        return []
    flat = jtorch.cat([t.reshape(-1) for t in tensors])
    all_reduce(flat, group=group)
    return [part.view(t.shape) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]


def _compressed(state: PowerSGDState, bucket, matrices: list, exact: list):
    """The averages of matrices by their factors, and those of other tensors."""
    group = resolve(state.process_group)
    n, index = group.size(), bucket.index()
    exact = [t / n for t in _summed(exact, group)]
    ranks = [min(*m.shape, state.matrix_approximation_rank) for m in matrices]
    qs = state.q_memory_dict.get(index) if state.warm_start else None
    if qs is None:
        with jtorch.random.fork_rng(devices=[]):
            jtorch.manual_seed(int(state.rng.randint(1_000_000_000)))
            qs = [jtorch.randn(m.shape[1], k, device=m.device, dtype=m.dtype)
                  for m, k in zip(matrices, ranks, strict=True)]  # fmt: skip
    qs = [_orthogonal(q, state.orthogonalization_epsilon) for q in qs]
    ps = _summed([m @ q for m, q in zip(matrices, qs, strict=True)], group)
    ps = [_orthogonal(p, state.orthogonalization_epsilon) for p in ps]
    qs = [q / n for q in _summed([m.t() @ p for m, p in zip(matrices, ps, strict=True)], group)]
    if state.warm_start:
        state.p_memory_dict[index], state.q_memory_dict[index] = ps, qs
    state.total_numel_before_compression += sum(m.numel() for m in matrices) + sum(t.numel() for t in exact)
    state.total_numel_after_compression += sum(f.numel() for f in (*ps, *qs, *exact))
    return [p @ q.t() for p, q in zip(ps, qs, strict=True)], exact


def _finished(value):
    future = jtorch.futures.Future()
    future.set_result(value)
    return future


def _with_errors(state: PowerSGDState, bucket, buffer):
    error = state.error_dict.get(bucket.index())
    return buffer if error is None or not state.use_error_feedback else buffer + error


def _exactly(state: PowerSGDState, bucket):
    group = resolve(state.process_group)
    state.maybe_increase_iter(bucket)
    (found,) = _summed([bucket.buffer()], group)
    return _finished(found / group.size())


def powerSGD_hook(state: PowerSGDState, bucket):
    """The average of the gradients: of matrices that this makes smaller, as products of thin ones."""
    if state.iter < state.start_powerSGD_iter:
        return _exactly(state, bucket)
    buffer = _with_errors(state, bucket, bucket.buffer())
    sizes = [p.numel() for p in bucket.parameters()]
    pieces = list(buffer.split([*sizes, buffer.numel() - sum(sizes)]))  # the last: what the reducer added
    shapes = [(p.shape[0], p.numel() // p.shape[0]) if p.dim() > 1 else None for p in bucket.parameters()]
    k, rate = state.matrix_approximation_rank, state.min_compression_rate
    chosen = [
        i for i, s in enumerate(shapes) if s is not None and (s[0] + s[1]) * min(*s, k) * rate < s[0] * s[1]
    ]  # fmt: skip
    rest = [i for i in range(len(pieces)) if i not in chosen and pieces[i].numel()]
    products, exact = _compressed(state, bucket, [pieces[i].view(shapes[i]) for i in chosen], [pieces[i] for i in rest])
    for i, t in zip((*chosen, *rest), (*products, *exact), strict=True):
        pieces[i] = t.reshape(-1)
    return _done(state, bucket, buffer, jtorch.cat(pieces))


def batched_powerSGD_hook(state: PowerSGDState, bucket):
    """As :func:`powerSGD_hook`, with all gradients of a bucket taken as one square matrix."""
    if state.iter < state.start_powerSGD_iter:
        return _exactly(state, bucket)
    buffer = _with_errors(state, bucket, bucket.buffer())
    side = math.isqrt(buffer.numel() - 1) + 1
    square = jtorch.cat([buffer, buffer.new_zeros(side * side - buffer.numel())]).view(side, side)
    (product,), _ = _compressed(state, bucket, [square], [])
    return _done(state, bucket, buffer, product.reshape(-1)[: buffer.numel()])


def _done(state: PowerSGDState, bucket, before, after):
    if state.use_error_feedback:
        state.error_dict[bucket.index()] = before - after
    state.maybe_increase_iter(bucket)
    return _finished(after)
