"""Student's t distribution."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .chi2 import Chi2
from .distribution import Family
from .utils import _standard_normal, broadcast_all


class StudentT(Family):
    """``loc + scale * X / sqrt(Z / df)`` for X standard normal and Z of ``Chi2(df)``."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    @property
    def mean(self):
        return self.loc.masked_fill(self.df <= 1, jtorch.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        df = self.df
        heavy = jtorch.where(df > 1, jtorch.full_like(df, jtorch.inf), jtorch.nan)
        safe = jtorch.where(df > 2, df, 3.0)
        return jtorch.where(df > 2, self.scale.pow(2) * safe / (safe - 2), heavy)

    def rsample(self, sample_shape=()):
        x = _standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        z = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (x * jtorch.rsqrt(z / self.df))

    def log_prob(self, value):
        self._check(value)
        y = (value - self.loc) / self.scale
        norm = (
            self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
            + jtorch.lgamma(0.5 * self.df) - jtorch.lgamma(0.5 * (self.df + 1.0))
        )  # fmt: skip
        return -0.5 * (self.df + 1.0) * jtorch.log1p(y**2.0 / self.df) - norm

    def entropy(self):
        df = self.df
        log_beta = jtorch.lgamma(0.5 * df) + math.lgamma(0.5) - jtorch.lgamma(0.5 * (df + 1))
        digammas = jtorch.digamma(0.5 * (df + 1)) - jtorch.digamma(0.5 * df)
        return self.scale.log() + 0.5 * (df + 1) * digammas + 0.5 * df.log() + log_beta
