"""Poolings that return indices, under their own names."""

from __future__ import annotations

from ...ops.registry import OPS
from ...tensor.export import function


def _with_indices(name: str):
    pool = function(OPS[name])

    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    def adaptive(input, output_size, return_indices=False):
        return pool(input, output_size, True)

    f = adaptive if name.startswith("adaptive") else max_pool
    f.__name__ = f.__qualname__ = f"{name}_with_indices"
    f.__doc__ = f":func:`{name}` and the flat index of each maximum in its channel."
    return f


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _with_indices(f"max_pool{n}d") for n in (1, 2, 3)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _with_indices(f"adaptive_max_pool{n}d") for n in (1, 2, 3)
)
