"""Strides and memory formats, as PyTorch would report them.

XLA lays arrays out as it likes; what a program sees (``stride``, ``is_contiguous``, the order random numbers fill a
permuted tensor in) is worked out here from the view steps that made the tensor.
"""

from __future__ import annotations

import functools
import math

from ..ops.shapes import canonical_dim


class memory_format:
    """``contiguous_format``, ``channels_last``, ``channels_last_3d`` or ``preserve_format``."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return self.name


class layout(memory_format):
    """How a tensor's elements are stored: ``strided``, or one of the sparse layouts."""


contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")
strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
sparse_csc = layout("sparse_csc")
sparse_bsr = layout("sparse_bsr")
sparse_bsc = layout("sparse_bsc")
jagged = layout("jagged")


def contiguous_strides(shape) -> tuple[int, ...]:
    """Row-major strides."""
    return _row_major(tuple(shape))


@functools.lru_cache(4096)
def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= max(n, 1)
    return tuple(reversed(out))


def channels_last_strides(shape) -> tuple[int, ...]:
    """Strides with dimension 1 innermost."""
    order = (0, *range(2, len(shape)), 1)
    inner = contiguous_strides([shape[i] for i in order])
    out = [0] * len(shape)
    for i, s in zip(order, inner, strict=True):
        out[i] = s
    return tuple(out)


def format_strides(shape, fmt) -> tuple[int, ...]:
    """The strides of a tensor made in the memory format ``fmt``.

    Raises:
        RuntimeError: ``fmt`` is for another number of dimensions.
    """
    if fmt not in (channels_last, channels_last_3d):
        return contiguous_strides(shape)
    wanted = 4 if fmt is channels_last else 5
    if len(shape) != wanted:
        raise RuntimeError(f"required rank {wanted} tensor to use {fmt.name} format")
    return channels_last_strides(shape)


def broadcast_strides(shape, strides_, to) -> tuple[int, ...]:
    """The strides of a tensor expanded to the shape ``to``."""
    new = len(to) - len(shape)
    return (0,) * new + tuple(0 if n == 1 != m else s for n, s, m in zip(shape, strides_, to[new:], strict=True))


def dense_strides(shape, *all_strides) -> tuple[int, ...]:
    """Strides of a gap-free tensor whose axes lie in memory in the order they have in operands of these strides.

    Of two axes the first operand that knows decides; one that is expanded along either (stride 0) does not.
    """
    order = list(range(len(shape)))[::-1]  # the innermost first
    for at in range(1, len(order)):
        for k in range(at - 1, -1, -1):
            inner, outer = order[k], order[at]
            known = ((s[inner], s[outer]) for s in all_strides if s[inner] and s[outer])
            a, b = next(((a, b) for a, b in known if a != b or shape[inner] > shape[outer]), (0, 0))
            if a < b:
                break
            if a:
                order[k], order[at] = outer, inner
                at = k
    out, step = [0] * len(shape), 1
    for i in order:
        out[i] = step
        step *= max(shape[i], 1)
    return tuple(out)


@functools.lru_cache(4096)
def memory_order(shape, operands: tuple) -> tuple[int, ...] | None:
    """The strides of an elementwise result, from its operands' shapes and strides; None: it is contiguous."""
    if all(_follow(s, strides_, contiguous_strides(s)) for s, strides_ in operands):
        return None
    order = dense_strides(shape, *[broadcast_strides(*laid, shape) for laid in operands if len(laid[0]) <= len(shape)])
    return None if order == contiguous_strides(shape) else order


#: Operations on images whose results have the memory format of the images given.
KEEP_FORMAT = frozenset((
    "conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d", "_batch_norm_train", "_batch_norm_eval", "group_norm",
    "local_response_norm", "max_pool2d", "max_pool3d", "avg_pool2d", "avg_pool3d", "lp_pool2d", "lp_pool3d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "pad", "interpolate", "glu", "cat", "flip", "roll",
))  # fmt: skip


def keep_format(results, operands, every: bool) -> None:
    """Give ``results`` the memory format of images that one of the ``operands`` lies in (or all, with ``every``)."""
    formats = [
        (x._lens is not None or x._strides is not None) and suggested_format(x) is not contiguous_format
        for x in operands if x.dim() in (4, 5)
    ]  # fmt: skip
    if formats and (all(formats) if every else any(formats)):
        for r in results:
            if r.dim() in (4, 5):
                r._strides = channels_last_strides(tuple(r.shape))


def suggested_format(t) -> memory_format:
    """The memory format that a tensor lies in."""
    fmt = {4: channels_last, 5: channels_last_3d}.get(t.dim(), contiguous_format)
    return fmt if is_contiguous(t, fmt) and not is_contiguous(t) else contiguous_format


def _geometry(t) -> tuple[tuple[int, ...], int]:
    """(strides, offset) of a tensor, worked out along its view steps."""
    if t._geometry is not None:
        return t._geometry
    base = t._storage.value.aval.shape
    if t._lens is None:
        return (t._strides or contiguous_strides(base)), 0
    root = t._root
    origin = root if root is not None and root._lens is None else None
    strides = (origin._strides if origin is not None else None) or contiguous_strides(base)
    shape, offset = tuple(base), 0
    for step in t._lens:
        shape, strides, offset = _step(step, shape, strides, offset)
    t._geometry = strides, offset
    return t._geometry


