"""The half-normal distribution."""

from __future__ import annotations

import math

from .half import Half
from .normal import Normal


class HalfNormal(Half):
    """``|X|`` for X of ``Normal(0, scale)``."""

    def __init__(self, scale, validate_args=None):
        super().__init__(Normal(0, scale, validate_args=False), validate_args=validate_args)

    @property
    def mean(self):
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self):
        return self.scale.pow(2) * (1 - 2 / math.pi)
