"""Absolute values of symmetric variables: what the half-normal and half-Cauchy distributions share."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AbsTransform


class Half(TransformedDistribution):
    """``|X|`` for X of a distribution symmetric about 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, base, validate_args=None):
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    @property
    def scale(self):
        return self.base_dist.scale

    @property
    def mode(self):
        return jtorch.zeros_like(self.scale)

    def log_prob(self, value):
        self._check(value)
        value = jtorch.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        return jtorch.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -jtorch.inf)

    def cdf(self, value):
        self._check(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, prob):
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self):
        return self.base_dist.entropy() - math.log(2)
