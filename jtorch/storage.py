"""``torch.storage``: the storage classes under PyTorch's path."""

from __future__ import annotations

import io

import jtorch

from .functions.storages import EXPORTS as _exports

globals().update(_exports)
__all__ = sorted(_exports)


def _load_from_bytes(b: bytes):
    """The storage in what :func:`jtorch.save` made of it; ``pickle`` writes the storages of PyTorch's tensors so."""
    return jtorch.load(io.BytesIO(b), weights_only=False)
