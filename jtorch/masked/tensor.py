"""The masked tensor: a tensor some of whose elements do not count.

The data is an ordinary Tensor, to which autograd, devices and recording are left (``tensor/stored.py``). Views are
taken of data and mask alike, pointwise operations compute with the data and keep the mask, reductions leave out what
the mask does not select.
"""

from __future__ import annotations

import textwrap

from .. import dtypes
from ..ops.registry import OPS
from ..tensor import Tensor, overriding
from ..tensor.export import function
from ..tensor.layout import strided
from ..tensor.stored import StoredMixin
from . import normalizations, reductions
from .filling import where

_SUPPORTED = (
    dtypes.float16, dtypes.float32, dtypes.float64, dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
)  # fmt: skip


class MaskedTensor(StoredMixin, Tensor):
    """Data, and a mask of its shape that is True where an element counts.

    Raises:
        TypeError: ``data`` is no ordinary tensor of numbers, or ``mask`` is not of bools.
        ValueError: their shapes differ.
    """

    _stored: Tensor
    _mask: Tensor
    _kind = strided

    def __new__(cls, data, mask, requires_grad: bool = False):
        if not isinstance(data, Tensor) or isinstance(data, MaskedTensor):
            raise TypeError("data must be a Tensor")
        if not isinstance(mask, Tensor) or isinstance(mask, MaskedTensor):
            raise TypeError("mask must be a Tensor")
        if data.layout is not mask.layout:
            raise TypeError("data and mask must have the same layout.")
        if data.layout is not strided:
            raise NotImplementedError(f"masked tensors of layout {data.layout} are not supported; use to_dense()")
        if mask.dtype is not dtypes.bool_:
            raise TypeError("mask must have dtype bool.")
        if data.dtype not in _SUPPORTED:
            raise TypeError(f"{data.dtype} is not supported in MaskedTensor.")
        if data.dim() != mask.dim():
            raise ValueError("data.dim() must equal mask.dim()")
        if data.size() != mask.size():
            raise ValueError("data.size() must equal mask.size()")
        return _made(data.detach().clone().requires_grad_(requires_grad), mask.clone())

    def __init__(self, data, mask, requires_grad: bool = False):
        pass

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        op = getattr(func, "op", None)
        handler = _HANDLERS.get(func.__name__ if op is None else op.name)
        if handler is not None:
            return handler(func, args, kwargs or {})
        if op is None:  # written over several operations, which come here again
            with overriding.without_subclasses():
                return func(*args, **(kwargs or {}))
        if op.put is not None:
            return _pass_through(func, args, kwargs or {})
        if op.elementwise:
            return _elementwise(func, args, kwargs or {})
        raise TypeError(f"{op.name}() is not supported for masked tensors; use get_data() or to_tensor(value)")

    def _handler(self, op, operands, statics):
        args, kwargs = overriding._arguments(op, operands, statics)
        return MaskedTensor.__torch_function__(function(op), (MaskedTensor,), args, kwargs)

    @property
    def _storage(self):
        raise NotImplementedError("Cannot access the storage of a masked tensor; use get_data()")

    def _value(self):
        raise NotImplementedError("this operation needs an ordinary tensor; use get_data() or to_tensor(value) first")

    def _like(self, data) -> MaskedTensor:
        return _made(data, self._mask)

    def _store(self, result, name: str) -> None:
        self._stored, self._mask = result._stored, result._mask

    _aval = property(lambda self: self._stored._value().aval)

    def is_contiguous(self, memory_format=None) -> bool:
        """Whether the data is."""
        return self._stored.is_contiguous()

    def stride(self, dim: int | None = None):
        """The data's."""
        return self._stored.stride() if dim is None else self._stored.stride(dim)

    def is_sparse_coo(self) -> bool:
        """False."""
        return False

    is_sparse_csr = is_sparse_coo

    # --- reading

    def get_data(self) -> Tensor:
        """All elements, those that do not count as they happen to be."""
        return self._stored

    def get_mask(self) -> Tensor:
        """Which elements count."""
        return self._mask

    def to_tensor(self, value) -> Tensor:
        """An ordinary tensor with ``value`` where elements do not count."""
        return where(self._mask, self._stored, self._stored.new_full((), value))

    def item(self):
        """The one element, whether it counts or not."""
        return self._stored.item()

    def tolist(self):
        raise RuntimeError(".tolist() is not supported for tensor subclasses, got MaskedTensor")

    def numpy(self, *, force: bool = False):
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    def __bool__(self) -> bool:
        return bool(self._stored)

    def __float__(self) -> float:
        return float(self._stored)

    def __int__(self) -> int:
        return int(self._stored)

    def __repr__(self, *, tensor_contents=None) -> str:
        if self.dim() == 0:
            counts = self._mask.item()
            return f"MaskedTensor({_number(self._stored.item()) if counts else '--'}, {counts})"
        return (
            f"MaskedTensor(\n{textwrap.indent(_rows(self._stored.tolist(), self._mask.tolist(), self.dim()), '  ')}\n)"
        )

    __str__ = __repr__

    def to(self, *args, **kwargs):
        """This tensor in another dtype or on another device."""
        data = self._stored.to(*args, **kwargs)
        return _made(data, self._mask.to(data.device))


def _made(data: Tensor, mask: Tensor) -> MaskedTensor:
    made = object.__new__(MaskedTensor)
    made._stored, made._mask = data, mask
    return made


def _number(x) -> str:
    return f"{x:8.4f}" if isinstance(x, float) else str(x)


