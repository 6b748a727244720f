"""The uniform distribution on an interval."""

from __future__ import annotations

import jtorch

from . import constraints
from .distribution import Family
from .utils import standard_uniform


class Uniform(Family):
    """Density ``1 / (high - low)`` on [low, high).

    Raises:
        ValueError: ``low >= high`` somewhere.
    """

    has_rsample = True

    def __init__(self, low, high, validate_args=None):
        self._set(validate_args, low=low, high=high)

    @property
    def arg_constraints(self):
        return {
            "low": constraints.less_than(self.high),
            "high": constraints.greater_than(self.low),
        }

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        return constraints.interval(self.low, self.high)

    @property
    def mean(self):
        return (self.high + self.low) / 2

    @property
    def mode(self):
        return jtorch.full_like(self.high, jtorch.nan)

    @property
    def stddev(self):
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self):
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape=()):
        rand = standard_uniform(self._extended_shape(sample_shape), self.low)
        return self.low + rand * (self.high - self.low)

    def log_prob(self, value):
        self._check(value)
        inside = (self.low.le(value) & self.high.gt(value)).type_as(self.low)
        return jtorch.log(inside) - jtorch.log(self.high - self.low)

    def cdf(self, value):
        self._check(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value):
        return value * (self.high - self.low) + self.low

    def entropy(self):
        return jtorch.log(self.high - self.low)
