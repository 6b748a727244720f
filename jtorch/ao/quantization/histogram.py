"""The observer that leaves outliers out: a histogram of the values, and the range with the least rounding error.

The search narrows the range from both ends by quantiles, from whichever end gives up more bins, as long as the
expected squared error (values spread evenly within a bin, rounding to the middle of the grid's cells) goes down. It is
the procedure of Caffe2's ``NormMinimization``, a heuristic: it stops at the first step that does not help.
"""

from __future__ import annotations

import warnings

import numpy as np

import jtorch

from .. import qtypes
from .observer import UniformQuantizationObserverBase, _values

_QUANTILE_STEP = 1e-5
_UPSAMPLE = 16  # each old bin is split into this many before it is dealt to the bins of a wider histogram
_f32 = np.float32


def _linspace(low, high, n: int) -> np.ndarray:
    """Float32 points from ``low`` to ``high``, each half counted from its own end, each rounded once."""
    step, i = float((_f32(high) - _f32(low)) / _f32(n - 1)), np.arange(n, dtype=np.float64)
    return np.where(i < n // 2, low + step * i, high - step * (n - 1 - i)).astype(_f32)


def histogram(x: np.ndarray, bins: int, low, high) -> np.ndarray:
    """How many of ``x`` lie in each of ``bins`` equal parts of ``[low, high]`` (float32 counts)."""
    x, low, high = x.reshape(-1), _f32(low), _f32(high)
    if low == high:
        low, high = low - _f32(1), high + _f32(1)
    x = x[(x >= low) & (x <= high)]
    position = ((x - low) * _f32(bins) / (high - low)).astype(np.int64)
    return np.bincount(np.minimum(position, bins - 1), minlength=bins).astype(_f32)


class HistogramObserver(UniformQuantizationObserverBase):
    """A histogram of all values seen, and from it the range with the least expected squared rounding error.

    Args:
        bins: number of bins; the rest are those of :class:`UniformQuantizationObserverBase`.
    """

    schemes = qtypes.PER_TENSOR

    def __init__(
        self, bins: int = 2048, dtype=qtypes.quint8, qscheme=qtypes.per_tensor_affine, reduce_range=False, **options
    ):
        if options.get("is_dynamic"):
            raise NotImplementedError("HistogramObserver doesn't support dynamic quantization")
        super().__init__(dtype, qscheme, reduce_range, **options)
        self.bins = bins
        self.register_buffer("histogram", jtorch.zeros(bins, **self._factory))
        self.register_buffer("min_val", jtorch.tensor(float("inf"), **self._factory))
        self.register_buffer("max_val", jtorch.tensor(float("-inf"), **self._factory))
        self.dst_nbins = 2 ** (8 * dtype.itemsize)

    # --- watching

    def forward(self, x_orig):
        x = _values(x_orig).reshape(-1)
        if np.isinf(x).any():
            warnings.warn("torch.inf detected in input tensor, ignoring input", stacklevel=2)
            x = x[~np.isinf(x)]
        if not x.size:
            return x_orig
        low, high = x.min(), x.max()
        if not self.calibrated:
            counts = histogram(x, self.bins, low, high)
        else:
            old_low, old_high = self.min_val.numpy(), self.max_val.numpy()
            low, high = np.minimum(low, old_low), np.maximum(high, old_high)
            old = self._widened(self.histogram.numpy(), old_low, old_high, low, high)
            counts = histogram(x, self.bins, low, high) + old
        self._keep(low, high)
        self.histogram = self._stored(counts)
        return x_orig

    def _widened(self, counts, old_low, old_high, low, high) -> np.ndarray:
        """``counts``, over ``[old_low, old_high]``, as counts over the wider ``[low, high]``."""
        if low == old_low and high == old_high:
            return counts
        if old_low == old_high:
            return histogram(np.asarray([old_low]), self.bins, low, high) * counts.sum(dtype=_f32)
        fine = self.bins * _UPSAMPLE
        half = _f32(0.5) * ((old_high - old_low) / _f32(fine))
        middles = _linspace(old_low, old_high, fine + 1)[:-1] + half
        target = np.searchsorted(_linspace(low, high, self.bins + 1), middles, side="right") - 1
        out = np.zeros(self.bins, _f32)
        np.add.at(out, np.clip(target, 0, self.bins - 1), np.repeat(counts, _UPSAMPLE) / _f32(_UPSAMPLE))
        return out

    # --- choosing

    def _error(self, counts: np.ndarray, width: float, first: int, last: int) -> float:
        """Expected squared error when the bins ``first`` to ``last`` are spread over the whole grid."""
        cell = width * (last - first + 1) / self.dst_nbins
        if cell == 0.0:
            return 0.0
        begin = (np.arange(self.bins) - first).astype(_f32) * _f32(width)
        end = begin + _f32(width)
        cell, half = _f32(cell), _f32(cell / 2)
        from_cell = np.clip(np.floor_divide(begin, cell), 0, self.dst_nbins - 1)
        to_cell = np.clip(np.floor_divide(end, cell), 0, self.dst_nbins - 1)
        density = counts / _f32(width)

        def norm(a, b):  # the integral of x² density from a to b
            return density * ((b * b * b - a * a * a) / _f32(3))

        error = norm(begin - (from_cell + _f32(0.5)) * cell, half)  # the part of the bin in its first cell,
        error = error + (to_cell - from_cell - 1) * norm(-half, half)  # the cells it fills,
        error = error + norm(-half, end - (to_cell * cell + half))  # and the part in its last
        return float(error.sum(dtype=_f32))

    def _search(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and largest value to represent."""
        counts, low, high = self.histogram.numpy(), self.min_val.numpy(), self.max_val.numpy()
        width = (float(high) - float(low)) / self.bins
        total = float(counts.sum(dtype=_f32))
        below = np.cumsum(counts, dtype=np.float64).astype(_f32)
        alpha, beta, best = 0.0, 1.0, float("inf")
        first, last = 0, self.bins - 1
        while alpha < beta:
            next_alpha, next_beta = alpha + _QUANTILE_STEP, beta - _QUANTILE_STEP
            left, right = first, last
            while left < last and below[left] < _f32(next_alpha * total):
                left += 1
            while right > first and below[right] > _f32(next_beta * total):
                right -= 1
            if left - first > last - right:
                new_first, new_last, alpha = left, last, next_alpha
            else:
                new_first, new_last, beta = first, right, next_beta
            if (new_first, new_last) == (first, last):
                continue
            error = self._error(counts, width, new_first, new_last)
            if error > best:
                break
            best, first, last = error, new_first, new_last
        step = (high - low) / _f32(self.bins)
        return low + step * _f32(first), low + step * _f32(last + 1)

    def calculate_qparams(self):
        """As :meth:`UniformQuantizationObserverBase.calculate_qparams`, for the range the search found."""
        if not self.calibrated:
            return super().calculate_qparams()
        return self._calculate_qparams(*self._search())


default_histogram_observer = HistogramObserver.with_args(quant_min=0, quant_max=127)
