"""The F distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .distribution import Family
from .gamma import Gamma


class FisherSnedecor(Family):
    """The ratio of two chi-squared variables, each over its degrees of freedom ``df1``, ``df2``."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1, df2, validate_args=None):
        self._set(validate_args, df1=df1, df2=df2)
        self._gamma1 = Gamma(self.df1 * 0.5, self.df1)
        self._gamma2 = Gamma(self.df2 * 0.5, self.df2)

    @property
    def mean(self):
        df2 = self.df2.masked_fill(self.df2 <= 2, jtorch.nan)
        return df2 / (df2 - 2)

    @property
    def mode(self):
        mode = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return mode.masked_fill(self.df1 <= 2, jtorch.nan)

    @property
    def variance(self):
        df2 = self.df2.masked_fill(self.df2 <= 4, jtorch.nan)
        return 2 * df2.pow(2) * (self.df1 + df2 - 2) / (self.df1 * (df2 - 2).pow(2) * (df2 - 4))

    def rsample(self, sample_shape=()):
        x1, x2 = self._gamma1.rsample(sample_shape), self._gamma2.rsample(sample_shape)
        return (x1 / x2).clamp(min=jtorch.finfo(x2.dtype).tiny)

    def log_prob(self, value):
        self._check(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        norm = (a + b).lgamma() - a.lgamma() - b.lgamma()
        return norm + a * ratio.log() + (a - 1) * jtorch.log(value) - (a + b) * jtorch.log1p(ratio * value)
