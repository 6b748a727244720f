"""Every sampler, under one roof: ``from jtorch.streams import samplers``."""

from jtorch.streams.bernoulli import bernoulli, bernoulli_mask, bernoulli_tensor
from jtorch.streams.categorical import multinomial, poisson
from jtorch.streams.continuous import cauchy, exponential, geometric, gumbel
from jtorch.streams.gamma import dirichlet, standard_gamma
from jtorch.streams.integers import randint, random_, random_from_to
from jtorch.streams.normal import log_normal, normal
from jtorch.streams.permutation import randperm
from jtorch.streams.truncated import trunc_normal
from jtorch.streams.uniform import rrelu_slopes, uniform

__all__ = [
    "bernoulli", "bernoulli_mask", "bernoulli_tensor", "cauchy", "dirichlet", "exponential", "geometric", "gumbel",
    "log_normal", "multinomial", "normal", "poisson", "randint", "random_", "random_from_to", "randperm",
    "rrelu_slopes", "standard_gamma", "trunc_normal", "uniform",
]  # fmt: skip
