"""The geometric distribution."""

from __future__ import annotations

import jtorch
from jtorch.nn import functional as F

from . import constraints
from .bernoulli import BinaryParameter
from .distribution import Family
from .utils import broadcast_all


class Geometric(BinaryParameter, Family):
    """Number k >= 0 of failures before the first success: ``(1 - probs)^k probs``.

    Raises:
        ValueError: both or neither of ``probs`` and ``logits`` given, or a probability outside (0, 1].
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        super().__init__(self._take(probs, logits), validate_args=validate_args)
        if self._validate_args and probs is not None:
            value = self.probs
            if not bool((value > 0).all().item()):
                raise ValueError(
                    f"Expected parameter probs ({type(value).__name__} of shape {tuple(value.shape)}) "
                    f"of distribution {self!r} to be positive but found invalid values:\n{value}"
                )

    @property
    def mean(self):
        return 1.0 / self.probs - 1.0

    @property
    def mode(self):
        return jtorch.zeros_like(self.probs)

    @property
    def variance(self):
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape=()):
        tiny = jtorch.finfo(self.probs.dtype).tiny
        with jtorch.no_grad():
            u = self.probs.new_empty(self._extended_shape(sample_shape)).uniform_(tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        self._check(value)
        value, probs = broadcast_all(value, self.probs)
        probs = jtorch.where((probs == 1) & (value == 0), 0.0, probs)  # 0 * log(0) is 0
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self):
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
