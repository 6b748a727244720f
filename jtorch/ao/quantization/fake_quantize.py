"""Rounding while training: modules that observe values and pass them on as they will be once they are integers."""

from __future__ import annotations

import numpy as np

import jtorch
from jtorch import nn

from .. import qtypes
from .histogram import HistogramObserver
from .observer import (
    FixedQParamsObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    _Partial,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
)


class FakeQuantizeBase(nn.Module):
    """Base of fake quantization modules: what is switched on is kept in the state dict, as in PyTorch."""

    _flag = jtorch.uint8

    def __init__(self):
        super().__init__()
        for name in ("fake_quant_enabled", "observer_enabled"):
            self.register_buffer(name, jtorch.tensor([1], dtype=self._flag))
        self._on = {"fake_quant_enabled": True, "observer_enabled": True}  # the same, without asking a device

    def forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def calculate_qparams(self, **ignored):
        """``(scale, zero_point)`` as tensors."""
        raise NotImplementedError(f"{type(self).__name__} chooses no scale and zero point")

    def _switch(self, name: str, enabled: bool) -> None:
        self._on[name] = bool(enabled)
        setattr(self, name, jtorch.tensor([int(enabled)], dtype=self._flag, device=getattr(self, name).device))

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Round, or pass values on as they are."""
        self._switch("fake_quant_enabled", enabled)

    def disable_fake_quant(self) -> None:
        """Pass values on as they are."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Let the grid follow the values, or keep it."""
        self._switch("observer_enabled", enabled)

    def disable_observer(self) -> None:
        """Keep the grid."""
        self.enable_observer(False)

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._on = {name: bool(getattr(self, name).item()) for name in self._on}

    @classmethod
    def with_args(cls, **arguments) -> _Partial:
        """The class with arguments given, to put into a :class:`QConfig`."""
        return _Partial(cls, **arguments)


