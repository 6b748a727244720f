"""Sampling at other places: what warns before the operation runs, and older names of ``interpolate``."""

from __future__ import annotations

import warnings

from ...tensor.export import functions

_functions = functions("nn.functional")
_interpolate, _affine_grid, _grid_sample = (_functions[n] for n in ("interpolate", "affine_grid", "grid_sample"))


def _aligned_by_default(align_corners) -> bool:
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify align_corners=True if the old behavior is desired. See the documentation of grid_sample for "
            "details.",
            stacklevel=3,
        )
    return bool(align_corners)


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    return _grid_sample(input, grid, mode, padding_mode, _aligned_by_default(align_corners))


def affine_grid(theta, size, align_corners=None):
    aligned = _aligned_by_default(align_corners)
    if aligned and 1 in size[2:]:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when align_corners=True. This "
            "is not an intended use case of affine_grid. See the documentation of affine_grid for details.",
            stacklevel=2,
        )
    return _affine_grid(theta, size, aligned)


grid_sample.__doc__, affine_grid.__doc__ = _grid_sample.__doc__, _affine_grid.__doc__


def _deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """:func:`interpolate` under its older name."""
    _deprecated("upsample")
    return _interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """:func:`interpolate` by nearest neighbours."""
    _deprecated("upsample_nearest")
    return _interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """:func:`interpolate` by bilinear interpolation with aligned corners."""
    _deprecated("upsample_bilinear")
    return _interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