def _rows(data: list, mask: list, dims: int) -> str:
    if dims > 1:
        rows = [textwrap.indent(_rows(d, m, dims - 1), "  ") for d, m in zip(data, mask, strict=True)]
        return "[\n" + ",\n".join(rows) + "\n]"
    cells = [_number(x) for x in data]
    width = max((len(cell) if counts else 8 for cell, counts in zip(cells, mask, strict=True)), default=0)
    return f"[{', '.join(c if counts else '--'.rjust(width) for c, counts in zip(cells, mask, strict=True))}]"


# --- what operations do ----------------------------------------------------------------------------------------------


_data = MaskedTensor.get_data


def _parts(x, part):
    """Arguments with each masked tensor replaced by ``part`` of it."""
    if isinstance(x, MaskedTensor):
        return part(x)
    if isinstance(x, (tuple, list)) and not hasattr(x, "_fields"):
        return type(x)(_parts(y, part) for y in x)
    return x


def _pass_through(func, args, kwargs):
    """Of data and of mask alike."""
    data, mask = (
        func(*_parts(args, part), **{k: _parts(v, part) for k, v in kwargs.items()})
        for part in (_data, MaskedTensor.get_mask)
    )
    return _made(data, mask) if isinstance(data, Tensor) else tuple(map(_made, data, mask))


def _elementwise(func, args, kwargs):
    """Of the data; the mask stays. Two masks must agree, and are read to see that unless they are one.

    Raises:
        ValueError: they differ.
    """
    masks = [x._mask for x in (*args, *kwargs.values()) if isinstance(x, MaskedTensor)]
    mask = masks[0]
    if any(m is not mask and not (m.shape == mask.shape and m.equal(mask)) for m in masks):
        raise ValueError("Input masks must match. Multiply them out first, or use get_data() and masked_tensor().")
    data = func(*_parts(args, _data), **{k: _parts(v, _data) for k, v in kwargs.items()})
    return _made(data, mask if mask.shape == data.shape else mask.expand(data.shape))


def _where(func, args, kwargs):
    """The mask is chosen as the data is; an ordinary tensor counts everywhere."""
    condition, *choices = args
    condition = _parts(condition, _data)
    data = where(condition, *_parts(choices, _data))
    masks = [x._mask if isinstance(x, MaskedTensor) else condition.new_ones((), dtype=dtypes.bool_) for x in choices]
    return _made(data, where(condition, *masks))


def _all(data, dim=None, *, keepdim=False, mask=None, dtype=None):
    kept = data.to(dtypes.bool_) | ~mask
    return kept.all() if dim is None else kept.all(dim, keepdim)


def _reduction(reduce):
    def handler(func, args, kwargs):
        return _reduce(reduce, *args, **kwargs)

    return handler


def _reduce(reduce, input, dim=None, keepdim=False, dtype=None, **options):
    """Over what the mask selects; the result counts where anything does."""
    if "axis" in options:
        dim = options.pop("axis")
    given = {} if dtype is None else {"dtype": dtype}
    if dim is None:
        return _made(reduce(input._stored, mask=input._mask, **given, **options), input._mask.any())
    result = reduce(input._stored, dim=dim, keepdim=keepdim, mask=input._mask, **given, **options)
    return _made(result, function(OPS["any"])(input._mask, dim, keepdim))


def _norm(data, p=2.0, dim=None, **options):
    return reductions.norm(data, 2.0 if p in (None, "fro") else p, dim, **options)


def _softmax(normalize):
    def handler(func, args, kwargs):
        x, dim, dtype = (lambda input, dim=None, dtype=None, **_: (input, dim, dtype))(*args, **kwargs)
        return x._like(normalize(x._stored, dim, dtype=dtype, mask=x._mask))

    return handler


def _under_the_mask(func, args, kwargs):
    """Another tensor like this one, under its mask."""
    x, *rest = args
    return x._like(func(x._stored, *rest, **kwargs))


def _refused(func, args, kwargs):
    """Raises: TypeError: what is one answer for all elements does not say which of them count."""
    raise TypeError(f"{func.__name__}() is not supported for masked tensors; use get_data() or to_tensor(value)")


_HANDLERS = {
    **{name: _pass_through for name in ("cat", "stack", "repeat_interleave", "repeat_interleave.tensor", "repeat",
                                        "index", "index_select", "gather", "unfold", "im2col", "col2im", "_identity",
                                        "clone", "flip", "roll")},
    **{name: _reduction(getattr(reductions, name.split(".")[0])) for name in (
        "sum", "mean", "amin", "amax", "argmin", "argmax", "prod", "var", "std")},
    "all": _reduction(_all), "all.dim": _reduction(_all), "norm": _reduction(_norm), "where": _where,
    "softmax": _softmax(normalizations.softmax), "log_softmax": _softmax(normalizations.log_softmax),
    **{f"{name}_like": _under_the_mask for name in ("ones", "zeros", "full", "empty")},
    "allclose": _refused, "equal": _refused,
}  # fmt: skip


# --- making ----------------------------------------------------------------------------------------------------------


def masked_tensor(data, mask, requires_grad: bool = False) -> MaskedTensor:
    """A new leaf: a masked tensor with copies of ``data`` and ``mask``."""
    return MaskedTensor(data, mask, requires_grad)


def as_masked_tensor(data, mask) -> MaskedTensor:
    """A masked tensor through which gradients flow to ``data``: 0 where the mask leaves elements out."""
    leaf = MaskedTensor(data, mask)
    return _made(where(leaf._mask, data, data.detach()), leaf._mask) if data.requires_grad else leaf


def is_masked_tensor(obj) -> bool:
    """Whether ``obj`` is a masked tensor."""
    return isinstance(obj, MaskedTensor)


__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]
