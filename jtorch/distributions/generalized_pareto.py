"""The generalized Pareto distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .distribution import Family
from .utils import standard_uniform


class GeneralizedPareto(Family):
    """``P(X > x) = (1 + concentration z)^(-1 / concentration)``, z = (x - loc) / scale; exp(-z) at concentration 0."""

    arg_constraints = {
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real,
    }  # fmt: skip
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        self._set(validate_args, loc=loc, scale=scale, concentration=concentration)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        c = self.concentration
        upper = jtorch.where(c < 0, self.loc - self.scale / jtorch.where(c < 0, c, -1.0), jtorch.inf)
        return constraints.interval(self.loc, upper)

    def _zero_and_safe(self):
        zero = jtorch.isclose(self.concentration, jtorch.zeros_like(self.concentration))
        return zero, jtorch.where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape=()):
        return self.icdf(standard_uniform(self._extended_shape(sample_shape), self.loc))

    def log_prob(self, value):
        self._check(value)
        z, (zero, c) = (value - self.loc) / self.scale, self._zero_and_safe()
        y = 1 / c + jtorch.ones_like(z)
        return -self.scale.log() - jtorch.where(zero, z, jtorch.where(y == 0, y, y * jtorch.log1p(c * z)))

    def log_survival_function(self, value):
        """``log P(X > value)``."""
        self._check(value)
        z, (zero, c) = (value - self.loc) / self.scale, self._zero_and_safe()
        return jtorch.where(zero, -z, -jtorch.log1p(c * z) / c)

    def log_cdf(self, value):
        """``log P(X <= value)``."""
        return jtorch.log1p(-jtorch.exp(self.log_survival_function(value)))

    def cdf(self, value):
        return jtorch.exp(self.log_cdf(value))

    def icdf(self, value):
        zero, c = self._zero_and_safe()
        log_u = jtorch.log1p(-value)
        return jtorch.where(zero, self.loc - self.scale * log_u, self.loc + self.scale / c * jtorch.expm1(-c * log_u))

    @property
    def mean(self):
        c = self.concentration
        return jtorch.where(c < 1, self.loc + self.scale / (1 - jtorch.where(c < 1, c, 0.5)), jtorch.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        c = jtorch.where(self.concentration < 0.5, self.concentration, 0.25)
        return jtorch.where(self.concentration < 0.5, self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c)), jtorch.nan)

    def entropy(self):
        return (jtorch.log(self.scale) + self.concentration + 1).expand(self._batch_shape)
