"""``torch.cond``: a branch inside one program.

Both functions are recorded on stand-ins (:mod:`.recorded`), and the branch is one operation on the operands and on
whatever tensors the functions read besides; its derivative is JAX's. Where stand-ins cannot tell (under ``vmap``, in
``export``) both are computed, and one result is selected.
"""

from __future__ import annotations

from functools import partial

from ..ops import loops
from ..tape import modes
from ..tensor import Tensor
from .recorded import Recorded, any_of, is_recorded, recorded, tensors_of


def cond(pred, true_fn, false_fn, operands=()):
    """``true_fn(*operands)`` if ``pred`` holds, else ``false_fn(*operands)``.

    Of a tensor ``pred`` nothing is read: both functions are recorded, and the program runs one of them. Neither may
    write to a tensor it did not make. In ``export`` and under ``vmap`` both are computed and one result is selected; a
    NaN in the derivative of the other then shows.

    Args:
        pred: a truth value, or a tensor of one element.
        operands: a tuple of (nested) tensors and numbers.

    Raises:
        RuntimeError: the two results differ in structure, shape or dtype; or a function reads a value or writes to a
            tensor from outside.
    """
    if not isinstance(pred, Tensor):
        return true_fn(*operands) if pred else false_fn(*operands)
    if pred.numel() != 1:
        raise RuntimeError(f"cond: expected pred to be a bool or a tensor of one element, but got {list(pred.shape)}")
    if is_recorded(pred._value()) or modes.state.transformed or modes.state.exported:
        return _select(pred, true_fn(*operands), false_fn(*operands))
    tensors, put = tensors_of(operands)
    true, false = (recorded(fn, tensors, put, pred.device, "cond") for fn in (true_fn, false_fn))
    return _branch(pred, tensors, true, false)


def _branch(pred, tensors, true: Recorded, false: Recorded):
    yes, no = true.program, false.program
    if true.looks() != false.looks():
        raise RuntimeError(
            "cond: expected both branches to return tensors with the same metadata in the same structure, but got "
            f"{yes.avals} in {true.form} and {no.avals} in {false.form}"
        )
    swapped = not yes.checked  # indices are checked where the first of the two programs has any
    first, second = (no, yes) if swapped else (yes, no)
    n, m = len(tensors), len(second.leaves)

    def run(pred, *arrays, checks: bool = False):
        """The results, or with ``checks`` whether an index of the branch that is taken is out of range."""
        inputs = arrays[:n]

        def of(program, leaves):
            def branch():
                verdicts: list = []
                results = program.run((*inputs, *leaves), verdicts if checks else None)
                return any_of(verdicts) if checks else tuple(results)

            return branch

        holds = pred.reshape(()) != 0
        branches = of(first, arrays[n + m :]), of(second, arrays[n : n + m])
        return loops.cond(~holds if swapped else holds, *branches)

    operands = (pred, *tensors, *second.leaves)
    return true.result(first.apply(("cond", swapped, n, second.key), run, operands, partial(run, checks=True)))


def _select(pred: Tensor, yes, no):
    """``yes`` where ``pred`` holds, else ``no``: tensors, or nested tuples, lists and dicts of them."""
    if isinstance(yes, Tensor) and isinstance(no, Tensor):
        if yes.shape != no.shape or yes.dtype is not no.dtype:
            raise RuntimeError("cond: expected both branches to return tensors with the same metadata, but got "
                               f"{yes.dtype}{list(yes.shape)} and {no.dtype}{list(no.shape)}")  # fmt: skip
        return yes.where(pred.reshape(()), no)
    if type(yes) is type(no):
        if isinstance(yes, (tuple, list)) and len(yes) == len(no):
            parts = [_select(pred, a, b) for a, b in zip(yes, no, strict=True)]
            return type(yes)(*parts) if hasattr(yes, "_fields") else type(yes)(parts)
        if isinstance(yes, dict) and yes.keys() == no.keys():
            return {key: _select(pred, a, no[key]) for key, a in yes.items()}
        if not isinstance(yes, (tuple, list, dict)) and yes == no:
            return yes
    raise RuntimeError(f"cond: expected both branches to return tensors in the same structure, but got {yes} and {no}")


__all__ = ["cond"]
