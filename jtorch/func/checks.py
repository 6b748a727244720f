"""What functions that are differentiated may return."""

from __future__ import annotations

from ..tensor import Tensor
from ..utils import _pytree as pytree


def split(api: str, result, has_aux: bool):
    """``(output, aux)`` of what a function returned; aux is None where none is asked for.

    Raises:
        RuntimeError: no such pair, or aux holds anything but tensors.
    """
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
    for x in pytree.tree_flatten(result[1])[0]:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(x)}")
    return result


def tensors_of(api: str, out):
    """The tensors of an output, and how they are nested.

    Raises:
        RuntimeError: there are none, or other things beside.
    """
    flat, form = pytree.tree_flatten(out)
    if not flat or flat == [None]:
        raise RuntimeError(f"{api}: Expected f to be a function that has non-empty output (got output = {flat})")
    for x in flat:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{api}: expected f(*primals) to return only tensors, got unsupported type {type(x)}")
    return flat, form


__all__ = ["split", "tensors_of"]
