"""Kullback-Leibler divergences in closed form, looked up by the pair of types."""

from __future__ import annotations

import functools
import math
import warnings

import jtorch
from jtorch import inf
from jtorch.nn import functional as F

from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import (
    LowRankMultivariateNormal,
    _batch_lowrank_logdet,
    _batch_lowrank_mahalanobis,
)
from .multivariate_normal import MultivariateNormal, _batch_mahalanobis
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import _sum_rightmost
from .utils import euler_constant as _euler_gamma

_REGISTRY = {}


def register_kl(type_p, type_q):
    """Decorator: ``f(p, q)`` is the divergence of a ``type_p`` from a ``type_q``, and of their subclasses.

    The classes need not be subclasses of :class:`Distribution`: one that distributions inherit besides it will do.

    Raises:
        TypeError: an argument is no class.
    """
    for kind, name in ((type_p, "type_p"), (type_q, "type_q")):
        if not isinstance(kind, type):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def decorator(fun):
        _REGISTRY[type_p, type_q] = fun
        _lookup.cache_clear()
        return fun

    return decorator


def _most_specific(pairs):
    """The least pair where earlier positions count first, and a subclass is less than its base."""

    def compare(a, b):
        for x, y in zip(a, b, strict=True):
            if x is not y:
                return -1 if issubclass(x, y) else 1
        return 0

    return min(pairs, key=functools.cmp_to_key(compare))


