"""Quantized tensors: integers, and the grid of real numbers they stand for.

A :class:`QuantizedTensor` is no :class:`~jtorch.Tensor`. It holds one (of int8, uint8 or int32) beside a scale and a
zero point. Functions whose results lie on the grid of what they are given (changing the shape, ``relu``, pooling,
``cat``) and those with a grid of their own (``sigmoid``) take it; everything else needs ``dequantize()`` first, and
says so.
"""

from __future__ import annotations

import functools

import jtorch

from ..tensor.dispatch import call
from ..tensor.printing import format_tensor
from ..utils import _pytree
from . import qtypes

#: Methods that move elements around, and so keep the grid.
_MOVES = (
    "clone", "contiguous", "detach", "flatten", "movedim", "permute", "reshape", "select", "squeeze", "transpose",
    "unflatten", "unsqueeze", "view",
)  # fmt: skip

#: Linear functions, and those that only pick elements, done on the integers less the zero point: ties round as
#: PyTorch's do.
_LINEAR = frozenset((
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "channel_shuffle", "chunk", "clone", "dropout", "flatten", "interpolate", "max", "max_pool1d", "max_pool2d", "mean",
    "min", "movedim", "narrow", "pad", "permute", "pixel_shuffle", "pixel_unshuffle", "relu", "reshape", "select",
    "sort", "split", "squeeze", "topk", "transpose", "unbind", "unflatten", "unsqueeze", "upsample",
))  # fmt: skip

#: Functions done on the real numbers, and rounded to the grid of their first operand.
_REAL = frozenset(("cat", "clamp", "concat", "hardtanh", "leaky_relu", "relu6", "stack", "threshold"))

#: Functions whose results lie on a grid of their own: scale and zero point of quint8.
_OWN_GRID = {"sigmoid": (1 / 256, 0), "hardsigmoid": (1 / 256, 0), "tanh": (1 / 128, 128)}

_QUANTIZED = _LINEAR | _REAL | _OWN_GRID.keys()


