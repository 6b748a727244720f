"""Multivariate normals whose covariance is low rank plus diagonal."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .distribution import Family
from .multivariate_normal import _batch_mahalanobis, _batch_mv
from .utils import _standard_normal, lazy_property


def _batch_capacitance_tril(factor, diagonal):
    """The Cholesky factor of ``I + W^T D^-1 W``."""
    capacitance = (factor.mT / diagonal.unsqueeze(-2)) @ factor
    return jtorch.linalg.cholesky(capacitance + jtorch.eye(factor.size(-1), dtype=factor.dtype, device=factor.device))


def _batch_lowrank_logdet(factor, diagonal, capacitance_tril):
    """``log |W W^T + D|``, by the matrix determinant lemma."""
    return 2 * capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + diagonal.log().sum(-1)


def _batch_lowrank_mahalanobis(factor, diagonal, x, capacitance_tril):
    """``x^T (W W^T + D)^-1 x``, by the Woodbury identity."""
    projected = _batch_mv(factor.mT / diagonal.unsqueeze(-2), x)
    return (x.pow(2) / diagonal).sum(-1) - _batch_mahalanobis(capacitance_tril, projected)


class LowRankMultivariateNormal(Family):
    """Normal vectors of mean ``loc`` and covariance ``cov_factor @ cov_factor.T + diag(cov_diag)``.

    Shapes: loc and cov_diag (..., n), cov_factor (..., n, m).

    Raises:
        ValueError: the shapes do not fit.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, cov_factor, cov_diag, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        n = loc.shape[-1]
        if cov_factor.shape[-2] != n:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {n} x m")
        if cov_diag.dim() < 1 or cov_diag.shape[-1] != n:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {loc.shape[-1:]}")
        try:
            batch = tuple(jtorch.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]))
        except (RuntimeError, ValueError) as e:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from e
        self.loc = loc.expand(batch + (n,))
        self.cov_factor = cov_factor.expand(batch + tuple(cov_factor.shape[-2:]))
        self.cov_diag = cov_diag.expand(batch + (n,))
        self._w, self._d = cov_factor, cov_diag
        self._capacitance_tril = _batch_capacitance_tril(cov_factor, cov_diag)
        super().__init__(batch, (n,), validate_args=validate_args)

    def _whole(self, matrix):
        return matrix.expand(tuple(self._batch_shape) + tuple(self._event_shape) * 2)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @lazy_property
    def variance(self):
        return (self._w.pow(2).sum(-1) + self._d).expand(tuple(self._batch_shape) + tuple(self._event_shape))

    @lazy_property
    def scale_tril(self):
        root = self._d.sqrt().unsqueeze(-1)  # factor D^-1/2 (W W^T + D) D^-1/2, which is well conditioned
        w = self._w / root
        eye = jtorch.eye(self._event_shape[0], dtype=w.dtype, device=w.device)
        return self._whole(root * jtorch.linalg.cholesky(w @ w.mT + eye))

    @lazy_property
    def covariance_matrix(self):
        return self._whole(self._w @ self._w.mT + jtorch.diag_embed(self._d))

    @lazy_property
    def precision_matrix(self):
        scaled = self._w.mT / self._d.unsqueeze(-2)
        half = jtorch.linalg.solve_triangular(self._capacitance_tril, scaled, upper=False)
        return self._whole(jtorch.diag_embed(self._d.reciprocal()) - half.mT @ half)

    def rsample(self, sample_shape=()):
        shape = tuple(self._extended_shape(sample_shape))
        eps_w = _standard_normal(shape[:-1] + tuple(self.cov_factor.shape[-1:]), self.loc.dtype, self.loc.device)
        eps_d = _standard_normal(shape, self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._w, eps_w) + self._d.sqrt() * eps_d

    def log_prob(self, value):
        self._check(value)
        m = _batch_lowrank_mahalanobis(self._w, self._d, value - self.loc, self._capacitance_tril)
        log_det = _batch_lowrank_logdet(self._w, self._d, self._capacitance_tril)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + log_det + m)

    def entropy(self):
        log_det = _batch_lowrank_logdet(self._w, self._d, self._capacitance_tril)
        h = 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + log_det)
        return h.expand(tuple(self._batch_shape))
