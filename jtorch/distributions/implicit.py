"""Gamma and Dirichlet variates with gradients by implicit reparameterization.

The samplers are PyTorch's streams; their derivative in a concentration a is ``-(dF/da) / p`` for the variate's
distribution function F and density p, which needs no derivative of the sampler's steps (Figurnov et al., 2018).
"""

from __future__ import annotations

import jtorch
from jtorch.autograd import Function
from jtorch.tensor import dispatch


class _StandardGamma(Function):
    @staticmethod
    def forward(ctx, concentration):
        sample = jtorch._standard_gamma(concentration)
        ctx.save_for_backward(concentration, sample)
        return sample

    @staticmethod
    def backward(ctx, grad):
        concentration, sample = ctx.saved_tensors
        return grad * dispatch.call("_standard_gamma_grad", concentration, sample)


class _StandardDirichlet(Function):
    @staticmethod
    def forward(ctx, concentration):
        sample = jtorch._sample_dirichlet(concentration)
        ctx.save_for_backward(sample, concentration)
        return sample

    @staticmethod
    def backward(ctx, grad):
        x, concentration = ctx.saved_tensors
        total = concentration.sum(-1, True).expand_as(concentration)
        # moving x_k draws the others along in proportion, so that the point stays on the simplex
        slope = dispatch.call("_dirichlet_grad", x, concentration, total)
        return slope * (grad - (x * grad).sum(-1, True))


def standard_gamma(concentration):
    """Gamma variates of unit rate, differentiable in ``concentration``."""
    return _StandardGamma.apply(concentration)


def standard_dirichlet(concentration):
    """Dirichlet variates, differentiable in ``concentration``."""
    return _StandardDirichlet.apply(concentration)
