"""Names of ``special`` and ``linalg`` that stand for operations under another name."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor.export import composite, function

for _name, _op in {"expit": "sigmoid", "gammaln": "lgamma", "psi": "digamma", "multigammaln": "mvlgamma"}.items():
    if ("special", _name) not in {(n, a) for o in OPS.values() for n in o.namespaces for a in (o.name, *o.aliases)}:
        composite("special", name=_name)(function(OPS[_op]))


@composite("torch", "special", name="polygamma")
def polygamma(n, input, *, out=None):
    """The n-th derivative of the digamma function."""
    return function(OPS["polygamma"])(n, input, out=out)


@composite(name="polygamma", method="polygamma")
def _polygamma_method(self, n):
    """The n-th derivative of the digamma function."""
    return function(OPS["polygamma"])(n, self)


@composite(method=True)
def polygamma_(self, n):
    """In-place form of :func:`polygamma`."""
    self._check_inplace()
    return self._store(function(OPS["polygamma"])(n, self), "polygamma_")
