"""``torch._utils``: the helpers that programs import from there."""

from __future__ import annotations

import jtorch


def _rebuild_tensor(storage, storage_offset, size, stride):
    """The tensor of this geometry over a typed storage, whose elements it shares."""
    return jtorch.empty((0,), dtype=storage.dtype, device=storage.device).set_(storage, storage_offset, size, stride)


def _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None):
    """:func:`_rebuild_tensor`, as pickles of tensors call it.

    Args:
        backward_hooks: a dict of hooks on the gradient, empty in what PyTorch writes today.
        metadata: ``{"conj": True}`` or ``{"neg": True}`` where the elements stand for their conjugates or negatives.

    Raises:
        RuntimeError: the geometry reaches beyond the storage.
    """
    t = _without_bits(_rebuild_tensor(storage, storage_offset, size, stride), metadata)
    return _with_hooks(t.requires_grad_(requires_grad), backward_hooks)


def _rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None):
    """:func:`_rebuild_tensor_v2` over bytes, for dtypes that have no typed storage."""
    t = jtorch.empty((0,), dtype=dtype, device=storage.device)
    t = _without_bits(t.set_(storage.untyped(), storage_offset, size, stride), metadata)
    return _with_hooks(t.requires_grad_(requires_grad), backward_hooks)


def _without_bits(t, metadata):
    for bit, undone in (("conj", jtorch.conj_physical), ("neg", jtorch.neg)):  # bits that no tensor here carries
        if (metadata or {}).get(bit):
            t = undone(t)
    return t


def _with_hooks(t, hooks):
    for hook in (hooks or {}).values():
        t.register_hook(hook)
    return t


def _rebuild_parameter(data, requires_grad, backward_hooks):
    """A Parameter over ``data``."""
    return _with_hooks(jtorch.nn.Parameter(data, requires_grad), backward_hooks)


def _rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    """:func:`_rebuild_parameter` with the attributes a program hung on it."""
    return _set_obj_state(_rebuild_parameter(data, requires_grad, backward_hooks), state)


def _set_obj_state(obj, state):
    """``obj`` with the attributes of ``state``: a dict, or a pair of dicts of which the second is for slots.

    Raises:
        RuntimeError: a tuple that is no pair.
    """
    if isinstance(state, tuple) and len(state) != 2:
        raise RuntimeError(f"Invalid serialized state: {state}: expected a dict or a pair of dicts")
    for attributes in state if isinstance(state, tuple) else (state,):
        for name, value in (attributes or {}).items():
            setattr(obj, name, value)
    return obj


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
