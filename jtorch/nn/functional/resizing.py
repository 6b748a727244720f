"""Older names of ``interpolate``."""

from __future__ import annotations

import warnings

from ...tensor.export import functions

_interpolate = functions("nn.functional")["interpolate"]


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
