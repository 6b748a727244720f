"""The negative binomial distribution."""

from __future__ import annotations

import jtorch
from jtorch.nn import functional as F

from . import constraints
from .bernoulli import BinaryParameter, one_of
from .distribution import Family
from .gamma import Gamma
from .utils import broadcast_all


class NegativeBinomial(BinaryParameter, Family):
    """Number of successes, of probability ``probs``, before ``total_count`` failures."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        count, value = broadcast_all(total_count, one_of(probs, logits))
        self.total_count = count.type_as(value)
        self.__dict__["logits" if probs is None else "probs"] = value
        super().__init__(value.size(), validate_args=validate_args)

    @property
    def mean(self):
        return self.total_count * jtorch.exp(self.logits)

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self):
        return self.mean / jtorch.sigmoid(-self.logits)

    def sample(self, sample_shape=()):
        with jtorch.no_grad():
            rate = Gamma(self.total_count, jtorch.exp(-self.logits), validate_args=False).sample(sample_shape)
            return jtorch.poisson(rate)

    def log_prob(self, value):
        self._check(value)
        n = self.total_count
        powers = n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        norm = -jtorch.lgamma(n + value) + jtorch.lgamma(1.0 + value) + jtorch.lgamma(n)
        return powers - norm.masked_fill(n + value == 0.0, 0.0)
