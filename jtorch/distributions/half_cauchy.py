"""The half-Cauchy distribution."""

from __future__ import annotations

import jtorch

from .cauchy import Cauchy
from .half import Half


class HalfCauchy(Half):
    """``|X|`` for X of ``Cauchy(0, scale)``; it has no finite mean."""

    def __init__(self, scale, validate_args=None):
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args=validate_args)

    @property
    def mean(self):
        return jtorch.full(self._extended_shape(), jtorch.inf, dtype=self.scale.dtype, device=self.scale.device)

    @property
    def variance(self):
        return self.base_dist.variance