_SAME_ELEMENTS = frozenset((
    "view", "reshape", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "_atleast", "alias", "permute",
    "transpose", "t", "movedim", "expand", "broadcast_to", "slices", "slice", "narrow", "select", "diagonal",
))  # fmt: skip


def extend_geometry(t, base, step) -> None:
    """Work out a new view's strides from those of the tensor it was taken from: a chain of views stays cheap."""
    if step.op.name in _SAME_ELEMENTS and all(isinstance(n, (int, tuple)) for n in step.numbers):
        t._geometry = _moved(step.op, step.statics, step.numbers, step.shape, base.shape, *_geometry(base))


def window(t, array):
    """A view's elements straight out of its storage's host memory, as NumPy sees them; None if that cannot be done.

    Reading ``x[i]`` of a tensor that exists then costs no program. ``array`` is the storage's jax array.
    """
    import numpy as np

    if any(s.op.name not in _SAME_ELEMENTS for s in t._lens):
        return None
    shape, st, off = array.shape, contiguous_strides(array.shape), 0
    for step in t._lens:
        if any(not isinstance(n, (int, tuple)) for n in step.numbers):
            return None
        if step.op.name in _MERGING and view_strides(shape, st, tuple(step.shape)) is None:
            return None
        shape, st, off = _step(step, shape, st, off)
    flat = np.asarray(array).reshape(-1)
    out = np.lib.stride_tricks.as_strided(flat[off:], shape, [s * flat.itemsize for s in st], writeable=False)
    return out if out.size else np.empty(shape, flat.dtype)


_MERGING = frozenset(("view", "reshape", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "_atleast"))


def strides(t) -> tuple[int, ...]:
    return _geometry(t)[0]


def offset(t) -> int:
    return int(_geometry(t)[1])


def is_contiguous(t, fmt=contiguous_format) -> bool:
    shape = tuple(t.shape)
    if t._lens is None and t._strides is None and fmt is contiguous_format:
        return True
    wanted = contiguous_strides(shape)
    if fmt is channels_last or fmt is channels_last_3d:
        if len(shape) != (4 if fmt is channels_last else 5):
            return False
        wanted = channels_last_strides(shape)
    return _follow(shape, strides(t), wanted)


def _follow(shape, strides_, wanted) -> bool:
    """Whether elements lie where the wanted strides have them."""
    return math.prod(shape) == 0 or all(n == 1 or s == w for n, s, w in zip(shape, strides_, wanted, strict=True))


