"""The multinomial distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .binomial import Binomial
from .categorical import CategoryVectors
from .utils import broadcast_all


class Multinomial(CategoryVectors):
    """Counts per category in ``total_count`` draws; ``probs`` or ``logits`` as for :class:`Categorical`.

    Raises:
        NotImplementedError: ``total_count`` is not an int.
    """

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        super().__init__(probs, logits, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        sample_shape = tuple(sample_shape)
        drawn = self._categorical.sample((self.total_count,) + sample_shape).movedim(0, -1)
        counts = drawn.new_zeros(self._extended_shape(sample_shape))
        return counts.scatter_add(-1, drawn, jtorch.ones_like(drawn)).type_as(self.probs)

    def log_prob(self, value):
        self._check(value)
        logits, value = broadcast_all(self.logits, value)
        logits = logits.masked_fill((value == 0) & (logits == -jtorch.inf), 0)  # an impossible category, not drawn
        arrangements = jtorch.lgamma(value.sum(-1) + 1) - jtorch.lgamma(value + 1).sum(-1)
        return arrangements + (logits * value).sum(-1)

    def entropy(self):
        n = self.probs.new_tensor(self.total_count)
        marginal = Binomial(self.total_count, probs=self.probs, validate_args=False)
        k = marginal.enumerate_support(expand=False)[1:]
        repeats = (jtorch.exp(marginal.log_prob(k)) * jtorch.lgamma(k + 1)).sum([0, -1])
        return n * self._categorical.entropy() - jtorch.lgamma(n + 1) + repeats
