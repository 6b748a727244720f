"""The Wishart distribution."""

from __future__ import annotations

import math
import numbers
import warnings

import jtorch

from . import constraints
from .chi2 import Chi2
from .exp_family import ExponentialFamily
from .multivariate_normal import OfCovariance


class Wishart(OfCovariance, ExponentialFamily):
    """Sums of ``df`` outer products of normal vectors of one of covariance, precision and scale_tril.

    Samples come from Bartlett's decomposition. A sample that is not positive definite is drawn again, alone, up to
    ``max_try_correction`` times.

    Raises:
        AssertionError: not exactly one of the matrices.
        ValueError: ``df`` is not above the dimension less one, or too few dimensions.
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    @property
    def arg_constraints(self):
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    def __init__(self, df, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        name, matrix = self._one_of(AssertionError, covariance_matrix, precision_matrix, scale_tril)
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        if isinstance(df, numbers.Number):
            df_ = jtorch.tensor(df, dtype=matrix.dtype, device=matrix.device)
        else:
            df_ = df
        batch = tuple(jtorch.broadcast_shapes(matrix.shape[:-2], df_.shape))
        self.df = df_.expand(batch)
        p = matrix.shape[-1]
        smallest = float(self.df.min().item())
        if smallest <= p - 1:
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {p - 1}.")
        if smallest < p:
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        self.__dict__[name] = matrix.expand(batch + (-1, -1))
        super().__init__(batch, (p, p), validate_args=validate_args)
        self._factor(name, matrix)

    def _times(self, factor, matrix):
        return factor.unsqueeze(-1).unsqueeze(-1) * matrix

    @property
    def mean(self):
        return self._times(self.df, self.covariance_matrix)

    @property
    def mode(self):
        factor = self.df - self._event_shape[-1] - 1
        return self._times(factor.masked_fill(factor <= 0, jtorch.nan), self.covariance_matrix)

    @property
    def variance(self):
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self._times(self.df, v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _bartlett(self, sample_shape):
        p, df = self._event_shape[-1], self.df
        chi2 = Chi2(df.unsqueeze(-1) - jtorch.arange(p, dtype=df.dtype, device=df.device), validate_args=False)
        diagonal = chi2.rsample(sample_shape).sqrt().clamp(min=jtorch.finfo(df.dtype).eps)
        shape = tuple(sample_shape) + tuple(self._batch_shape)
        below = jtorch.randn(shape + (p * (p - 1) // 2,), dtype=df.dtype, device=df.device)
        noise = diagonal.new_zeros(shape + (p, p))
        i, j = jtorch.tril_indices(p, p, offset=-1).unbind()
        noise[..., i, j] = below
        factor = self._unbroadcasted_scale_tril @ (noise + diagonal.diag_embed())
        return factor @ factor.mT

    def rsample(self, sample_shape=(), max_try_correction=None):
        self._bartlett(sample_shape)  # PyTorch draws twice: its first check takes valid samples for singular ones
        sample = self._bartlett(sample_shape)
        for _ in range(10 if max_try_correction is None else max_try_correction):
            singular = ~self.support.check(sample.detach())
            if not bool(singular.any().item()):
                break
            warnings.warn("Singular sample detected.", stacklevel=2)
            sample = jtorch.where(singular.unsqueeze(-1).unsqueeze(-1), self._bartlett(sample_shape), sample)
        return sample

    def _log_scale(self):
        p = self._event_shape[-1]
        return p * math.log(2) / 2 + self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value):
        self._check(value)
        nu, p = self.df, self._event_shape[-1]
        trace = jtorch.cholesky_solve(value, self._unbroadcasted_scale_tril).diagonal(dim1=-2, dim2=-1).sum(-1)
        log_det = jtorch.linalg.slogdet(value)[1]
        return -nu * self._log_scale() - jtorch.mvlgamma(nu / 2, p=p) + (nu - p - 1) / 2 * log_det - trace / 2

    def entropy(self):
        nu, p = self.df, self._event_shape[-1]
        steps = jtorch.arange(p, dtype=nu.dtype, device=nu.device) / 2
        digammas = jtorch.digamma((nu / 2).unsqueeze(-1) - steps).sum(-1)
        return (p + 1) * self._log_scale() + jtorch.mvlgamma(nu / 2, p=p) - (nu - p - 1) / 2 * digammas + nu * p / 2

    @property
    def _natural_params(self):
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x, y):
        p = self._event_shape[-1]
        half = y + (p + 1) / 2
        return half * (-jtorch.linalg.slogdet(-2 * x)[1] + math.log(2) * p) + jtorch.mvlgamma(half, p=p)
