"""Observers: modules that watch values go by and choose a scale and zero point for them.

What they keep are a few numbers, computed on the host in float32, operation by operation, because the scales must be
PyTorch's to the last bit (a compiler is free to fuse a multiplication and an addition into one rounding).
"""

from __future__ import annotations

import warnings

import numpy as np

import jtorch
from jtorch import nn

from .. import qtypes

_EPS = float(np.finfo(np.float32).eps)


class _Partial:
    """An observer class with some arguments given; calling it makes an observer."""

    def __init__(self, make, **arguments):
        self.make, self.arguments = make, arguments

    def __call__(self, **more):
        return self.make(**{**self.arguments, **more})

    def with_args(self, **arguments) -> _Partial:
        """The same with further arguments."""
        return _Partial(self.make, **{**self.arguments, **arguments})

    def __eq__(self, other) -> bool:
        return isinstance(other, _Partial) and (self.make, self.arguments) == (other.make, other.arguments)

    def __hash__(self) -> int:
        return hash((self.make, *self.arguments))

    def __repr__(self) -> str:
        return f"{self.make.__name__}.with_args({', '.join(f'{k}={v}' for k, v in self.arguments.items())})"


class ObserverBase(nn.Module):
    """Base of observers: ``forward(x)`` looks at ``x`` and returns it, ``calculate_qparams()`` gives the grid.

    Args:
        dtype: the element type to choose a grid for.
        is_dynamic: the grid is chosen anew for each tensor.
    """

    def __init__(self, dtype, is_dynamic: bool = False):
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    def calculate_qparams(self):
        """``(scale, zero_point)`` as tensors."""
        raise NotImplementedError(f"{type(self).__name__} chooses no scale and zero point")

    @property
    def calibrated(self) -> bool:
        """Whether values have been seen."""
        return True

    @classmethod
    def with_args(cls, **arguments) -> _Partial:
        """The class with arguments given, to put into a :class:`QConfig`."""
        return _Partial(cls, **arguments)


