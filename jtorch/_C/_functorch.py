"""``torch._C._functorch``: what libraries ask of PyTorch's batched tensors.

jtorch's ``vmap`` records its function once, on tensors of one sample's shape: there is no tensor that carries a hidden
dimension, and so none to add one to or to take one from.
"""

from __future__ import annotations


def is_batchedtensor(tensor) -> bool:
    """False: inside ``vmap`` a tensor has one sample's shape and nothing else to it."""
    return False


def get_unwrapped(tensor):
    """Raises RuntimeError: there is nothing around the tensor."""
    raise RuntimeError("No wrappers present!")


def _missing(name: str):
    def function(*args, **kwargs):
        raise NotImplementedError(
            f"torch._C._functorch.{name}: jtorch's vmap has no batched tensors; "
            "call torch.vmap on a function of plain tensors instead"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Raises NotImplementedError: there are no batched tensors."
    return function


_add_batch_dim = _missing("_add_batch_dim")
_remove_batch_dim = _missing("_remove_batch_dim")
