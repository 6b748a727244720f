"""Whether backward needs what was saved of a tensor that has been written to since."""

from __future__ import annotations

import jax

from ..trace.jaxapi import x64
from ..trace.linearize import Linearization, dependences

#: Operations whose derivative PyTorch computes from their result, or from what they made on the way: operands may be
#: written to.
_NEED_NO_OPERANDS = frozenset(("_instance_norm", "_inv_ex", "cross_entropy", "inv", "qr", "tanhshrink"))


def needed(lin: Linearization, place: int, given: tuple[bool, ...]) -> bool:
    """Whether a gradient is computed from what was saved of an operand or result (``place`` among both).

    A derivative that is written by hand saves all that any of its gradients needs: of ``x @ w`` both factors, though
    where only ``w`` requires grad its own value does not matter. Asked only where an error is about to be raised.

    Args:
        given: for each output that carries a gradient, whether there is one.
    """
    call, backward = lin.call, lin.backward(given)
    if call.op is not None and call.op.name in _NEED_NO_OPERANDS and place < len(call.in_avals):
        return False
    with x64(True), backward.lowering():
        jaxpr = jax.make_jaxpr(backward.fn)(*(a.sds for a in backward.in_avals)).jaxpr
    used = set().union(*dependences(jaxpr))
    return any(k in used for k, source in enumerate(lin.sources) if source == place)
