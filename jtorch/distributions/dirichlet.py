"""The Dirichlet distribution."""

from __future__ import annotations

import jtorch

from . import constraints
from .exp_family import ExponentialFamily
from .implicit import standard_dirichlet


class Dirichlet(ExponentialFamily):
    """Density proportional to ``prod_k x_k^(concentration_k - 1)`` on the simplex.

    Raises:
        ValueError: a 0-d concentration.
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration, validate_args=None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self):
        c = (self.concentration - 1).clamp(min=0.0)
        inner = c / c.sum(-1, True)
        # with no concentration above 1 the density peaks in a corner: the one of the largest concentration
        corners = jtorch.nn.functional.one_hot(inner.argmax(dim=-1), c.shape[-1]).to(c.dtype)
        return jtorch.where((self.concentration < 1).all(dim=-1, keepdim=True), corners, inner)

    @property
    def variance(self):
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape=()):
        return standard_dirichlet(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._check(value)
        c = self.concentration
        return jtorch.xlogy(c - 1.0, value).sum(-1) + jtorch.lgamma(c.sum(-1)) - jtorch.lgamma(c).sum(-1)

    def entropy(self):
        c, k = self.concentration, self.concentration.size(-1)
        total = c.sum(-1)
        return (
            jtorch.lgamma(c).sum(-1) - jtorch.lgamma(total) - (k - total) * jtorch.digamma(total)
            - ((c - 1.0) * jtorch.digamma(c)).sum(-1)
        )  # fmt: skip

    @property
    def _natural_params(self):
        return (self.concentration,)

    def _log_normalizer(self, x):
        return x.lgamma().sum(-1) - jtorch.lgamma(x.sum(-1))