class QuantizedTensor:
    """``scale (ints - zero_point)``, per tensor, or per channel along ``axis``.

    Args:
        ints: a tensor of ``dtype``'s storage type.
        scale, zero_point: numbers (or tensors of one element); per channel, tensors of one element a channel.
        axis: the channel dimension, None for one scale.
    """

    is_quantized = True
    requires_grad = False
    is_leaf = True

    def __init__(self, ints, scale, zero_point, dtype: qtypes.qdtype, axis: int | None = None):
        self._ints, self._scale, self._zero_point, self.dtype, self._axis = ints, scale, zero_point, dtype, axis

    # --- the grid

    def int_repr(self):
        """The integers, as a copy of type int8, uint8 or int32; two of four bits are one byte, the first the lower."""
        return pack(self._ints.flatten()) if self.dtype.bits == 4 else self._ints.clone()

    def qscheme(self) -> qtypes.qscheme:
        """``per_tensor_affine``, ``per_channel_affine``, or the latter with zero points that are floats."""
        if self._axis is None:
            return qtypes.per_tensor_affine
        floats = self._zero_point.is_floating_point()
        return qtypes.per_channel_affine_float_qparams if floats else qtypes.per_channel_affine

    def _per_tensor(self, what: str) -> None:
        if self._axis is not None:
            raise RuntimeError(f"{what} needs a per-tensor quantized tensor, but this one is {self.qscheme()}")

    def _per_channel(self, what: str) -> None:
        if self._axis is None:
            raise RuntimeError(f"{what} needs a per-channel quantized tensor, but this one is {self.qscheme()}")

    def q_scale(self) -> float:
        """The scale.

        Raises:
            RuntimeError: there is one a channel.
        """
        self._per_tensor("q_scale()")
        return float(self._scale)

    def q_zero_point(self) -> int:
        """The integer that stands for 0.

        Raises:
            RuntimeError: there is one a channel.
        """
        self._per_tensor("q_zero_point()")
        return int(self._zero_point)

    def q_per_channel_scales(self):
        """The scales, float64 (float32 where zero points are floats). RuntimeError where there is only one."""
        self._per_channel("q_per_channel_scales()")
        return self._scale

    def q_per_channel_zero_points(self):
        """The zero points, int64 or float32. RuntimeError where there is only one."""
        self._per_channel("q_per_channel_zero_points()")
        return self._zero_point

    def q_per_channel_axis(self) -> int:
        """The dimension whose indices are the channels. RuntimeError where there is only one scale."""
        self._per_channel("q_per_channel_axis()")
        return self._axis

    def dequantize(self):
        """The real numbers, float32."""
        return call("_dequantize", self._ints, self._scale, self._zero_point, axis=self._axis)

    # --- what the integers know

    shape = property(lambda self: self._ints.shape)
    device = property(lambda self: self._ints.device)
    ndim = property(lambda self: self._ints.dim())

    def size(self, dim: int | None = None):
        """The shape, or the size of one dimension."""
        return self._ints.size() if dim is None else self._ints.size(dim)

    def dim(self) -> int:
        """The number of dimensions."""
        return self._ints.dim()

    def numel(self) -> int:
        """The number of elements."""
        return self._ints.numel()

    def element_size(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._ints)

    # --- operations on the integers

    def _on_grid(self, ints) -> QuantizedTensor:
        return QuantizedTensor(ints, self._scale, self._zero_point, self.dtype, self._axis)

    def _move(self, f) -> QuantizedTensor:
        """``f``, which picks and moves elements by order alone, done on the integers."""
        self._per_tensor("this operation")
        return self._on_grid(f(self._ints))

    def _through_float(self, f) -> QuantizedTensor:
        """``f`` done on the real numbers, its result rounded to the same grid."""
        self._per_tensor("this operation")
        return quantize_per_tensor(f(self.dequantize()), self._scale, self._zero_point, self.dtype)

    def __getitem__(self, index) -> QuantizedTensor:
        return self._move(lambda x: x[index])

    def relu(self) -> QuantizedTensor:
        """``max(x, 0)``, on the same grid."""
        self._per_tensor("relu()")
        return self._on_grid(call("_quantized_relu", self._ints, self._zero_point))

    def to(self, device) -> QuantizedTensor:
        """The same on another device.

        Raises:
            RuntimeError: asked for another dtype; ``dequantize()`` gives float32.
        """
        if isinstance(device, jtorch.dtype):
            raise RuntimeError(f"a {self.dtype} tensor cannot be converted to {device}; call dequantize() first")
        moved = [x.to(device) if isinstance(x, jtorch.Tensor) else x for x in (self._scale, self._zero_point)]
        return QuantizedTensor(self._ints.to(device), *moved, self.dtype, self._axis)

    def cpu(self) -> QuantizedTensor:
        """The same in main memory."""
        return self.to("cpu")

    def equal(self, other: QuantizedTensor) -> bool:
        """Whether both are the same integers on the same grid."""
        if not isinstance(other, QuantizedTensor):
            raise TypeError(f"equal() expects a quantized tensor, got {type(other).__name__}")
        if self.dtype is not other.dtype or self._axis != other._axis or self.shape != other.shape:
            return False
        if self._axis is None:
            same = self.q_scale() == other.q_scale() and self.q_zero_point() == other.q_zero_point()
        else:
            same = self._scale.equal(other._scale) and self._zero_point.equal(other._zero_point)
        return bool(same) and bool((self._ints == other._ints).all())

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """A public function of quantized tensors.

        Raises:
            NotImplementedError: it has no quantized form.
        """
        kwargs, name = kwargs or {}, func.__name__
        first = next(x for x in _pytree.tree_leaves((args, kwargs)) if isinstance(x, QuantizedTensor))
        if name not in _QUANTIZED:
            raise NotImplementedError(
                f"{name}() is not defined for quantized tensors ({first.dtype}); call dequantize() first"
            )
        first._per_tensor(f"{name}()")
        scale, zero = first._scale, first._zero_point
        if name in _OWN_GRID:
            scale, zero = _OWN_GRID[name]
            zero -= 128 if first.dtype is qtypes.qint8 else 0
        step = 1.0 if name in _LINEAR else scale

        def real(x):
            return call("_dequantize", x._ints, 1.0, x._zero_point) if name in _LINEAR else x.dequantize()

        def quantized(x):
            if x.dtype is not jtorch.float32:
                return x  # positions
            return cls(quantize_per_tensor(x, step, zero, first.dtype)._ints, scale, zero, first.dtype)

        args, kwargs = _pytree.tree_map(lambda x: real(x) if isinstance(x, cls) else x, (args, kwargs))
        return _pytree.tree_map(quantized, func(*args, **kwargs))

    def __getattr__(self, name: str):
        if name in _QUANTIZED:
            return functools.partial(_method, self, name)
        if not name.startswith("_") and hasattr(jtorch.Tensor, name):
            raise NotImplementedError(
                f"Tensor.{name} is not defined for quantized tensors ({self.dtype}); call dequantize() first"
            )
        raise AttributeError(f"'QuantizedTensor' object has no attribute '{name}'")

    def __repr__(self) -> str:
        extras = [f"size={tuple(self.shape)}", f"dtype={self.dtype}", f"quantization_scheme={self.qscheme()}"]
        if self._axis is None:
            extras += [f"scale={self.q_scale()}", f"zero_point={self.q_zero_point()}"]
        else:
            extras += [f"scale={self._scale}", f"zero_point={self._zero_point}", f"axis={self._axis}"]
        values = self.dequantize()
        return format_tensor(values.cpu().numpy(), values.dtype, values.shape, extras=extras)


def _method(x: QuantizedTensor, name: str, *args, **kwargs):
    return x.__torch_function__(getattr(jtorch.Tensor, name), (), (x, *args), kwargs)


