"""The von Mises distribution on the circle."""

from __future__ import annotations

import math

import jtorch

from . import constraints
from .distribution import Family
from .utils import broadcast_all


def _log_bessel(x, order):
    scaled = jtorch.special.i0e if order == 0 else jtorch.special.i1e
    return scaled(x).log() + x


class VonMises(Family):
    """Density ``exp(concentration cos(x - loc)) / (2 pi I0(concentration))`` over angles in [-pi, pi)."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc, concentration, validate_args=None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        """The circular mean."""
        return self.loc

    mode = mean

    @property
    def variance(self):
        """The circular variance, ``1 - I1 / I0``."""
        return 1 - (_log_bessel(self.concentration, 1) - _log_bessel(self.concentration, 0)).exp()

    def log_prob(self, value):
        self._check(value)
        aligned = self.concentration * jtorch.cos(value - self.loc)
        return aligned - math.log(2 * math.pi) - _log_bessel(self.concentration, 0)

    def sample(self, sample_shape=()):
        """Rejection from a wrapped Cauchy proposal (Best and Fisher, 1979), in float64."""
        shape = self._extended_shape(sample_shape)
        with jtorch.no_grad():
            loc, kappa = self.loc.double(), self.concentration.double()
            tau = 1 + (1 + 4 * kappa**2).sqrt()
            rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
            r = jtorch.where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho**2) / (2 * rho))
            x = jtorch.zeros(shape, dtype=loc.dtype, device=loc.device)
            done = jtorch.zeros(shape, dtype=jtorch.bool, device=loc.device)
            while not bool(done.all().item()):
                u1, u2, u3 = jtorch.rand((3,) + tuple(shape), dtype=loc.dtype, device=loc.device).unbind()
                z = jtorch.cos(math.pi * u1)
                f = (1 + r * z) / (r + z)
                c = kappa * (r - f)
                accept = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                x = jtorch.where(accept, (u3 - 0.5).sign() * f.acos(), x)
                done = done | accept
            return ((x + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)
