"""Channels-last stretches: what stands between convolutions is computed in their layout (on CPU).

Operations of the CNN family turn their operands channels-last at their border (:mod:`..ops.conv_lowering`), and XLA
cancels turns that meet. It does not carry them through pointwise operations, sums with a broadcast operand, or ``cat``:
there whole activations would be turned forth and back. So such a call is lowered as the same call on turned operands,
its derivative as the derivative of that call, wherever an operand comes from a channels-last operation.
"""

from __future__ import annotations

from .aval import Aval, aval
from .call import Call, intern
from .linearize import linearize


def last(shape: tuple) -> tuple:
    """``(N, C, *D)`` to ``(N, *D, C)``; of fewer than three dims as it is."""
    return shape if len(shape) < 3 else (shape[0], *shape[2:], shape[1])


class Layout:
    """Which slots are channels-last underneath, while a program is lowered."""

    def __init__(self):
        self._slots: set[int] = set()

    def run(self, call: Call, slots: list[int | None], arrays: list, outs: tuple[int, ...]):
        """The results of a call; ``slots`` are its operands', None for a number."""
        if call.platform != "cpu":
            return call.jitted(*arrays)
        if any(s in self._slots for s in slots):
            turned = turned_call(call)
            if turned is not None:
                self._slots.update(outs)
                results = turned.jitted(*[turn(a) for a in arrays])
                return tuple(turn_back(r) for r in results)
        self._slots.update(outs[i] for i in _channels_last_results(call))
        return call.jitted(*arrays)


def turn(x):
    """``(N, C, *D)`` to ``(N, *D, C)``."""
    return x.transpose(0, *range(2, x.ndim), 1) if x.ndim > 2 else x


def turn_back(x):
    """``(N, *D, C)`` to ``(N, C, *D)``."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1)) if x.ndim > 2 else x


def _channels_last_results(call: Call) -> tuple[int, ...]:
    """The results that an operation of the CNN family, or the derivative of one, turned before it returned them."""
    if call.derivative is None:
        found = call.op is not None and call.op.channels_last
        return (0,) if found and len(call.out_avals[0].shape) > 2 else ()
    linearization, given = call.derivative
    if linearization.call.op is None or not linearization.call.op.channels_last:
        return ()
    return (0,) if given is None or linearization.operands[:1] == (0,) else ()


def turned_call(call: Call) -> Call | None:
    """The call that does on channels-last operands what ``call`` does, or None where there is none."""
    if call.turned is call:  # not looked for yet
        call.turned = _turned(call)
    return call.turned


def _turned(call: Call) -> Call | None:
    ranks = {len(a.shape) for a in (*call.in_avals, *call.out_avals)} - {0}
    rank = ranks.pop() if len(ranks) == 1 else 0
    if rank < 3:
        return None
    if call.derivative is not None:
        linearization, given = call.derivative
        base = turned_call(linearization.call)
        if base is None:
            return None
        n = len(base.in_avals)
        other = linearize(base, tuple(i in linearization.operands for i in range(n)))
        if other.saved != linearization.saved:
            return None
        made = other.forward if given is None else other.backward(given)
    else:
        if call.op is None or call.op.turned is None:
            return None
        statics, keys = call.key
        statics = call.op.turned(statics, rank)
        if statics is None:
            return None
        made = intern(call.op, statics, tuple(map(_turned_key, keys)), call.platform)
    if [a.shape for a in made.out_avals] != [last(a.shape) for a in call.out_avals]:
        return None
    return made


def _turned_key(key):
    if isinstance(key, tuple):
        return tuple(map(_turned_key, key))
    return aval(tuple(last(key.shape)), key.dtype) if isinstance(key, Aval) else key
