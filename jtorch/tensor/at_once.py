"""A few integers that lie in host memory are moved there at once, instead of in the next program.

Token ids grow by one at each step of a generation, ``ids = cat((ids, new), 1)``, and the model sees the last of them,
``ids[:, -block:]``. Were the two recorded, the program of each step would begin with arrays of other sizes, and be
another one, though the model's own input has had one size for long. On the CPU such a move costs as much as recording
it does.
"""

from __future__ import annotations

import weakref

import jax
import numpy as np

from .. import devices, dtypes
from ..trace import capture
from ..trace.recorder import redirected
from ..trace.value import Value, put
from . import layout

_LARGEST = 1 << 15  # elements
#: what was put together here: views of other integers are read in programs, which have one size for each of theirs
_joined: weakref.WeakSet[Value] = weakref.WeakSet()


def _exists(value: Value) -> bool:
    """Whether a value is a known array of integers in host memory."""
    return (
        value.array is not None
        and value.aval.dtype.category <= dtypes.INT
        and value.device is devices.CPU
        and value.error is None
        and value.sharding is None
        and not isinstance(value.array, jax.core.Tracer)
    )


def _watched() -> bool:
    """Whether what is done now will be replayed on other values."""
    return capture.state.log is not None or redirected()


def computed(op, call, values: list, statics: tuple) -> list[Value] | None:
    """The result of a call on ``values``, or None: it has to be recorded."""
    out = call.out_avals[0]
    if out.numel > _LARGEST or not all(isinstance(v, Value) and _exists(v) for v in values) or _watched():
        return None
    array = op.host([np.asarray(v.array).astype(out.dtype.np) for v in values], *statics)
    if array is None:
        return None
    joined = put(array, devices.CPU)
    _joined.add(joined)
    return [joined]


def seen(view, value: Value) -> Value | None:
    """What a view shows of its storage's ``value`` that was joined here, or None: it has to be read in a program."""
    if not _exists(value) or value not in _joined or view._aval.numel > _LARGEST or _watched():
        return None
    shown = layout.window(view, value.array)
    return None if shown is None else put(np.array(shown), devices.CPU)