def _range(quant_min, quant_max, dtype: qtypes.qdtype, reduce_range: bool) -> tuple[int, int]:
    if quant_min is None or quant_max is None:
        low, high = dtype.low, dtype.high
        return (low // 2, high // 2) if reduce_range and dtype is not qtypes.qint32 else (low, high)
    if not quant_min <= 0 <= quant_max:
        raise AssertionError("User-specified quantization range must include 0.")
    if quant_min >= quant_max:
        raise AssertionError("qmin must be strictly less than qmax for user-specified quantization range.")
    if dtype is qtypes.qint8 and quant_max - quant_min >= 256:
        raise AssertionError("quantization range should be positive and not exceed the maximum bit range (=256).")
    return (quant_min // 2, quant_max // 2) if reduce_range else (quant_min, quant_max)


class UniformQuantizationObserverBase(ObserverBase):
    """Base of observers that turn a range of values into an evenly spaced grid.

    Args:
        dtype: ``qint8``, ``quint8`` or ``qint32``.
        qscheme: affine, or symmetric (about 0, or 128 for quint8); per tensor or per channel.
        reduce_range: leave one bit unused.
        quant_min, quant_max: the integers to use, instead of all of ``dtype``.
        eps: the least scale.

    Raises:
        AssertionError: ``dtype`` is no quantized type, ``qscheme`` none of the four, or the range is empty.
        NotImplementedError: ``reduce_range`` with symmetric quint8.
    """

    schemes = (*qtypes.PER_TENSOR, *qtypes.PER_CHANNEL)

    def __init__(
        self,
        dtype=qtypes.quint8,
        qscheme=qtypes.per_tensor_affine,
        reduce_range: bool = False,
        quant_min: int | None = None,
        quant_max: int | None = None,
        factory_kwargs=None,
        eps: float = _EPS,
        is_dynamic: bool = False,
    ):
        super().__init__(dtype, is_dynamic)
        if qscheme not in self.schemes:
            raise NotImplementedError(f"{type(self).__name__}'s qscheme only supports {self.schemes}, got {qscheme}")
        if not isinstance(dtype, qtypes.qdtype):
            raise AssertionError(f"observers work with torch.qint8, torch.quint8 and torch.qint32, got {dtype}")
        if qscheme in qtypes.SYMMETRIC and reduce_range and dtype is qtypes.quint8:
            raise NotImplementedError("Cannot reduce range for symmetric quantization for quint8")
        self.qscheme, self.reduce_range = qscheme, reduce_range
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        self.quant_min, self.quant_max = _range(quant_min, quant_max, dtype, reduce_range)
        self._factory = factory_kwargs or {}
        self.register_buffer("eps", jtorch.tensor([eps], **self._factory))

    def _stored(self, value):
        return jtorch.tensor(np.asarray(value, np.float32), device=self.eps.device)

    def _keep(self, low, high) -> None:
        self.min_val, self.max_val = self._stored(low), self._stored(high)

    @property
    def calibrated(self) -> bool:
        low, high = self.min_val, self.max_val
        return bool(low.numel()) and not (low.dim() == 0 and float(low) == np.inf and float(high) == -np.inf)

    def _calculate_qparams(self, low, high):
        low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        if np.any(low > high):
            raise AssertionError(f"min {low} should be less than max {high}")
        least, greatest = low, high
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        eps, steps = np.float32(self.eps.numpy()[0]), np.float32(self.quant_max - self.quant_min)
        if self.qscheme is qtypes.per_channel_affine_float_qparams:  # from the least value to the greatest
            scale = (greatest - least) / steps
            scale = np.where(scale > eps, scale, np.float32(1))
            return tuple(jtorch.tensor(np.atleast_1d(x), device=self.eps.device) for x in (scale, -least / scale))
        if self.qscheme in qtypes.SYMMETRIC:
            scale = np.maximum(np.maximum(-low, high) / np.float32((self.quant_max - self.quant_min) / 2), eps)
            middle = (self.quant_min + self.quant_max) // 2 if self.has_customized_qrange else 128
            zero_point = np.full(scale.shape, middle if self.dtype is qtypes.quint8 else 0, np.int64)
        else:
            scale = np.maximum((high - low) / steps, eps)
            zero_point = self.quant_min - np.round(low / scale).astype(np.int64)
            zero_point = np.clip(zero_point, self.quant_min, self.quant_max).astype(np.int32)
        scale, zero_point = np.atleast_1d(scale).astype(np.float32), np.atleast_1d(zero_point)
        return jtorch.tensor(scale, device=self.eps.device), jtorch.tensor(zero_point, device=self.eps.device)

    def calculate_qparams(self):
        """``(scale, zero_point)``: float32 and int64 (int32 where affine) of shape (1,), or one a channel.

        Before any value: 1 and 0.
        """
        if not self.calibrated:
            warnings.warn("must run observer before calling calculate_qparams. Returning default values.", stacklevel=2)
            return jtorch.tensor([1.0], device=self.eps.device), jtorch.tensor([0], device=self.eps.device)
        return self._calculate_qparams(self.min_val.numpy(), self.max_val.numpy())

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


def _values(x) -> np.ndarray:
    return x.detach().to(jtorch.float32).cpu().numpy()


class MinMaxObserver(UniformQuantizationObserverBase):
    """The least and the largest value seen; see :class:`UniformQuantizationObserverBase` for the arguments."""

    schemes = qtypes.PER_TENSOR

    def __init__(self, dtype=qtypes.quint8, qscheme=qtypes.per_tensor_affine, reduce_range=False, **options):
        super().__init__(dtype, qscheme, reduce_range, **options)
        self.register_buffer("min_val", jtorch.tensor(float("inf"), **self._factory))
        self.register_buffer("max_val", jtorch.tensor(float("-inf"), **self._factory))

    def forward(self, x_orig):
        if x_orig.numel():
            x = _values(x_orig)
            self._keep(*self._update(x.min(), x.max()))
        return x_orig

    def _update(self, low, high):
        return np.minimum(low, self.min_val.numpy()), np.maximum(high, self.max_val.numpy())

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        self._keep(np.inf, -np.inf)


def _average(old, new, constant: float):
    return old + np.float32(constant) * (new - old)


class _Averaging:
    """The extremes as averages of those of all batches, the latest weighted with ``averaging_constant``."""

    def _update(self, low, high):
        if not self.calibrated:
            return low, high
        c = self.averaging_constant
        return _average(self.min_val.numpy(), low, c), _average(self.max_val.numpy(), high, c)


class MovingAverageMinMaxObserver(_Averaging, MinMaxObserver):
    """A moving average of each tensor's least and largest value: ``m += averaging_constant (new - m)``."""

    def __init__(
        self, averaging_constant=0.01, dtype=qtypes.quint8, qscheme=qtypes.per_tensor_affine, reduce_range=False,
        **options,
    ):  # fmt: skip
        if options.get("is_dynamic") and averaging_constant != 1:
            raise NotImplementedError(
                "MovingAverageMinMaxObserver doesn't support dynamic quantization for averaging constant of "
                f"{averaging_constant}"
            )
        super().__init__(dtype, qscheme, reduce_range, **options)
        self.averaging_constant = averaging_constant


class PerChannelMinMaxObserver(UniformQuantizationObserverBase):
    """:class:`MinMaxObserver` for each index of dimension ``ch_axis``."""

    schemes = qtypes.PER_CHANNEL

    def __init__(
        self, ch_axis=0, dtype=qtypes.quint8, qscheme=qtypes.per_channel_affine, reduce_range=False, **options
    ):
        if options.get("is_dynamic"):
            raise NotImplementedError(f"{type(self).__name__} doesn't support dynamic quantization")
        super().__init__(dtype, qscheme, reduce_range, **options)
        self.ch_axis = ch_axis
        self.reset_min_max_vals()

    def forward(self, x_orig):
        if x_orig.numel():
            x = _values(x_orig)
            x = np.moveaxis(x, self.ch_axis, 0).reshape(x.shape[self.ch_axis], -1)
            self._keep(*self._update(x.min(1), x.max(1)))
        return x_orig

    def _update(self, low, high):
        if not self.calibrated:
            return low, high
        return np.minimum(low, self.min_val.numpy()), np.maximum(high, self.max_val.numpy())

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        for name in ("min_val", "max_val"):
            self.register_buffer(name, jtorch.tensor([], **self._factory))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in ("min_val", "max_val"):  # the number of channels is known from the first values on
            if prefix + name in state_dict:
                setattr(self, name, jtorch.zeros_like(state_dict[prefix + name], device=self.eps.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class MovingAveragePerChannelMinMaxObserver(_Averaging, PerChannelMinMaxObserver):
    """:class:`MovingAverageMinMaxObserver` for each index of dimension ``ch_axis``."""

    def __init__(self, averaging_constant=0.01, ch_axis=0, **options):
        super().__init__(ch_axis, **options)
        self.averaging_constant = averaging_constant


class FixedQParamsObserver(ObserverBase):
    """A grid that is known beforehand, such as that of a sigmoid's output."""

    def __init__(
        self, scale, zero_point, dtype=qtypes.quint8, qscheme=qtypes.per_tensor_affine, quant_min=0, quant_max=255,
        is_dynamic=False,
    ):  # fmt: skip
        if is_dynamic:
            raise NotImplementedError("FixedQParamsObserver doesn't support dynamic quantization")
        super().__init__(dtype)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.register_buffer("scale", jtorch.tensor([scale], dtype=jtorch.float32))
        self.register_buffer("zero_point", jtorch.tensor([zero_point], dtype=jtorch.int32))

    def forward(self, X):  # noqa: N803 (PyTorch's name)
        return X

    def calculate_qparams(self):
        return self.scale, self.zero_point


class PlaceholderObserver(ObserverBase):
    """Looks at nothing: what dynamic quantization has for activations, whose grid is chosen when they are there."""

    def __init__(self, dtype=None, quant_min=None, quant_max=None, is_dynamic: bool = False):
        super().__init__(jtorch.float32 if dtype is None else dtype, is_dynamic)
        self.quant_min, self.quant_max = quant_min, quant_max

    def forward(self, x):
        return x

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class NoopObserver(ObserverBase):
    """Looks at nothing."""

    def __init__(self, dtype=jtorch.float16, custom_op_name: str = ""):
        super().__init__(dtype)
        self.custom_op = custom_op_name

    def forward(self, x):
        return x


class ReuseInputObserver(NoopObserver):
    """Looks at nothing: what is computed has the grid of what it is computed from."""

    def __init__(self):
        super().__init__(qtypes.quint8)


class RecordingObserver(ObserverBase):
    """Keeps a copy of all it sees in ``tensor_val``."""

    def __init__(self, dtype=qtypes.quint8):
        super().__init__(dtype)
        self.tensor_val = []

    def forward(self, x):
        self.tensor_val.append(x.clone())
        return x

    def get_tensor_value(self) -> list:
        """What was seen."""
        return self.tensor_val


default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_weight_observer = MinMaxObserver.with_args(dtype=qtypes.qint8, qscheme=qtypes.per_tensor_symmetric)
weight_observer_range_neg_127_to_127 = default_weight_observer.with_args(quant_min=-127, quant_max=127, eps=2**-12)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(
    dtype=qtypes.qint8, qscheme=qtypes.per_channel_symmetric
)
per_channel_weight_observer_range_neg_127_to_127 = default_per_channel_weight_observer.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)
default_dynamic_quant_observer = PlaceholderObserver.with_args(
    dtype=qtypes.quint8, quant_min=0, quant_max=255, is_dynamic=True
)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_reuse_input_observer = ReuseInputObserver
default_float_qparams_observer = PerChannelMinMaxObserver.with_args(
    dtype=qtypes.quint8, qscheme=qtypes.per_channel_affine_float_qparams, ch_axis=0
)
default_float_qparams_observer_4bit = default_float_qparams_observer.with_args(dtype=qtypes.quint4x2)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(
    scale=2 / 256, zero_point=128, dtype=qtypes.quint8, quant_min=0, quant_max=255
)
default_fixed_qparams_range_0to1_observer = default_fixed_qparams_range_neg1to1_observer.with_args(
    scale=1 / 256, zero_point=0
)
default_symmetric_fixed_qparams_observer = default_fixed_qparams_range_neg1to1_observer
default_affine_fixed_qparams_observer = default_fixed_qparams_range_0to1_observer


def get_observer_state_dict(mod: nn.Module) -> dict:
    """What the observers of a model keep, out of its state dict."""
    states = mod.state_dict()
    found = type(states)((k, v) for k, v in states.items() if "activation_post_process" in k)
    found._metadata = states._metadata
    return found


def load_observer_state_dict(mod: nn.Module, obs_dict: dict) -> None:
    """Give the observers of a model what :func:`get_observer_state_dict` found.

    Raises:
        RuntimeError: something is missing.
    """
    missing: list = []
    for name, module in mod.named_modules():
        if isinstance(module, ObserverBase) or hasattr(module, "fake_quant_enabled"):
            module._load_from_state_dict(dict(obs_dict), f"{name}.", {}, False, missing, [], [])
    for key in missing:
        if "activation_post_process" in key:
            raise RuntimeError(f"Missing keys for observer {key} in state_dict")
