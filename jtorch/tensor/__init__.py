"""Tensors: storages, lenses, dispatch, and everything a Tensor can do by itself."""

from .tensor import Tensor

__all__ = ["Tensor"]