class FakeQuantize(FakeQuantizeBase):
    """``scale (clip(round(x / scale) + zero_point) - zero_point)``, on a grid that an observer adapts to ``x``.

    The gradient is that of the identity for values inside the grid's range, and 0 outside.

    Args:
        observer: the class of the observer.
        quant_min, quant_max: the integers to use.
        is_dynamic: the grid is that of each tensor alone.
        observer_kwargs: arguments of the observer.

    Raises:
        AssertionError: the range does not fit the observer's dtype.
    """

    def __init__(
        self, observer=MovingAverageMinMaxObserver, quant_min=None, quant_max=None, is_dynamic: bool = False,
        **observer_kwargs,
    ):  # fmt: skip
        super().__init__()
        if quant_min is not None and quant_max is not None:
            if quant_min > quant_max:
                raise AssertionError("quant_min must be less than or equal to quant_max")
            observer_kwargs.update(quant_min=quant_min, quant_max=quant_max)
        if is_dynamic:
            observer_kwargs["is_dynamic"] = True
        self.activation_post_process = observer(**observer_kwargs)
        self.is_dynamic = is_dynamic
        kind = self.activation_post_process.dtype
        if not kind.low <= self.quant_min <= self.quant_max <= kind.high:
            raise AssertionError(f"the range {self.quant_min} to {self.quant_max} is not that of {kind}")
        self.register_buffer("scale", jtorch.tensor([1.0]))
        self.register_buffer("zero_point", jtorch.tensor([0], dtype=jtorch.int32))

    quant_min = property(lambda self: self.activation_post_process.quant_min)
    quant_max = property(lambda self: self.activation_post_process.quant_max)
    dtype = property(lambda self: self.activation_post_process.dtype)
    qscheme = property(lambda self: self.activation_post_process.qscheme)
    ch_axis = property(lambda self: getattr(self.activation_post_process, "ch_axis", -1))
    is_per_channel = property(lambda self: self.qscheme in qtypes.PER_CHANNEL)
    calibrated = property(lambda self: self.activation_post_process.calibrated)

    def calculate_qparams(self, **ignored):
        return self.activation_post_process.calculate_qparams()

    def _grid(self):
        return self.calculate_qparams()

    def forward(self, X):  # noqa: N803 (PyTorch's name)
        if self._on["observer_enabled"] or self.is_dynamic:
            self.activation_post_process(X.detach())
            scale, zero_point = self._grid()
            floats = self.qscheme is qtypes.per_channel_affine_float_qparams
            self.scale = scale.to(X.device)
            self.zero_point = zero_point.to(X.device, jtorch.float32 if floats else jtorch.int32)
        if not self._on["fake_quant_enabled"]:
            return X
        if self.is_per_channel:
            return jtorch.fake_quantize_per_channel_affine(
                X, self.scale, self.zero_point, self.ch_axis, self.quant_min, self.quant_max
            )
        return jtorch.fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, self.quant_min, self.quant_max)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        for name in ("scale", "zero_point"):  # the number of channels is known from the first values on
            if prefix + name in state_dict:
                given = state_dict[prefix + name]
                setattr(self, name, jtorch.zeros_like(getattr(self, name).expand(1)[0].expand(given.shape)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, observer_enabled={self.observer_enabled}, "
            f"quant_min={self.quant_min}, quant_max={self.quant_max}, dtype={self.dtype}, qscheme={self.qscheme}, "
            f"ch_axis={self.ch_axis}, scale={self.scale}, zero_point={self.zero_point}"
        )


class FixedQParamsFakeQuantize(FakeQuantize):
    """:class:`FakeQuantize` on a grid that is known beforehand."""

    def __init__(self, observer=FixedQParamsObserver, **observer_kwargs):
        super().__init__(observer, **observer_kwargs)
        self.scale, self.zero_point = (t.clone() for t in self.calculate_qparams())


#: The least scale of :func:`_fused_grid`.
_LEAST = np.float32(6.1e-5).item()


def _fused_grid(low: float, high: float, quant_min: int, quant_max: int, symmetric: bool) -> tuple[float, int]:
    """Scale and zero point for values from ``low`` to ``high``.

    Symmetric grids have one integer more below 0 than above, so that a range that reaches further down gets a finer
    step; a range on one side of 0 has no use for symmetry, and gets a grid that begins or ends at 0.
    """
    steps = quant_max - quant_min
    around = symmetric and low < 0 < high
    if around:
        step = max(-low / (steps // 2 + 1), high / (steps // 2))
        low, high = (np.float32(step * n).item() for n in (-(steps // 2 + 1), steps // 2))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / steps
    if not scale or np.isinf(1 / np.float32(scale)):
        scale = 0.1
    if scale < _LEAST:
        low, high, scale = low * _LEAST / scale, high * _LEAST / scale, _LEAST
    if around:
        zero_point = (quant_min + quant_max) / 2
    elif abs(quant_min) + abs(low / scale) < abs(quant_max) + abs(high / scale):  # rounded where less is at stake
        zero_point = quant_min - low / scale
    else:
        zero_point = quant_max - high / scale
    return scale, min(max(round(zero_point), quant_min), quant_max)


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """:class:`FakeQuantize` with a moving average, on the grids of the kernel that does both in PyTorch.

    They are not the observer's, which :meth:`calculate_qparams` gives and ``convert`` uses: see :func:`_fused_grid`.
    """

    _flag = jtorch.int64

    def _grid(self):
        observer, symmetric = self.activation_post_process, self.qscheme in qtypes.SYMMETRIC
        ranges = [np.atleast_1d(t.numpy()).tolist() for t in (observer.min_val, observer.max_val)]
        grids = [_fused_grid(*lh, self.quant_min, self.quant_max, symmetric) for lh in zip(*ranges, strict=True)]
        scale, zero_point = zip(*grids, strict=True)
        return jtorch.tensor(scale), jtorch.tensor(zero_point)

    def extra_repr(self) -> str:
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, observer_enabled={self.observer_enabled}, "
            f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}, quant_min={self.quant_min}, "
            f"quant_max={self.quant_max}, qscheme={self.qscheme}, "
            f"reduce_range={self.activation_post_process.reduce_range}"
        )


default_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=qtypes.quint8,
    qscheme=qtypes.per_tensor_affine, reduce_range=True,
)  # fmt: skip
default_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qtypes.qint8,
    qscheme=qtypes.per_tensor_symmetric, reduce_range=False,
)  # fmt: skip
default_per_channel_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=qtypes.qint8,
    qscheme=qtypes.per_channel_symmetric, reduce_range=False, ch_axis=0,
)  # fmt: skip
default_dynamic_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, is_dynamic=True, dtype=qtypes.quint8,
    averaging_constant=1,
)  # fmt: skip
default_histogram_fake_quant = FakeQuantize.with_args(
    observer=HistogramObserver, quant_min=0, quant_max=255, dtype=qtypes.quint8, qscheme=qtypes.per_tensor_affine,
    reduce_range=True,
)  # fmt: skip
default_embedding_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, qscheme=qtypes.per_channel_affine_float_qparams,
    dtype=qtypes.quint8, quant_min=0, quant_max=255, ch_axis=0, averaging_constant=1,
)  # fmt: skip
default_embedding_fake_quant_4bit = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, qscheme=qtypes.per_channel_affine_float_qparams, ch_axis=0,
    dtype=qtypes.quint4x2, averaging_constant=1,
)  # fmt: skip
default_fixed_qparams_range_neg1to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_neg1to1_observer
)
default_fixed_qparams_range_0to1_fake_quant = FixedQParamsFakeQuantize.with_args(
    observer=default_fixed_qparams_range_0to1_observer
)
default_symmetric_fixed_qparams_fake_quant = default_fixed_qparams_range_neg1to1_fake_quant
default_affine_fixed_qparams_fake_quant = default_fixed_qparams_range_0to1_fake_quant
default_fused_act_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=qtypes.quint8
)
default_fused_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qtypes.qint8,
    qscheme=qtypes.per_tensor_symmetric,
)  # fmt: skip
default_fused_per_channel_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=qtypes.qint8,
    qscheme=qtypes.per_channel_symmetric,
)  # fmt: skip
fused_wt_fake_quant_range_neg_127_to_127 = default_fused_wt_fake_quant.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)
fused_per_channel_wt_fake_quant_range_neg_127_to_127 = default_fused_per_channel_wt_fake_quant.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)


def _on_fake_quantize(method: str, doc: str):
    def change(mod: nn.Module) -> None:
        if isinstance(mod, FakeQuantizeBase):
            getattr(mod, method)()

    change.__name__ = change.__qualname__ = method
    change.__doc__ = f"For ``model.apply``: {doc}"
    return change


enable_fake_quant = _on_fake_quantize("enable_fake_quant", "round values.")
disable_fake_quant = _on_fake_quantize("disable_fake_quant", "pass values on as they are.")
enable_observer = _on_fake_quantize("enable_observer", "let grids follow the values.")
disable_observer = _on_fake_quantize("disable_observer", "keep the grids.")
