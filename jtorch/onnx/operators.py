"""``torch.onnx.operators``: sizes as tensors, kept for older programs."""

from __future__ import annotations

import jtorch


def shape_as_tensor(x):
    """The sizes of a tensor as a tensor."""
    return jtorch.tensor(x.shape)


def reshape_from_tensor_shape(x, shape):
    """``x`` in the sizes that the tensor ``shape`` holds; they are read."""
    return x.reshape(shape.tolist())
