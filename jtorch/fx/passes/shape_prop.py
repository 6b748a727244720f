"""``torch.fx.passes.shape_prop``: shapes and dtypes of all values, by running the graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import jtorch

from ..interpreter import Interpreter
from ..node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(NamedTuple):
    """What is noted of a tensor."""

    shape: jtorch.Size
    dtype: jtorch.dtype
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: jtorch.memory_format | None
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: jtorch.Tensor, include_contiguity: bool = True) -> TensorMetadata:
    """The metadata of a tensor.

    Args:
        include_contiguity: find out its memory format.
    """
    memory_format = None
    if include_contiguity:
        formats = (jtorch.contiguous_format, jtorch.channels_last, jtorch.channels_last_3d)
        dims = {jtorch.channels_last: 4, jtorch.channels_last_3d: 5}
        memory_format = next(
            (f for f in formats if dims.get(f, result.dim()) == result.dim() and result.is_contiguous(memory_format=f)),
            None,
        )
    return TensorMetadata(
        result.shape, result.dtype, result.requires_grad, tuple(result.stride()), memory_format,
        bool(result.is_quantized), {},
    )  # fmt: skip


class ShapeProp(Interpreter):
    """Runs a graph and notes the shape and dtype of each result in ``node.meta["tensor_meta"]``.

    Args:
        gm: the module.
        fake_mode: give inputs on the ``meta`` device instead, for shapes without computation.

    Raises:
        NotImplementedError: ``fake_mode`` is given.
    """

    def __init__(self, gm, fake_mode=None):
        super().__init__(gm)
        if fake_mode is not None:
            raise NotImplementedError("ShapeProp(fake_mode=...): propagate tensors of device='meta' instead")

    def run_node(self, n: Node):
        result = super().run_node(n)
        found = False

        def note(x):
            nonlocal found
            if isinstance(x, jtorch.Tensor):
                found = True
                return _extract_tensor_metadata(x)
            return x

        meta = map_aggregate(result, note)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args):
        """Run the graph on these arguments."""
        return super().run(*args)
