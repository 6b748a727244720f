"""Bernoulli trials, and what the families with ``probs`` or ``logits`` share."""

from __future__ import annotations

import jtorch
from jtorch.nn import functional as F

from . import constraints
from .exp_family import ExponentialFamily
from .utils import all_numbers, broadcast_all, lazy_property, logits_to_probs, probs_to_logits

ONE_OF = "Either `probs` or `logits` must be specified, but not both."


def one_of(probs, logits):
    """The one of ``probs`` and ``logits`` that is given.

    Raises:
        ValueError: both or neither.
    """
    if (probs is None) == (logits is None):
        raise ValueError(ONE_OF)
    return logits if probs is None else probs


class BinaryParameter:
    """``probs`` and ``logits``, each computed from the other on first use."""

    @lazy_property
    def logits(self):
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self):
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def _param(self):
        return self.__dict__["probs"] if "probs" in self.__dict__ else self.logits

    @property
    def param_shape(self):
        return self._param.size()

    def _take(self, probs, logits):
        given = one_of(probs, logits)
        (value,) = broadcast_all(given)
        self.__dict__["logits" if probs is None else "probs"] = value
        return () if all_numbers(given) else value.size()


class Bernoulli(BinaryParameter, ExponentialFamily):
    """1 with probability ``probs = sigmoid(logits)``, else 0.

    Raises:
        ValueError: both or neither of ``probs`` and ``logits`` given.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, validate_args=None):
        super().__init__(self._take(probs, logits), validate_args=validate_args)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        ties = jtorch.full_like(self.probs, jtorch.nan)
        return jtorch.where(self.probs == 0.5, ties, (self.probs >= 0.5).to(self.probs.dtype))

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with jtorch.no_grad():
            return jtorch.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._check(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self):
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand=True):
        values = jtorch.arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values

    @property
    def _natural_params(self):
        return (jtorch.logit(self.probs),)

    def _log_normalizer(self, x):
        return jtorch.log1p(jtorch.exp(x))