@functools.cache
def _lookup(type_p, type_q):
    matches = [(p, q) for p, q in _REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return None
    left_p, left_q = _most_specific(matches)
    right_q, right_p = _most_specific([(q, p) for p, q in matches])
    if _REGISTRY[left_p, left_q] is not _REGISTRY[right_p, right_q]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({left_p.__name__}, {right_q.__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _REGISTRY[left_p, left_q]


def kl_divergence(p, q):
    """``KL(p || q) = E_p[log p(x) - log q(x)]``, of shape ``batch_shape``.

    Raises:
        NotImplementedError: no closed form is registered for the types.
    """
    fun = _lookup(type(p), type(q))
    if fun is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return fun(p, q)


# --- one family ----------------------------------------------------------------------------------------------------


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(p, q):
    success = p.probs * (F.softplus(-q.logits) - F.softplus(-p.logits))
    success = success.masked_fill(q.probs == 0, inf).masked_fill(p.probs == 0, 0)
    failure = (1 - p.probs) * (F.softplus(q.logits) - F.softplus(p.logits))
    return success + failure.masked_fill(q.probs == 1, inf).masked_fill(p.probs == 1, 0)


@register_kl(Beta, Beta)
def _beta_beta(p, q):
    return _dirichlet_dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Binomial, Binomial)
def _binomial_binomial(p, q):
    if bool((p.total_count < q.total_count).any().item()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return jtorch.where(p.total_count > q.total_count, inf, kl)


@register_kl(Categorical, Categorical)
def _categorical_categorical(p, q):
    t = p.probs * (p.logits - q.logits)
    zero = (p.probs == 0).expand_as(t)
    return t.masked_fill((q.probs == 0).expand_as(t), inf).masked_fill(zero, 0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_one_hot(p, q):
    return _categorical_categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_continuous(p, q):
    t = p.mean * (p.logits - q.logits) + p._cont_bern_log_norm() + jtorch.log1p(-p.probs)
    return t - q._cont_bern_log_norm() - jtorch.log1p(-q.probs)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_dirichlet(p, q):
    total = p.concentration.sum(-1)
    norms = total.lgamma() - q.concentration.sum(-1).lgamma()
    norms = norms - (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    slope = p.concentration.digamma() - total.digamma().unsqueeze(-1)
    return norms + ((p.concentration - q.concentration) * slope).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential_exponential(p, q):
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _family_family(p, q):
    """The Bregman divergence of the log normalizer."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed using "
            "Bregman divergences"
        )
    natural, value, gradients = p._normalizer_and_gradients()
    others = q._natural_params
    result = q._log_normalizer(*others) - value
    for own, other, g in zip(natural, others, gradients, strict=True):
        result = result - _sum_rightmost((other - own) * g, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _gamma_gamma(p, q):
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log() + jtorch.lgamma(b) - jtorch.lgamma(a) + (a - b) * jtorch.digamma(a)
        + (q.rate - p.rate) * (a / p.rate)
    )  # fmt: skip


@register_kl(Gumbel, Gumbel)
def _gumbel_gumbel(p, q):
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return -ratio.log() - shift + ratio * _euler_gamma + jtorch.exp(shift + (1 + ratio).lgamma()) - (1 + _euler_gamma)


@register_kl(Geometric, Geometric)
def _geometric_geometric(p, q):
    return -p.entropy() - jtorch.log1p(-q.probs) / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _half_half(p, q):
    return _normal_normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace_laplace(p, q):
    ratio, shift = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + shift / q.scale + ratio * jtorch.exp(-shift / p.scale) - 1


@register_kl(Normal, Normal)
def _normal_normal(p, q):
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Pareto, Pareto)
def _pareto_pareto(p, q):
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return jtorch.where(p.support.lower_bound < q.support.lower_bound, inf, result)


@register_kl(Poisson, Poisson)
def _poisson_poisson(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Cauchy, Cauchy)
def _cauchy_cauchy(p, q):
    together = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return together - (4 * p.scale * q.scale).log()


@register_kl(Uniform, Uniform)
def _uniform_uniform(p, q):
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return jtorch.where((q.low > p.low) | (q.high < p.high), inf, result)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed_transformed(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _independent_independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# --- multivariate normals ------------------------------------------------------------------------------------------


def _check_events(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two {type(p).__name__} and {type(q).__name__} with different event shapes "
            "cannot be computed"
        )


def _log_det(d):
    if isinstance(d, LowRankMultivariateNormal):
        return _batch_lowrank_logdet(d._w, d._d, d._capacitance_tril)
    return 2 * d._half_log_det()


def _mvn_mvn(p, q):
    """``(log |S_q| / |S_p| + tr(S_q^-1 S_p) + mahalanobis_q(mu_q - mu_p) - n) / 2``."""
    _check_events(p, q)
    shift = q.loc - p.loc
    if isinstance(q, LowRankMultivariateNormal):
        distance = _batch_lowrank_mahalanobis(q._w, q._d, shift, q._capacitance_tril)
    else:
        distance = _batch_mahalanobis(q._unbroadcasted_scale_tril, shift)
    batch = tuple(jtorch.broadcast_shapes(p.batch_shape, q.batch_shape))
    n = p.event_shape[0]
    p_tril, q_tril = (d.scale_tril.expand(batch + (n, n)) for d in (p, q))
    trace = jtorch.linalg.solve_triangular(q_tril, p_tril, upper=False).pow(2).sum((-2, -1))
    return 0.5 * (_log_det(q) - _log_det(p) + trace + distance - n)


for _p in (MultivariateNormal, LowRankMultivariateNormal):
    for _q in (MultivariateNormal, LowRankMultivariateNormal):
        register_kl(_p, _q)(_mvn_mvn)


# --- different families --------------------------------------------------------------------------------------------


def _register_infinite(type_p, like, *types_q):
    """Divergences that are infinite because p's support is larger than q's; shaped like p's parameter ``like``."""

    def infinite(p, q):
        shape = jtorch.broadcast_shapes(p.batch_shape, q.batch_shape)
        parameter = getattr(p, like)
        return jtorch.full(shape, inf, dtype=parameter.dtype, device=parameter.device)

    for type_q in types_q:
        register_kl(type_p, type_q)(infinite)


_register_infinite(Beta, "concentration1", Pareto)
_register_infinite(ContinuousBernoulli, "probs", Pareto)
_register_infinite(Exponential, "rate", Beta, ContinuousBernoulli, Pareto, Uniform)
_register_infinite(Gamma, "concentration", Beta, ContinuousBernoulli, Pareto, Uniform)
_register_infinite(Gumbel, "loc", Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_register_infinite(Laplace, "loc", Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_register_infinite(Normal, "loc", Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_register_infinite(Pareto, "scale", Beta, ContinuousBernoulli, Uniform)
_register_infinite(Poisson, "rate", Bernoulli, Binomial)


def _cross_normal(p, q):
    """-E_p[log q] for normal q, from p's mean and variance."""
    spread = (p.variance + (p.mean - q.loc).pow(2)) / (2 * q.scale.pow(2))
    return spread + 0.5 * math.log(2 * math.pi) + q.scale.log()


def _minus_entropy_normal(p, q):
    return -p.entropy() + _cross_normal(p, q)


for _p in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform):
    register_kl(_p, Normal)(_minus_entropy_normal)


@register_kl(Pareto, Normal)
def _pareto_normal(p, q):
    return jtorch.where(p.alpha <= 2, inf, _minus_entropy_normal(p, q))


def _minus_entropy_exponential(p, q):
    return -p.entropy() - q.rate.log() + q.rate * p.mean


for _p in (Beta, ContinuousBernoulli, Gamma):
    register_kl(_p, Exponential)(_minus_entropy_exponential)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p, q):
    return jtorch.where(p.alpha <= 1, inf, _minus_entropy_exponential(p, q))


@register_kl(Uniform, Exponential)
def _uniform_exponential(p, q):
    return jtorch.where(p.low < 0, inf, _minus_entropy_exponential(p, q))


def _cross_gamma(q, mean_log, mean):
    """-E_p[log q] for gamma q, from p's E[log x] and E[x]."""
    c = q.concentration
    return -c * q.rate.log() + c.lgamma() - (c - 1) * mean_log + q.rate * mean


@register_kl(Beta, Gamma)
def _beta_gamma(p, q):
    total = p.concentration1 + p.concentration0
    return -p.entropy() + _cross_gamma(q, p.concentration1.digamma() - total.digamma(), p.mean)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p, q):
    return -p.entropy() + _cross_gamma(q, -_euler_gamma - p.rate.log(), p.mean)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p, q):
    kl = -p.entropy() + _cross_gamma(q, p.scale.log() + p.alpha.reciprocal(), p.mean)
    return jtorch.where(p.alpha <= 1, inf, kl)


def _x_log_x(x):
    return jtorch.special.xlogy(x, x)


def _uniform_mean_log(p):
    return (_x_log_x(p.high) - _x_log_x(p.low)) / (p.high - p.low) - 1


@register_kl(Uniform, Gamma)
def _uniform_gamma(p, q):
    return jtorch.where(p.low < 0, inf, -p.entropy() + _cross_gamma(q, _uniform_mean_log(p), p.mean))


def _cross_gumbel(q, mean, mean_exp):
    """-E_p[log q] for Gumbel q, from p's E[x] and E[exp(-x / scale)]."""
    return q.scale.log() + (mean - q.loc) / q.scale + (q.loc / q.scale).exp() * mean_exp


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p, q):
    rate = p.rate * q.scale
    return -p.entropy() + _cross_gumbel(q, p.mean, rate / (rate + 1))


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p, q):
    mean_exp = (1 + (p.rate * q.scale).reciprocal()).pow(-p.concentration)
    return -p.entropy() + _cross_gumbel(q, p.mean, mean_exp)


@register_kl(Normal, Gumbel)
def _normal_gumbel(p, q):
    mean_exp = (-p.loc / q.scale + 0.5 * (p.scale / q.scale).pow(2)).exp()
    return -p.entropy() + _cross_gumbel(q, p.mean, mean_exp)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p, q):
    mean_exp = q.scale * ((-p.low / q.scale).exp() - (-p.high / q.scale).exp()) / (p.high - p.low)
    return -p.entropy() + _cross_gumbel(q, p.mean, mean_exp)


@register_kl(Normal, Laplace)
def _normal_laplace(p, q):
    shift = p.loc - q.loc
    z = shift / p.scale
    mean_abs = math.sqrt(2 / math.pi) * p.scale * jtorch.exp(-0.5 * z.pow(2)) + shift * jtorch.erf(z / math.sqrt(2))
    return -p.entropy() + (2 * q.scale).log() + mean_abs / q.scale


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p, q):
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous(p, q):
    return -p.entropy() - p.mean * q.logits - jtorch.log1p(-q.probs) - q._cont_bern_log_norm()


