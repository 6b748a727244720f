"""Decorators of pipes, under PyTorch's path."""

from jtorch.utils.data.datapipes.datapipe import functional_datapipe

__all__ = ["functional_datapipe"]
