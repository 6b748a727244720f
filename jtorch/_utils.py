"""``torch._utils``: the helpers that programs import from there."""

from __future__ import annotations

import jtorch


def _flatten_dense_tensors(tensors):
    """The elements of several tensors of one dtype, one after another, in one vector."""
    return jtorch.cat([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat, tensors) -> tuple:
    """Views of a flat vector with the shapes of ``tensors``: undoes :func:`_flatten_dense_tensors`."""
    pieces = flat.split([t.numel() for t in tensors])
    return tuple(piece.view(t.shape) for piece, t in zip(pieces, tensors, strict=True))


def _element_size(dtype) -> int:
    """Bytes of one element."""
    return dtype.itemsize


def is_compiling() -> bool:
    """Whether :func:`jtorch.compile` is capturing."""
    return jtorch.compiler.is_compiling()


def _get_device_index(device, optional: bool = False, allow_cpu: bool = False) -> int:
    """The index of a device given as an int, a string or a device; the current one for None if ``optional``."""
    if isinstance(device, int):
        return device
    if device is None:
        if not optional:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got: {device}")
        return jtorch.cuda.current_device()
    device = jtorch.device(device)
    if device.type == "cpu" and allow_cpu:
        return -1
    return device.index if device.index is not None else jtorch.cuda.current_device()


def _get_available_device_type() -> str | None:
    """The type of accelerator that there is, or None."""
    device = jtorch.accelerator.current_accelerator()
    return None if device is None else device.type


def _get_device_module(device_type: str):
    """The module of a type of device, ``torch.cuda`` for ``"cuda"``.

    Raises:
        RuntimeError: there is none.
    """
    module = getattr(jtorch, device_type, None)
    if module is None:
        raise RuntimeError(
            f"Device '{device_type}' does not have a corresponding module registered as 'torch.{device_type}'."
        )
    return module
