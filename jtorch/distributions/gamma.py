"""The gamma distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .exp_family import ExponentialFamily
from .implicit import standard_gamma


class Gamma(ExponentialFamily):
    """Density ``rate^c x^(c-1) exp(-rate x) / Gamma(c)`` for x > 0, with c the concentration."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        self._set(validate_args, concentration=concentration, rate=rate)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        value = standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        return value.clamp(min=jtorch.finfo(value.dtype).tiny)

    def log_prob(self, value):
        value = jtorch.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        self._check(value)
        return (
            jtorch.xlogy(self.concentration, self.rate)
            + jtorch.xlogy(self.concentration - 1, value)
            - self.rate * value
            - jtorch.lgamma(self.concentration)
        )

    def cdf(self, value):
        self._check(value)
        return jtorch.special.gammainc(self.concentration, self.rate * value)

    def entropy(self):
        c = self.concentration
        return c - jtorch.log(self.rate) + jtorch.lgamma(c) + (1.0 - c) * jtorch.digamma(c)

    @property
    def _natural_params(self):
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x, y):
        return jtorch.lgamma(x + 1) + (x + 1) * jtorch.log(-y.reciprocal())
