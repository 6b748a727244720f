"""Tensors, modules and state dicts between jtorch and PyTorch, where PyTorch is installed."""

from __future__ import annotations

import numpy as np

import jtorch


def _torch():
    try:
        import torch
    except ImportError:
        raise ImportError("jtorch.interop.torch needs PyTorch: pip install torch") from None
    return torch


def from_torch(tensor):
    """A jtorch tensor with a copy of a PyTorch tensor's data (``requires_grad`` is kept)."""
    torch = _torch()
    data = tensor.detach().cpu()
    if data.dtype is torch.bfloat16:
        out = jtorch.from_numpy(data.float().numpy()).to(jtorch.bfloat16)
    else:
        out = jtorch.from_numpy(np.ascontiguousarray(data.resolve_conj().resolve_neg().numpy()))
    return out.reshape(tuple(tensor.shape)).requires_grad_(tensor.requires_grad)


def to_torch(tensor):
    """A PyTorch CPU tensor with a copy of a jtorch tensor's data (``requires_grad`` is kept)."""
    torch = _torch()
    data = tensor.detach().cpu()
    if data.dtype is jtorch.bfloat16:
        out = torch.from_numpy(data.float().numpy()).to(torch.bfloat16)
    else:
        out = torch.from_numpy(data.numpy())
    return out.requires_grad_(tensor.requires_grad)


def load_module(module, other) -> None:
    """Copy the parameters and buffers of a PyTorch module into a jtorch module of the same structure, strictly."""
    module.load_state_dict({name: from_torch(t) for name, t in other.state_dict().items()})
