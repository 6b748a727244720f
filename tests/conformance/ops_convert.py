"""PyTorch's sample arguments and helper functions as jtorch's, and jtorch's results as PyTorch's tensors."""

from __future__ import annotations

import builtins
import copy
import functools
import inspect
import types

import numpy as np
import torch
from torch.testing._internal.opinfo.core import SampleInput

import jtorch

from .both import converted as plain_converted

#: Bit patterns travel as integers where NumPy has no such dtype.
_BITS = {
    torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8, torch.float8_e5m2fnuz: torch.uint8,
}  # fmt: skip


def ours(value, seen: dict | None = None):
    """A value of PyTorch's as jtorch's: tensors keep strides, offsets and ``requires_grad``; one object stays one."""
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        if id(value) not in seen:
            seen[id(value)] = _tensor(value, seen)
        return seen[id(value)]
    if isinstance(value, SampleInput):
        made = copy.copy(value)
        made.input, made.args, made.kwargs = (ours(v, seen) for v in (value.input, value.args, value.kwargs))
        return made
    if isinstance(value, torch.Size):
        return jtorch.Size(value)
    if isinstance(value, torch.Generator):
        return jtorch.Generator().manual_seed(value.initial_seed())
    if isinstance(value, (torch.memory_format, torch.layout)):
        return getattr(jtorch, str(value).removeprefix("torch."))
    if isinstance(value, dict):
        return {name: ours(entry, seen) for name, entry in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(ours(entry, seen) for entry in value)
    if isinstance(value, types.FunctionType):
        return transplanted(value)
    return plain_converted(value, {})


def _tensor(x, seen):
    if x.layout is not torch.strided:
        return _sparse(x)
    if x.device.type == "meta":
        return jtorch.empty(tuple(x.shape), dtype=ours(x.dtype), device="meta", requires_grad=x.requires_grad)
    given, x = x, x.detach().resolve_conj().resolve_neg()
    storage = x.untyped_storage()
    place = storage.data_ptr(), x.dtype
    if place in seen:  # of a tensor that shares its memory
        made = seen[place].as_strided(tuple(x.shape), x.stride(), x.storage_offset())
    elif x.is_contiguous() and storage.size() == x.numel() * x.itemsize:
        made = _dense(x)
        if x.numel() and not given.requires_grad:
            seen[place] = made
    else:  # the same elements in memory, seen through the same strides
        memory = _dense(torch.empty(0, dtype=x.dtype).set_(storage, 0, (storage.size() // x.itemsize,)))
        if x.numel() and not given.requires_grad:
            seen[place] = memory
        made = memory.as_strided(tuple(x.shape), x.stride(), x.storage_offset())
    if given.requires_grad:
        made = made.detach().requires_grad_()
    return jtorch.nn.Parameter(made) if isinstance(given, torch.nn.Parameter) else made


def _dense(x):
    if x.dtype is torch.complex32:
        raise NotImplementedError("tensors of dtype torch.complex32 are not supported: XLA has no such type")
    if x.dtype in _BITS:
        return jtorch.tensor(x.view(_BITS[x.dtype]).numpy().copy()).view(ours(x.dtype)).clone()  # no view
    if x.dim() > 64:  # more than NumPy has
        return jtorch.tensor(x.flatten().numpy().copy()).reshape(tuple(x.shape))
    return jtorch.tensor(x.numpy().copy())


def _sparse(x):
    given, x = x, x.detach()
    if x.layout is torch.sparse_coo:
        parts = ours(x._indices()), ours(x._values())
        made = jtorch.sparse_coo_tensor(*parts, tuple(x.shape), is_coalesced=x.is_coalesced() or None)
    elif x.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = ours(x.crow_indices()), ours(x.col_indices()), ours(x.values())
        made = jtorch.sparse_compressed_tensor(*parts, tuple(x.shape), layout=ours(x.layout))
    else:
        parts = ours(x.ccol_indices()), ours(x.row_indices()), ours(x.values())
        made = jtorch.sparse_compressed_tensor(*parts, tuple(x.shape), layout=ours(x.layout))
    return made.requires_grad_() if given.requires_grad else made


def theirs(x) -> torch.Tensor:
    """A jtorch tensor as a PyTorch one, dense and detached."""
    x = x.detach()
    if x.layout is not jtorch.strided:
        x = x.to_dense()
    dtype = getattr(torch, str(x.dtype).removeprefix("jtorch.").removeprefix("torch."))
    if x.is_meta:
        return torch.empty(tuple(x.shape), dtype=dtype, device="meta")
    if dtype in _BITS:
        return torch.from_numpy(x.view(ours(_BITS[dtype])).numpy().copy()).view(dtype).reshape(tuple(x.shape))
    return torch.from_numpy(np.array(x.resolve_conj().resolve_neg().numpy()))


def fresh(sample):
    """A deep copy of a sample whose tensors are leaves with the same strides."""
    seen: dict = {}

    def copied(value):
        if isinstance(value, torch.Tensor):
            if id(value) not in seen:
                plain = value.detach()
                plain = copy.deepcopy(plain) if plain.layout is torch.strided else plain.clone()
                seen[id(value)] = plain.requires_grad_(value.requires_grad)
            return seen[id(value)]
        if isinstance(value, dict):
            return {name: copied(entry) for name, entry in value.items()}
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") and not isinstance(value, torch.Size):
            return type(value)(copied(entry) for entry in value)
        return value

    made = copy.copy(sample)
    made.input, made.args, made.kwargs = copied(sample.input), copied(sample.args), copied(sample.kwargs)
    return made


# --- functions -----------------------------------------------------------------------------------------------------


def find(path: str, root):
    """``find("nn.functional.relu", jtorch)``, or None."""
    for part in path.split("."):
        root = getattr(root, part, None)
        if root is None:
            return None
    return root


@functools.cache
def transplanted(function: types.FunctionType):
    """A helper of PyTorch's tables (a lambda, a wrapper) as one that says ``jtorch`` where it said ``torch``.

    Any other callable is looked up by its name.
    """
    if isinstance(function, functools.partial):
        return functools.partial(transplanted(function.func), *ours(function.args), **ours(function.keywords))
    if getattr(function, "__name__", None) == "wrapper_set_seed":
        return _seeded
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith("torch.testing"):
        return _namesake(function)
    scope = {"__builtins__": builtins, "__name__": function.__module__}
    for name in _names(function.__code__):
        if name in function.__globals__:
            scope[name] = _moved(function.__globals__[name])
    cells = tuple(types.CellType(_moved(c.cell_contents)) for c in function.__closure__ or ())
    made = types.FunctionType(function.__code__, scope, function.__name__, _moved(function.__defaults__), cells)
    made.__kwdefaults__ = _moved(function.__kwdefaults__)
    return made


def _names(code) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            found |= _names(constant)
    return found


def _moved(value):
    if isinstance(value, types.ModuleType) and (value.__name__ + ".").startswith("torch."):
        found = find(value.__name__.partition(".")[2], jtorch) if "." in value.__name__ else jtorch
        return value if found is None else found  # torch.testing's own modules stay
    if isinstance(value, types.FunctionType) and value.__module__.startswith("torch.testing"):
        return transplanted(value)
    if isinstance(value, type) and value.__module__.startswith("torch"):
        return getattr(jtorch, value.__name__, value)
    try:
        return ours(value)
    except (NotImplementedError, AttributeError):  # a table entry, say
        return value


def _seeded(function, *args, **kwargs):
    """As the tables' ``wrapper_set_seed``; theirs also puts the state back."""
    jtorch.manual_seed(42)
    return function(*args, **kwargs)


def _namesake(function):
    name = getattr(function, "__name__", "")
    for path in ("", "nn.functional.", "linalg.", "special.", "fft.", "Tensor."):
        if find(path + name, torch) is function:
            return find(path + name, jtorch)
    return None


def callable_of(op):
    """jtorch's counterpart of an entry's function, or None when there is none."""
    if isinstance(op.op, types.FunctionType) and op.op.__module__.startswith("torch.testing"):
        return transplanted(op.op)
    if isinstance(op.op, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return find(f"ops.{op.op}", jtorch)
    name = op.name.removeprefix("torch.")
    if op.op is getattr(torch.Tensor, name, None) or find(name, torch) is None:
        return find("Tensor." + name, jtorch)
    return find(name, jtorch)


def variant_of(function):
    """jtorch's counterpart of a method or in-place variant (a method of ``torch.Tensor``, or a helper)."""
    if isinstance(function, types.FunctionType) and function.__module__.startswith("torch.testing"):
        return transplanted(function)
    if isinstance(function, functools.partial):
        return transplanted(function)
    return getattr(jtorch.Tensor, function.__name__, None)
