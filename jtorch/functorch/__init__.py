"""``functorch``: the names of :mod:`jtorch.func` under the package that they began in, where they are deprecated."""

from __future__ import annotations

import functools
import warnings

from .. import func
from .._functorch import make_functional as _modules
from .._functorch.make_functional import FunctionalModule, FunctionalModuleWithBuffers
from ..fx.experimental.proxy_tensor import make_fx
from ..version import torch_api as __version__


def _deprecated(function, successor: str):
    @functools.wraps(function)
    def warned(*args, **kwargs):
        warnings.warn(
            f"functorch is part of PyTorch now, and `functorch.{function.__name__}` is deprecated as of PyTorch 2.0. "
            f"Please use `torch.{successor}` instead; see https://pytorch.org/docs/main/func.migrating.html",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    return warned


vmap = _deprecated(func.vmap, "vmap")
grad = _deprecated(func.grad, "func.grad")
grad_and_value = _deprecated(func.grad_and_value, "func.grad_and_value")
vjp = _deprecated(func.vjp, "func.vjp")
jvp = _deprecated(func.jvp, "func.jvp")
jacrev = _deprecated(func.jacrev, "func.jacrev")
jacfwd = _deprecated(func.jacfwd, "func.jacfwd")
hessian = _deprecated(func.hessian, "func.hessian")
functionalize = _deprecated(func.functionalize, "func.functionalize")
make_functional = _deprecated(_modules.make_functional, "func.functional_call")
make_functional_with_buffers = _deprecated(_modules.make_functional_with_buffers, "func.functional_call")
combine_state_for_ensemble = _deprecated(_modules.combine_state_for_ensemble, "func.stack_module_state")

__all__ = [
    "FunctionalModule", "FunctionalModuleWithBuffers", "combine_state_for_ensemble", "functionalize", "grad",
    "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "make_functional", "make_functional_with_buffers",
    "make_fx", "vjp", "__version__", "vmap",
]  # fmt: skip
