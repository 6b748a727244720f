"""The LKJ distribution over Cholesky factors of correlation matrices."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .beta import Beta
from .distribution import Family
from .utils import broadcast_all


class LKJCholesky(Family):
    """L with density of ``L L^T`` proportional to ``det(L L^T)^(concentration - 1)`` (Lewandowski et al., 2009).

    Raises:
        ValueError: ``dim < 2``.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.size(), (dim, dim), validate_args=validate_args)

    def _row_lengths(self):
        """The distribution of the squared length of each row's part left of the diagonal."""
        c = self.concentration
        offset = jtorch.arange(self.dim - 1, dtype=c.dtype, device=c.device)
        offset = jtorch.cat([offset.new_zeros((1,)), offset])
        return Beta(offset + 0.5, (c + 0.5 * (self.dim - 2)).unsqueeze(-1) - 0.5 * offset, validate_args=False)

    def sample(self, sample_shape=()):
        """The onion method: per row a point of a sphere, scaled by a beta variable."""
        with jtorch.no_grad():
            y = self._row_lengths().sample(sample_shape).unsqueeze(-1)
            u = jtorch.randn(self._extended_shape(sample_shape), dtype=y.dtype, device=y.device).tril(-1)
            length = u.norm(dim=-1, keepdim=True)
            w = jtorch.sqrt(y) * jtorch.where(length > 0, u / length, 0.0)  # the first row is empty
            diagonal = (1 - (w**2).sum(dim=-1)).clamp(min=jtorch.finfo(w.dtype).tiny).sqrt()
            return w + jtorch.diag_embed(diagonal)

    def log_prob(self, value):
        self._check(value)
        c, n = self.concentration, self.dim - 1
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = jtorch.arange(2, self.dim + 1, dtype=c.dtype, device=c.device)
        order = 2 * (c - 1).unsqueeze(-1) + self.dim - order
        unnormalized = (order * diagonal.log()).sum(-1)
        alpha = c + 0.5 * n
        norm = 0.5 * n * math.log(math.pi) + jtorch.mvlgamma(alpha - 0.5, p=n) - jtorch.lgamma(alpha) * n
        return unnormalized - norm
