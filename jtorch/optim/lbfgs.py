"""L-BFGS, with an optional strong Wolfe line search.

Numbers that decide where to go next (losses, slopes, step lengths) are read by the program, so this optimizer waits
for its results. They are NumPy scalars of the gradient's type: what PyTorch computes in float32 is computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jtorch.optim.fused import check_lr
from jtorch.optim.optimizer import Optimizer, is_tensor
from jtorch.tape.modes import enable_grad, no_grad
from jtorch.tensor import dispatch
from jtorch.trace.value import put


def _number(x):
    """The value of a tensor of one element, in its own dtype."""
    return x.detach().cpu().numpy()[()]


@dataclass
class Point:
    """What is known of the objective at a step length: its value, gradient, and slope along the direction."""

    t: float
    loss: float
    grad: object
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple | None = None):
    """Where the cubic through two points with their slopes is least, within ``bounds`` (default: between them).

    Nocedal and Wright, Numerical Optimization, equation 3.59. The middle of the bounds where the cubic has no minimum.
    """
    low, high = sorted((a.t, b.t)) if bounds is None else bounds
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = np.sqrt(square)
    if a.t > b.t:
        a, b = b, a
    at = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(at, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point],
    t: float,
    start: Point,
    size: float,
    max_evaluations: int,
    *,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    tolerance: float = 1e-9,
) -> tuple[Point, int]:
    """A step length with sufficient decrease and a flat enough slope, and the number of evaluations.

    Nocedal and Wright, algorithms 3.5 (bracketing, from step length ``t``) and 3.6 (zoom, until the bracket times
    ``size``, the direction's largest element, is below ``tolerance``).
    """

    def too_high(point: Point) -> bool:
        return point.loss > start.loss + decrease * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -curvature * start.slope

    previous, point, tries = start, evaluate(t), 0
    bracket = None
    while tries < max_evaluations:
        if too_high(point) or (tries > 1 and point.loss >= previous.loss):
            bracket = [previous, point]
            break
        if flat(point):
            return point, tries + 1
        if point.slope >= 0:
            bracket = [previous, point]
            break
        bounds = (point.t + 0.01 * (point.t - previous.t), point.t * 10)
        t = cubic_minimum(previous, point, bounds)
        previous, point = point, evaluate(t)
        tries += 1
    if bracket is None:
        bracket = [start, point]

    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    stuck = False
    while tries < max_evaluations:
        left, right = sorted((bracket[0].t, bracket[1].t))
        if (right - left) * size < tolerance:
            break
        t = cubic_minimum(*bracket)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # near an end: move inwards if it is the second time, or at the end
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        tries += 1
        if too_high(point) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        done = flat(point)
        if not done and point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
        if done:
            break
    return bracket[low], tries + 1


class LBFGS(Optimizer):
    r"""Limited-memory BFGS (Liu and Nocedal, 1989).

    .. math:: p \leftarrow p - t H g

    where :math:`H` approximates the inverse Hessian from the latest ``history_size`` changes of position and gradient.
    A step makes up to ``max_iter`` iterations and ``max_eval`` (default: 5/4 of that) evaluations of its closure. The
    step length is ``lr`` (in the very first iteration at most ``lr`` over the gradient's 1-norm), or, with
    ``line_search_fn="strong_wolfe"``, one found from there. A step ends early when the largest gradient element is at
    most ``tolerance_grad``, or the loss or the parameters change by less than ``tolerance_change``.

    Raises:
        ValueError: a negative ``lr``, or more than one parameter group.
        RuntimeError: another line search, at the first step.
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_lr(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._zeros: list[tuple] = []

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._zeros = []

    @no_grad()
    def step(self, closure: Callable):
        """Iterate; ``closure`` clears the gradients, computes the loss and its gradients, and returns the loss.

        Returns the loss it returned first.
        """
        with np.errstate(all="ignore"):  # a division by zero is an infinite step length, which the bounds catch
            return self._iterate(enable_grad()(closure))

    def _iterate(self, closure: Callable):
        group = self.param_groups[0]
        params = group["params"]
        lr = float(group["lr"])
        max_iter, max_eval, search = group["max_iter"], group["max_eval"], group["line_search_fn"]
        state = self.state[params[0]]  # all of it is with the first parameter
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss, grad = float(first_loss), _gradient(params)
        evaluations = 1
        state["func_evals"] += 1
        if _largest(grad) <= group["tolerance_grad"]:
            return first_loss

        d, t = state.get("d"), state.get("t")
        previous_grad, previous_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = -grad
                state.update({"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1})
                t = min(1.0, 1.0 / _number(grad.abs().sum())) * lr
            else:
                _remember(state, grad - previous_grad, d * t, group["history_size"])
                d = self._direction(state, grad, group["history_size"])
                t = lr
            previous_grad, previous_loss = grad, loss

            slope = _number(grad.dot(d))
            if slope > -group["tolerance_change"]:
                break
            if search is None:
                _move(params, d, t)
                made = 0
                if iteration != max_iter:  # the last one's loss would decide nothing
                    loss, grad = float(closure()), _gradient(params)
                    made = 1
            elif search == "strong_wolfe":
                found, made = self._search(closure, params, d, t, Point(0, loss, grad, slope), max_eval - evaluations)
                t, loss, grad = found.t, found.loss, found.grad
                _move(params, d, t)
            else:
                raise RuntimeError("only 'strong_wolfe' is supported")
            evaluations += made
            state["func_evals"] += made

            if (
                iteration == max_iter
                or evaluations >= max_eval
                or _largest(grad) <= group["tolerance_grad"]
                or _largest(d * t) <= group["tolerance_change"]
                or abs(loss - previous_loss) < group["tolerance_change"]
            ):
                break

        state.update({"d": d, "t": float(t), "prev_flat_grad": previous_grad, "prev_loss": previous_loss})
        return first_loss

    def _search(self, closure, params, d, t, start: Point, max_evaluations: int) -> tuple[Point, int]:
        here = [p.clone() for p in params]

        def evaluate(t) -> Point:
            _move(params, d, t)
            loss, grad = float(closure()), _gradient(params)
            for p, old in zip(params, here, strict=True):
                p.copy_(old)
            return Point(t, loss, grad, _number(grad.dot(d)))

        return strong_wolfe(evaluate, t, start, _largest(d), max_evaluations)

    def _direction(self, state: dict, grad, history_size: int):
        """Zeros fill the history up to a power of two: so there are few programs for all its lengths."""
        dirs, stps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        length = min(1 << max(len(dirs) - 1, 0).bit_length(), max(history_size, 1))
        spare = length - len(dirs)
        while len(self._zeros) < spare:  # each an array of its own: operands that are the same are another program
            self._zeros.append((_zeros(grad, grad.shape), _zeros(grad, grad.shape), _zeros(grad, ())))
        no_dirs, no_stps, no_ro = zip(*self._zeros[:spare], strict=True) if spare else ((), (), ())
        ro = tuple(r if is_tensor(r) else grad.new_tensor(r) for r in ro)
        h_diag = state["H_diag"]
        return dispatch.call(
            "_lbfgs_direction",
            grad,
            no_dirs + tuple(dirs),
            no_stps + tuple(stps),
            no_ro + ro,
            h_diag if is_tensor(h_diag) else float(h_diag),
        )


def _zeros(like, shape):
    """Zeros that exist already, of the dtype and in the place of ``like``."""
    return dispatch.wrap(put(np.zeros(tuple(shape), like.dtype.np), like.device))


def _gradient(params):
    """All gradients as one vector; those that are None are zero."""
    return dispatch.call("_lbfgs_gather", tuple(p.new_zeros(p.shape) if p.grad is None else p.grad for p in params))


def _largest(x):
    return _number(x.abs().max())


def _move(params, d, t) -> None:
    for p, new in zip(params, dispatch.call("_lbfgs_move", tuple(params), d, float(t)), strict=True):
        p.copy_(new)


def _remember(state: dict, y, s, history_size: int) -> None:
    """Add a change of the gradient ``y`` and of the position ``s``, if the curvature along ``s`` is positive."""
    ys = y.dot(s)
    if not _number(ys) > 1e-10:
        return
    if len(state["old_dirs"]) == history_size:
        for name in ("old_dirs", "old_stps", "ro"):
            state[name].pop(0)
    state["old_dirs"].append(y)
    state["old_stps"].append(s)
    state["ro"].append(1.0 / ys)
    state["H_diag"] = ys / y.dot(y)
