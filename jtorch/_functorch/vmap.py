"""``torch._functorch.vmap``: what libraries take from PyTorch's ``vmap``.

jtorch's own is :mod:`jtorch.func.vmap`, and works without batched tensors; replacing functions here does not change it.
"""

from .._C._functorch import _add_batch_dim, _missing, _remove_batch_dim
from ..func import vmap
from ..tensor import Tensor
from ..utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

_maybe_remove_batch_dim = _missing("_maybe_remove_batch_dim")


def _get_name(func) -> str:
    """What to call a function in a message."""
    return getattr(func, "__name__", None) or repr(func)


__all__ = ["Tensor", "_add_batch_dim", "_broadcast_to_and_flatten", "_get_name", "_maybe_remove_batch_dim",
           "_remove_batch_dim", "tree_flatten", "tree_unflatten", "vmap"]  # fmt: skip
