"""``torch.while_loop``: a loop of unknown length inside one program."""

from __future__ import annotations

from ..ops import loops
from ..tape import modes
from ..tensor import Tensor
from ..trace import capture
from ..utils import _pytree
from .recorded import is_recorded, recorded, tensors_of


def while_loop(cond_fn, body_fn, carried_inputs):
    """``body_fn`` repeated on its own results while ``cond_fn`` of them holds.

    Both functions are recorded once, and the loop is one operation. Where something in it requires gradients, which a
    loop of unknown length cannot have, under ``vmap``, and where an index may be out of range, ``cond_fn`` is read
    before each turn instead.

    Args:
        carried_inputs: a tuple of (nested) tensors. ``body_fn`` returns as many, each of the same shape and dtype.
            With numbers among them the loop is Python's.

    Raises:
        RuntimeError: what ``body_fn`` returns differs from what it was given in structure, shape or dtype.
    """
    carried = tuple(carried_inputs)
    tensors, put = tensors_of(carried)
    every = _pytree.tree_leaves(carried)
    if (
        len(tensors) < len(every)
        or not every
        or modes.state.transformed
        or modes.state.exported
        or any(is_recorded(t._value()) for t in tensors)
    ):
        return _turn_by_turn(cond_fn, body_fn, carried)
    device = tensors[0].device
    body = recorded(lambda *c: _as_tuple(body_fn(*c)), tensors, put, device, "while_loop")
    test = recorded(cond_fn, tensors, put, device, "while_loop")
    leaves = (*tensors, *body.program.leaves, *test.program.leaves)
    differentiated = modes.state.grad and any(t.requires_grad for t in leaves)
    if differentiated or body.program.checked or test.program.checked or test.others != [Tensor]:
        return _turn_by_turn(cond_fn, body_fn, carried)
    given = [t._value().aval for t in tensors]
    if body.program.avals != given or body.others != [Tensor] * len(tensors):
        raise RuntimeError(
            "while_loop: expected body_fn to return tensors with the same metadata as it is given, but it is given "
            f"{given} and returns {body.program.avals}"
        )
    n, m = len(tensors), len(body.program.leaves)

    def run(*arrays):
        # the program's own leaves come last: those of the test
        inner, outer = arrays[n : n + m], arrays[n + m :]
        return loops.while_loop(
            lambda c: test.program.run((*c, *outer))[0].reshape(()) != 0,
            lambda c: tuple(body.program.run((*c, *inner))),
            arrays[:n],
        )

    return put(test.program.apply(("while_loop", n, body.program.key), run, (*tensors, *body.program.leaves)))


def _turn_by_turn(cond_fn, body_fn, carried: tuple) -> tuple:
    while _holds(cond_fn(*carried)):
        carried = _as_tuple(body_fn(*carried))
    return carried


def _as_tuple(x) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _holds(pred) -> bool:
    with capture.allowed():
        return bool(pred)


__all__ = ["while_loop"]
