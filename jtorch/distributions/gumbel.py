"""The Gumbel distribution."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, ExpTransform
from .uniform import Uniform
from .utils import all_numbers, broadcast_all, euler_constant


class Gumbel(TransformedDistribution):
    """``loc - scale * log(-log(U))`` for U uniform on (0, 1)."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        info = jtorch.finfo(self.loc.dtype)
        low, high = info.tiny, 1 - info.eps
        if not all_numbers(loc, scale):
            low, high = jtorch.full_like(self.loc, low), jtorch.full_like(self.loc, high)
        base = Uniform(low, high, validate_args=validate_args)
        negate = AffineTransform(0, -jtorch.ones_like(self.scale))
        steps = [ExpTransform().inv, negate, ExpTransform().inv, AffineTransform(loc, -self.scale)]
        super().__init__(base, steps, validate_args=validate_args)

    def _expand_part(self, part, batch_shape):
        return part.expand(batch_shape)

    @property
    def mean(self):
        return self.loc + self.scale * euler_constant

    @property
    def mode(self):
        return self.loc

    @property
    def stddev(self):
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self):
        return self.stddev.pow(2)

    def log_prob(self, value):
        self._check(value)
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    def entropy(self):
        return self.scale.log() + (1 + euler_constant)
