"""The continuous Bernoulli distribution (Loaiza-Ganem and Cunningham, 2019)."""

from __future__ import annotations

import math

import jtorch
from jtorch.nn import functional as F

from . import constraints
from .bernoulli import BinaryParameter
from .exp_family import ExponentialFamily
from .utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs, standard_uniform


class ContinuousBernoulli(BinaryParameter, ExponentialFamily):
    """Density proportional to ``probs^x (1 - probs)^(1 - x)`` on [0, 1].

    Args:
        lims: between these probabilities, where the closed forms cancel, Taylor series about 1/2 are used.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        batch_shape = self._take(probs, logits)
        if probs is not None:
            if validate_args is not None and not bool(constraints.unit_interval.check(self.probs).all().item()):
                raise ValueError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(batch_shape, validate_args=validate_args)

    @lazy_property
    def probs(self):
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _stable(self):
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _pick(self, closed_form, taylor):
        """The closed form where it is stable, else the series in ``probs - 1/2``."""
        stable = self._stable()
        cut = jtorch.where(stable, self.probs, self._lims[0])
        return jtorch.where(stable, closed_form(cut), taylor(self.probs - 0.5))

    def _cont_bern_log_norm(self):
        def closed_form(p):
            ratio = jtorch.log(jtorch.abs(jtorch.log1p(-p) - jtorch.log(p)))
            below, above = jtorch.where(p <= 0.5, p, 0.0), jtorch.where(p >= 0.5, p, 1.0)
            return ratio - jtorch.where(p <= 0.5, jtorch.log1p(-2.0 * below), jtorch.log(2.0 * above - 1.0))

        return self._pick(closed_form, lambda x: math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x**2) * x**2)

    @property
    def mean(self):
        return self._pick(
            lambda p: p / (2.0 * p - 1.0) + 1.0 / (jtorch.log1p(-p) - jtorch.log(p)),
            lambda x: 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x,
        )

    @property
    def variance(self):
        return self._pick(
            lambda p: p * (p - 1.0) / (1.0 - 2.0 * p) ** 2 + 1.0 / (jtorch.log1p(-p) - jtorch.log(p)) ** 2,
            lambda x: 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x**2) * x**2,
        )

    def rsample(self, sample_shape=()):
        return self.icdf(standard_uniform(self._extended_shape(sample_shape), self.probs))

    def log_prob(self, value):
        self._check(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none") + self._cont_bern_log_norm()

    def cdf(self, value):
        self._check(value)
        cdf = self._pick(
            lambda p: (p**value * (1.0 - p) ** (1.0 - value) + p - 1.0) / (2.0 * p - 1.0),
            lambda x: value + 0 * x,
        )
        return jtorch.where(value <= 0, 0.0, jtorch.where(value >= 1, 1.0, cdf))

    def icdf(self, value):
        return self._pick(
            lambda p: (
                (jtorch.log1p(-p + value * (2.0 * p - 1.0)) - jtorch.log1p(-p)) / (jtorch.log(p) - jtorch.log1p(-p))
            ),
            lambda x: value + 0 * x,
        )

    def entropy(self):
        log_q, log_p = jtorch.log1p(-self.probs), jtorch.log(self.probs)
        return self.mean * (log_q - log_p) - self._cont_bern_log_norm() - log_q

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        stable = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = jtorch.where(stable, x, self._lims[0] - 0.5)
        closed_form = jtorch.log(jtorch.abs(jtorch.expm1(cut))) - jtorch.log(jtorch.abs(cut))
        return jtorch.where(stable, closed_form, 0.5 * x + x**2 / 24.0 - x**4 / 2880.0)
