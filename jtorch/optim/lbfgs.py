"""L-BFGS, with an optional strong Wolfe line search.

Numbers that decide where to go next (losses, slopes, step lengths) are read by the program, so this optimizer waits
for its results: twice an iteration (once for the direction, once for the loss and gradient there), and once for each
further point of a line search. They are NumPy scalars of the gradient's type: what PyTorch computes in float32 is
computed in float32.
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
    """What is known of the objective at a step length: its value, gradient, slope along the direction, and the
    gradient's largest element."""

    t: float
    loss: float
    grad: object
    slope: float
    largest: float


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

        first_loss, grad, largest = _evaluated(closure, params)
        loss, largest = float(first_loss), _number(largest)
        evaluations = 1
        state["func_evals"] += 1
        if largest <= group["tolerance_grad"]:
            return first_loss

        d, t = state.get("d"), state.get("t")
        previous_grad, previous_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d, total = -grad, grad.abs().sum()
                slope, reach = grad.dot(d), d.abs().max()
                t = min(1.0, 1.0 / _number(total)) * lr
                state.update({"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1})
            else:
                d, slope, reach = self._next(state, grad, previous_grad, d, t, group["history_size"])
                t = lr
            previous_grad, previous_loss = grad, loss

            slope = _number(slope)
            if slope > -group["tolerance_change"]:
                break
            reach = _number(reach)
            if search is None:
                _move(params, d, t)
                made = 0
                if iteration != max_iter:  # the last one's loss would decide nothing
                    loss, grad, largest = _evaluated(closure, params)
                    loss, largest = float(loss), _number(largest)
                    made = 1
            elif search == "strong_wolfe":
                start = Point(0, loss, grad, slope, largest)
                found, made = self._search(closure, params, d, t, start, reach, max_eval - evaluations)
                t, loss, grad, largest = found.t, found.loss, found.grad, found.largest
                _move(params, d, t)
            else:
                raise RuntimeError("only 'strong_wolfe' is supported")
            evaluations += made
            state["func_evals"] += made

            if (
                iteration == max_iter
                or evaluations >= max_eval
                or largest <= group["tolerance_grad"]
                or abs(reach * grad.dtype.np.type(t)) <= group["tolerance_change"]
                or abs(loss - previous_loss) < group["tolerance_change"]
            ):
                break

        state.update({"d": d, "t": float(t), "prev_flat_grad": previous_grad, "prev_loss": previous_loss})
        return first_loss

    def _search(self, closure, params, d, t, start: Point, reach, max_evaluations: int) -> tuple[Point, int]:
        here = [p.clone() for p in params]

        def evaluate(t) -> Point:
            _move(params, d, t)
            loss, grad, largest = _evaluated(closure, params)
            slope = grad.dot(d)
            for p, old in zip(params, here, strict=True):
                p.copy_(old)
            return Point(t, float(loss), grad, _number(slope), _number(largest))

        return strong_wolfe(evaluate, t, start, reach, max_evaluations)

    def _next(self, state: dict, grad, previous_grad, d, t, history_size: int) -> tuple:
        """The next direction, its slope and its largest element, after the move by ``t d`` is in the history.

        The move is kept if the curvature along it is positive. The direction is computed as if it were, so that one
        read tells both.
        """
        y, s, curvature, ro, h_diag = dispatch.call("_lbfgs_change", grad, previous_grad, d, float(t))
        names = ("old_dirs", "old_stps", "ro")
        kept = max(history_size, 1)
        longer = {name: [*state[name], new][-kept:] for name, new in zip(names, (y, s, ro), strict=True)}
        found = self._direction(longer | {"H_diag": h_diag}, grad, history_size)
        if _number(curvature) > 1e-10:
            for name in names:
                state[name][:] = longer[name]
            state["H_diag"] = h_diag
            return found
        return self._direction(state, grad, history_size)

    def _direction(self, state: dict, grad, history_size: int) -> tuple:
        """The direction, its slope and its largest element.

        Zeros fill the history up to a power of two: so there are few programs for all its lengths.
        """
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


def _evaluated(closure, params) -> tuple:
    """The loss, all gradients as one vector (those that are None are zero), and the largest element of that."""
    for p in params:
        p._backward_step = -1  # several evaluations a step are no accumulation, after which backward() ends the trace
    loss = closure()
    grads = tuple(p.new_zeros(p.shape) if p.grad is None else p.grad for p in params)
    return loss, *dispatch.call("_lbfgs_gather", grads)


def _zeros(like, shape):
    """Zeros that exist already, of the dtype and in the place of ``like``."""
    return dispatch.wrap(put(np.zeros(tuple(shape), like.dtype.np), like.device))


def _move(params, d, t) -> None:
    for p, new in zip(params, dispatch.call("_lbfgs_move", tuple(params), d, float(t)), strict=True):
        p.copy_(new)
