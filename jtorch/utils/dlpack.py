"""``torch.utils.dlpack``: tensors to and from other libraries."""

from jtorch.tensor.creation import from_dlpack


def to_dlpack(tensor):
    """A DLPack capsule of the tensor's memory, for a library that asks for one; it must not be written to."""
    return tensor.__dlpack__()


__all__ = ["from_dlpack", "to_dlpack"]
