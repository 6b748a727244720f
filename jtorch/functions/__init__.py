"""The public functions written over Tensors: what one op cannot express (overloads, lists of results, host reads).

Each file registers its functions with :func:`jtorch.tensor.export.composite`; importing this package completes the
Tensor class.
"""

import importlib
import pkgutil

from ..tensor import Tensor
from ..tensor.export import attach_methods
from ..tensor.operators import attach_operators

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
attach_methods(Tensor)
attach_operators(Tensor)