def _moving(name: str):
    def method(self, *args, **kwargs):
        return self._move(lambda x: getattr(x, name)(*args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``Tensor.{name}`` of a per-tensor quantized tensor."
    return method


for _name in _MOVES:
    setattr(QuantizedTensor, _name, _moving(_name))


def pack(ints):
    """Pairs of 4-bit integers along the last dimension as bytes, the first of a pair in the lower bits."""
    odd = ints.size(-1) % 2
    ints = jtorch.nn.functional.pad(ints, (0, odd)) if odd else ints
    return ints[..., ::2] | ints[..., 1::2] << 4


def unpack(bytes, size: int):
    """The ``size`` 4-bit integers along the last dimension that :func:`pack` made ``bytes`` of."""
    return jtorch.stack([bytes & 15, bytes >> 4], -1).flatten(-2)[..., :size]


# --- making them -----------------------------------------------------------------------------------------------------


def _check(input, dtype) -> None:
    if not isinstance(input, jtorch.Tensor):
        raise TypeError(f"argument 'input' must be Tensor, not {type(input).__name__}")
    if not isinstance(dtype, qtypes.qdtype):
        raise RuntimeError(f"expected a quantized dtype (torch.qint8, torch.quint8 or torch.qint32), got {dtype}")
    if input.dtype is not jtorch.float32:
        raise RuntimeError(f"Quantize only works on Float Tensor, got {input.dtype.legacy_name}")


def quantize_per_tensor(input, scale, zero_point, dtype) -> QuantizedTensor:
    """``clip(round(input / scale) + zero_point)`` as integers of ``dtype``, with one scale for all.

    Raises:
        RuntimeError: ``input`` is not float32, ``dtype`` not quantized, or the zero point out of its range.
    """
    _check(input, dtype)
    if not isinstance(zero_point, jtorch.Tensor) and not dtype.low <= zero_point <= dtype.high:
        side = "above upper" if zero_point > dtype.high else "below lower"
        raise RuntimeError(f"quantize_tensor_per_tensor_affine zero_point {zero_point} is {side} bound.")
    ints = call("_quantize", input, scale, zero_point, low=dtype.low, high=dtype.high, dtype=dtype.storage)
    return QuantizedTensor(ints, scale, zero_point, dtype)


def quantize_per_channel(input, scales, zero_points, axis: int, dtype) -> QuantizedTensor:
    """As :func:`quantize_per_tensor`, with ``scales`` and ``zero_points`` for each index of dimension ``axis``.

    Raises:
        RuntimeError: a dtype or a length does not fit.
        IndexError: there is no dimension ``axis``.
    """
    _check(input, dtype)
    if not 0 <= axis < input.dim():
        raise IndexError(f"Channel axis out of range in per channel affine quantization: {axis} of {input.dim()} dims")
    if scales.shape != zero_points.shape:
        raise RuntimeError("number of elements in scales and zero_points must match")
    if tuple(scales.shape) != (input.size(axis),):
        raise RuntimeError(
            f"length of scales must equal to channel dim: expected {input.size(axis)}, got {list(scales.shape)}"
        )
    if zero_points.is_floating_point():
        scales, zero_points = scales.to(jtorch.float32), zero_points.to(jtorch.float32)
    else:
        scales, zero_points = scales.to(jtorch.float64), zero_points.to(jtorch.int64)
    ints = call("_quantize", input, scales, zero_points, low=dtype.low, high=dtype.high, dtype=dtype.storage, axis=axis)
    return QuantizedTensor(ints, scales, zero_points, dtype, axis)


def quantize_per_tensor_dynamic(input, dtype, reduce_range: bool) -> QuantizedTensor:
    """:func:`quantize_per_tensor` with the scale and zero point that fit the range of ``input``.

    Args:
        reduce_range: leave one bit unused, as some 8-bit instructions need to.

    Raises:
        RuntimeError: ``input`` is not float32, or ``dtype`` neither qint8 nor quint8.
    """
    _check(input, dtype)
    if dtype is qtypes.qint32:
        raise RuntimeError("dtype torch.qint32 is not supported in quantize_per_tensor_dynamic")
    low, high = (-64, 63) if dtype is qtypes.qint8 else (0, 127)
    if not reduce_range:
        low, high = dtype.low, dtype.high
    scale, zero_point = call("_choose_qparams", input, qmin=low, qmax=high)
    return quantize_per_tensor(input, scale.item(), zero_point.item(), dtype)


def dequantize(input):
    """The real numbers of a quantized tensor (of each, in a list); a float tensor is returned in float32."""
    if isinstance(input, (list, tuple)):
        return tuple(dequantize(x) for x in input)
    return input.dequantize() if isinstance(input, QuantizedTensor) else input.to(jtorch.float32)


def _of_grid(name: str):
    def function(input):
        if not isinstance(input, QuantizedTensor):
            raise RuntimeError(f"{name}() needs a quantized tensor, got {type(input).__name__}")
        return getattr(input, name)()

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``input.{name}()`` of a quantized tensor; RuntimeError for others."
    return function


q_scale, q_zero_point, q_per_channel_scales, q_per_channel_zero_points, q_per_channel_axis = map(
    _of_grid,
    ("q_scale", "q_zero_point", "q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis"),
)


def int_repr(input: QuantizedTensor):
    """The integers of a quantized tensor.

    Raises:
        NotImplementedError: ``input`` is not quantized.
    """
    if not isinstance(input, QuantizedTensor):
        raise NotImplementedError(f"int_repr() needs a quantized tensor, got {type(input).__name__}")
    return input.int_repr()
