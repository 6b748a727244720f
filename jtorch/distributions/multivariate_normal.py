"""The multivariate normal distribution, and triangular algebra it shares."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .distribution import Distribution, Family  # noqa: F401 (PyTorch has it here too)
from .utils import _standard_normal, lazy_property


def _batch_mv(matrix, vector):
    return jtorch.matmul(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(tril, x):
    """``x^T (L L^T)^-1 x`` for lower triangular L, with batch dimensions broadcast."""
    batch = jtorch.broadcast_shapes(tril.shape[:-2], x.shape[:-1])
    n = x.shape[-1]
    tril = tril.expand(tuple(batch) + (n, n))
    solved = jtorch.linalg.solve_triangular(tril, x.expand(tuple(batch) + (n,)).unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


def _precision_to_scale_tril(precision):
    """L with ``L L^T = precision^-1``: factor the matrix turned by half a turn, then invert the triangle."""
    factor = jtorch.linalg.cholesky(jtorch.flip(precision, (-2, -1)))
    inverse = jtorch.transpose(jtorch.flip(factor, (-2, -1)), -2, -1)
    eye = jtorch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return jtorch.linalg.solve_triangular(inverse, eye.expand_as(inverse), upper=False)


class OfCovariance:
    """The part of a distribution that is a covariance, given as one of itself, its inverse and its Cholesky factor."""

    @staticmethod
    def _one_of(error: type, covariance_matrix, precision_matrix, scale_tril):
        """The name and the value of the one that is given."""
        matrices = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril,
        }  # fmt: skip
        given = [(name, m) for name, m in matrices.items() if m is not None]
        if len(given) != 1:
            raise error("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        return given[0]

    def _factor(self, name: str, matrix) -> None:
        """Keep the Cholesky factor, from which the others follow."""
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = jtorch.linalg.cholesky(matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(matrix)

    def _whole(self, matrix):
        return matrix.expand(tuple(self._batch_shape) + (self._event_shape[-1],) * 2)

    @lazy_property
    def scale_tril(self):
        return self._whole(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self):
        return self._whole(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self):
        return self._whole(jtorch.cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(OfCovariance, Family):
    """Normal vectors of mean ``loc`` and one of ``covariance_matrix``, ``precision_matrix``, ``scale_tril``.

    Raises:
        ValueError: not exactly one of the three, or too few dimensions.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, matrix = self._one_of(ValueError, covariance_matrix, precision_matrix, scale_tril)
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = tuple(jtorch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1]))
        self.__dict__[name] = matrix.expand(batch + (-1, -1))
        self.loc = loc.expand(batch + (-1,))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._factor(name, matrix)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        rows = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return rows.expand(tuple(self._batch_shape) + tuple(self._event_shape))

    def rsample(self, sample_shape=()):
        eps = _standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, eps)

    def _half_log_det(self):
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value):
        self._check(value)
        m = _batch_mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + m) - self._half_log_det()

    def entropy(self):
        h = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return h.expand(tuple(self._batch_shape))
