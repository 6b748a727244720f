"""The binomial distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .bernoulli import BinaryParameter, one_of
from .counts import binomial
from .distribution import Family
from .utils import broadcast_all


class Binomial(BinaryParameter, Family):
    """Number of successes in ``total_count`` trials of probability ``probs = sigmoid(logits)``.

    Raises:
        ValueError: both or neither of ``probs`` and ``logits`` given.
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        count, value = broadcast_all(total_count, one_of(probs, logits))
        self.total_count = count.type_as(value)
        self.__dict__["logits" if probs is None else "probs"] = value
        super().__init__(value.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return jtorch.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        self._check(value)
        n, logits = self.total_count, self.logits
        choose = jtorch.lgamma(n + 1) - jtorch.lgamma(value + 1) - jtorch.lgamma(n - value + 1)
        # the mean of two clamps is max(logits, 0) with derivative 1/2 at 0
        positive = (logits.clamp(min=0) + logits - logits.clamp(max=0)) / 2
        return value * logits + choose - n * positive - n * jtorch.log1p(jtorch.exp(-jtorch.abs(logits)))

    def _common_count(self, name):
        count = int(self.total_count.max().item())
        if int(self.total_count.min().item()) != count:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{name}`.")
        return count

    def entropy(self):
        self._common_count("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(jtorch.exp(log_prob) * log_prob).sum(0)

    def enumerate_support(self, expand=True):
        count = self._common_count("enumerate_support")
        values = jtorch.arange(1 + count, dtype=self._param.dtype, device=self._param.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values
