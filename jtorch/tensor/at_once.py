"""A few integers that lie in host memory are moved there at once, instead of in the next program.

Token ids grow by one at each step of a generation, ``ids = cat((ids, new), 1)``, and the model sees the last of them,
``ids[:, -block:]``. Were the two recorded, the program of each step would begin with arrays of other sizes, and be
another one, though the model's own input has had one size for long. On the CPU such a move costs as much as recording
it does.

A new token that is not computed yet (``argmax`` of the scores, ``multinomial``) is waited for, once its line has been
seen to join results of several sizes: the program that computes it ends there, and is the same whatever it is appended
to.
"""

from __future__ import annotations

import weakref

import jax
import numpy as np

from .. import devices, dtypes, errors
from ..trace import capture
from ..trace.checks import Check
from ..trace.recorder import redirected
from ..trace.value import Value, put
from . import layout

_LARGEST = 1 << 15  # elements
#: what was put together here: views of other integers are read in programs, which have one size for each of theirs
_joined: weakref.WeakSet[Value] = weakref.WeakSet()
#: shapes of what one line joined to something not computed yet: more of them than so many, and it is waited for
_shapes: dict[str, set[tuple[int, ...]]] = {}
_SETTLED, _LINES = 2, 1024


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


def _to_come(value: Value) -> bool:
    """Whether a value is integers that this machine's memory will hold, once they are computed and found sound."""
    pending = value.array is None and value.error is None and value.trace is not None and value.trace.mesh is None
    return (
        (pending or isinstance(value.error, Check))
        and value.aval.dtype.category <= dtypes.INT
        and value.device is devices.CPU
        and value.sharding is None
    )


def _grows(shape: tuple[int, ...]) -> bool:
    """Whether the user's line makes yet another shape."""
    line = errors.user_line()
    if line not in _shapes and len(_shapes) >= _LINES:
        _shapes.clear()
    shapes = _shapes.setdefault(line, set())
    if len(shapes) <= _SETTLED:
        shapes.add(shape)
    return len(shapes) > _SETTLED


def _watched() -> bool:
    """Whether what is done now will be replayed on other values."""
    return capture.state.log is not None or redirected()


def computed(op, call, values: list, statics: tuple) -> list[Value] | None:
    """The result of a call on ``values``, or None: it has to be recorded."""
    out = call.out_avals[0]
    if out.numel > _LARGEST or not all(isinstance(v, Value) for v in values) or _watched():
        return None
    known = [_exists(v) for v in values]
    if not all(known):
        waited = [v for v, is_known in zip(values, known, strict=True) if not is_known]
        if all(v.array is None for v in values) or not all(map(_to_come, waited)) or not _grows(out.shape):
            return None
        for v in waited:
            v.concrete("integers are appended to others")
        if not all(map(_exists, waited)):
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