@functools.lru_cache(4096)
def view_strides(shape, strides_, new) -> tuple[int, ...] | None:
    """Strides of ``view(new)``, or None when the elements do not lie so that a view exists."""
    if math.prod(shape) == 0:
        return contiguous_strides(new)
    # Merge old dimensions into runs that are contiguous among themselves, then cut the runs into the new sizes.
    runs: list[list[int]] = []
    for n, s in zip(shape, strides_, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * s:
            runs[-1][0] *= n
            runs[-1][1] = s
        else:
            runs.append([n, s])
    if not runs:
        return contiguous_strides(new)
    out = [0] * len(new)
    i = len(new) - 1
    for n, s in reversed(runs):
        step = s
        while i >= 0 and (n > 1 or new[i] == 1):
            if new[i] == 1:
                out[i] = step
            elif n % new[i]:
                return None
            else:
                out[i] = step
                step *= new[i]
                n //= new[i]
            i -= 1
        if n > 1:
            return None
    return tuple(out) if i < 0 else None


# --- one view step's effect on (shape, strides, offset); ``a`` holds the op's parameters by name ----------------------


def _reshape(shape, st, off, a, new):
    found = view_strides(shape, st, new)
    return found if found is not None else contiguous_strides(new), off


def _permute(order):
    def rule(shape, st, off, a, new):
        return tuple(st[i] for i in order(len(shape), a)), off

    return rule


def _swapped(n, a):
    order = list(range(n))
    if not n:
        return order
    i, j = (canonical_dim(a[k], n) for k in ("dim0", "dim1"))
    order[i], order[j] = j, i
    return order


def _moved(n, a):
    source, target = (
        [canonical_dim(d, n) for d in ((a[k],) if isinstance(a[k], int) else a[k])] for k in ("source", "destination")
    )
    order: list = [None] * n
    for s, d in zip(source, target, strict=True):
        order[d] = s
    rest = iter(i for i in range(n) if i not in source)
    return [next(rest) if o is None else o for o in order]


def _expand(shape, st, off, a, new):
    if not shape:
        return (0,) * len(new), off
    extra = len(new) - len(shape)
    grown = [0 if n != m else s for n, m, s in zip(shape, new[extra:], st, strict=True)]
    for d in reversed(range(extra)):  # a new dimension of size 1 is laid out as one that unsqueeze puts there
        grown.insert(0, 0 if new[d] != 1 else new[d + 1] * grown[0] if grown else 1)
    return tuple(grown), off


def _slices(shape, st, off, dims, starts, steps):
    st = list(st)
    for d, start, step in zip(dims, starts, steps, strict=True):
        d = canonical_dim(d, len(shape))
        off += (start % shape[d] if start < 0 else start) * st[d]
        st[d] *= step
    return tuple(st), off


def _select(shape, st, off, a, new):
    d = canonical_dim(a["dim"], len(shape))
    return st[:d] + st[d + 1 :], off + (a["index"] % max(shape[d], 1)) * st[d]


def _select_tensor(shape, st, off, a, new):
    d = canonical_dim(a["dim"], len(shape))
    return st[:d] + st[d + 1 :], off + (a["index"] % shape[d]) * st[d]  # a 0-d tensor: read when it is asked for


def _diagonal(shape, st, off, a, new):
    i, j = canonical_dim(a["dim1"], len(shape)), canonical_dim(a["dim2"], len(shape))
    k = a["offset"]
    if new[-1]:
        off += k * st[j] if k >= 0 else -k * st[i]
    return tuple(s for d, s in enumerate(st) if d not in (i, j)) + (st[i] + st[j],), off


def _unfold(shape, st, off, a, new):
    if not shape:
        return (1,), off
    d = canonical_dim(a["dimension"], len(shape))
    return (*st[:d], st[d] * a["step"], *st[d + 1 :], st[d]), off


def _view_dtype(shape, st, off, a, new):
    if not shape or shape[-1] == new[-1]:
        return st, off
    if new[-1] > shape[-1]:
        k = new[-1] // shape[-1]
        return (*(s * k for s in st[:-1]), 1), off * k
    k = shape[-1] // max(new[-1], 1)
    return (*(s // k for s in st[:-1]), 1), off // k


_RULES = {
    **dict.fromkeys(("view", "reshape", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "_atleast"), _reshape),
    "alias": lambda shape, st, off, a, new: (st, off),
    "permute": _permute(lambda n, a: [canonical_dim(d, n) for d in a["dims"]]),
    "transpose": _permute(_swapped),
    "t": _permute(lambda n, a: range(n - 1, -1, -1)),
    "movedim": _permute(_moved),
    "expand": _expand,
    "broadcast_to": _expand,
    "slices": lambda shape, st, off, a, new: _slices(shape, st, off, a["dims"], a["starts"], a["steps"]),
    "slice": lambda shape, st, off, a, new: _slices(shape, st, off, (a["dim"],), (a["start"],), (a["step"],)),
    "narrow": lambda shape, st, off, a, new: _slices(shape, st, off, (a["dim"],), (a["start"],), (1,)),
    "select": _select,
    "select.tensor": _select_tensor,
    "diagonal": _diagonal,
    "unfold_view": _unfold,
    "view.dtype": _view_dtype,
    "detach": lambda shape, st, off, a, new: (st, off),
    "as_strided": lambda shape, st, off, a, new: (tuple(a["stride"]), off if a["storage_offset"] is None
                                                  else a["storage_offset"]),
    "real": lambda shape, st, off, a, new: (tuple(2 * s for s in st), 2 * off),
    "imag": lambda shape, st, off, a, new: (tuple(2 * s for s in st), 2 * off + 1),
    "view_as_real": lambda shape, st, off, a, new: ((*(2 * s for s in st), 1), 2 * off),
    "view_as_complex": lambda shape, st, off, a, new: (tuple(s // 2 for s in st[:-1]), off // 2),
}  # fmt: skip


def _step(step, shape, st, off):
    return tuple(step.shape), *_after(step.op, step.statics, step.numbers, step.shape, shape, st, off)


def _after(op, statics, numbers, new, shape, st, off) -> tuple[tuple[int, ...], int]:
    """Strides and offset after a view step from ``shape`` to ``new``."""
    names = dict(zip(op.static_names, statics, strict=True))
    names |= dict(zip(op.operand_names[1:], numbers, strict=True))
    st, off = _RULES[op.name](tuple(shape), st, off, names, tuple(new))
    return tuple(st), off


#: the same step from the same place: a program takes its views over and over
_moved = functools.lru_cache(4096)(_after)


class StorageBase:
    """What ``untyped_storage()`` returns: identity, size in bytes, and a data pointer."""

    def __init__(self, t):
        self._tensor_storage = t._storage
        self.device = t.device

    def nbytes(self) -> int:
        return self._tensor_storage.value.aval.nbytes

    def size(self) -> int:
        return self.nbytes()

    __len__ = size

    def data_ptr(self) -> int:
        return self._tensor_storage.address()

    @property
    def _cdata(self) -> int:
        """A number that storages of the same memory have in common, while it lives."""
        return id(self._tensor_storage)

    def __eq__(self, other):
        return isinstance(other, StorageBase) and self._tensor_storage is other._tensor_storage

    def __hash__(self):
        return hash(id(self._tensor_storage))
