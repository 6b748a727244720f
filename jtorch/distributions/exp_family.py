"""Exponential families: entropy and divergence from the log normalizer."""

from __future__ import annotations

import jtorch

from .distribution import Family


class ExponentialFamily(Family):
    r"""``p(x; t) = exp(<T(x), t> - F(t) + k(x))`` with natural parameters t and log normalizer F.

    A family that gives ``_natural_params``, ``_log_normalizer`` and ``_mean_carrier_measure`` gets its entropy, and its
    Kullback-Leibler divergence to a member of the same family, by differentiating F.
    """

    @property
    def _natural_params(self):
        raise NotImplementedError

    def _log_normalizer(self, *natural_params):
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self):
        raise NotImplementedError

    def _normalizer_and_gradients(self):
        natural = [p.detach().requires_grad_() for p in self._natural_params]
        value = self._log_normalizer(*natural)
        return natural, value, jtorch.autograd.grad(value.sum(), natural, create_graph=True)

    def entropy(self):
        """``F(t) - <t, F'(t)> - E[k(x)]``."""
        natural, value, gradients = self._normalizer_and_gradients()
        result = value - self._mean_carrier_measure
        for t, g in zip(natural, gradients, strict=True):
            result = result - (t * g).reshape(tuple(self._batch_shape) + (-1,)).sum(-1)
        return result