@register_kl(Beta, Uniform)
def _beta_uniform(p, q):
    return jtorch.where((q.low > 0) | (q.high < 1), inf, -p.entropy() + (q.high - q.low).log())


@register_kl(ContinuousBernoulli, Uniform)
def _continuous_uniform(p, q):
    return jtorch.where((q.low > 0) | (q.high < 1), inf, -p.entropy() + (q.high - q.low).log())


def _outside_unit(p):
    return (p.high > 1) | (p.low < 0)


@register_kl(Uniform, Beta)
def _uniform_beta(p, q):
    a, b = q.concentration1, q.concentration0
    upper = (_x_log_x(1 - p.low) - _x_log_x(1 - p.high)) / (p.high - p.low) - 1  # E[log(1 - x)]
    norm = a.lgamma() + b.lgamma() - (a + b).lgamma()
    kl = -p.entropy() + norm - (a - 1) * _uniform_mean_log(p) - (b - 1) * upper
    return jtorch.where(_outside_unit(p), inf, kl)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous(p, q):
    kl = -p.entropy() - p.mean * q.logits - jtorch.log1p(-q.probs) - q._cont_bern_log_norm()
    return jtorch.where(_outside_unit(p), inf, kl)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p, q):
    cross = (q.alpha * q.scale.pow(q.alpha)).log() - (q.alpha + 1) * _uniform_mean_log(p)
    return jtorch.where(p.low < q.support.lower_bound, inf, -p.entropy() - cross)
