"""Every sampler, under one roof: ``from jtorch.random import samplers``."""

from jtorch.random.bernoulli import bernoulli, bernoulli_mask, bernoulli_tensor
from jtorch.random.categorical import multinomial, poisson
from jtorch.random.continuous import cauchy, exponential, geometric, gumbel
from jtorch.random.gamma import dirichlet, standard_gamma
from jtorch.random.integers import randint, random_, random_from_to
from jtorch.random.normal import log_normal, normal
from jtorch.random.permutation import randperm
from jtorch.random.truncated import trunc_normal
from jtorch.random.uniform import rrelu_slopes, uniform

__all__ = [
    "bernoulli", "bernoulli_mask", "bernoulli_tensor", "cauchy", "dirichlet", "exponential", "geometric", "gumbel",
    "log_normal", "multinomial", "normal", "poisson", "randint", "random_", "random_from_to", "randperm",
    "rrelu_slopes", "standard_gamma", "trunc_normal", "uniform",
]  # fmt: skip
