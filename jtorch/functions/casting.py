"""Other dtype, other device, other memory order, other owner."""

from __future__ import annotations

import warnings

from .. import devices, dtypes
from ..ops.registry import OPS
from ..tape import engine, modes
from ..tensor import Tensor, layout
from ..tensor.creation import dtype_of
from ..tensor.dispatch import dispatch, wrap
from ..tensor.export import composite
from ..trace.value import move


def _cast(x: Tensor, d: dtypes.dtype) -> Tensor:
    out = dispatch(OPS["to_dtype"], (x,), (d,))
    _keep_order(x, out)
    return out


def _keep_order(x: Tensor, out: Tensor) -> None:
    if x._lens is not None or x._strides is not None:
        from ..tensor.layout import dense_strides

        if not x.is_contiguous():
            out._strides = dense_strides(tuple(x.shape), x.stride())


class _MoveNode(engine.Node):
    """Backward of a copy between devices: the gradient is copied back."""

    __slots__ = ("source",)

    def __init__(self, edge, aval, source, target):
        super().__init__((edge,), (aval,), target)
        self.source = source

    def name(self) -> str:
        return "ToCopyBackward0"

    def apply(self, grads, create_graph):
        grad = grads[0]
        if create_graph:
            edge = None if grad.edge is None else (_MoveNode(grad.edge, grad.value.aval, self.device, self.source), 0)
            return [engine.Tracked(move(grad.value, self.source), edge)]
        return [move(grad, self.source)]


def _moved(x: Tensor, device: devices.device) -> Tensor:
    value = x._value()
    edge = x._history() if modes.state.grad and value.aval.is_float else None
    if edge is not None:
        edge = (_MoveNode(edge, value.aval, value.device, device), 0)
    return wrap(move(value, device), edge)


@composite(method=True)
def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """Another dtype and/or device: ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``.

    Returns self when nothing changes and ``copy`` is false.
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, dtypes.dtype) or any(a is kind for kind in (float, int, bool, complex)):
            dtype = dtype_of(a)
        elif isinstance(a, bool):
            continue  # non_blocking or copy given by position
        elif isinstance(a, (str, int, devices.device)):
            device = a
        elif a is not None:
            raise TypeError(f"to() received an invalid combination of arguments - got {type(a).__name__}")
    if len(args) > 1 and isinstance(args[-1], bool):
        flags = [a for a in args if isinstance(a, bool)]
        copy = copy or len(flags) > 1 and flags[1]
    out = self
    if device is not None:
        target = devices.resolve(device)
        if target is not self.device:
            out = _moved(out, target)
    if dtype is not None:
        d = dtype_of(dtype)
        if d is not out.dtype:
            out = _cast(out, d)
    if memory_format not in (None, layout.preserve_format) and not out.is_contiguous(memory_format):
        out = contiguous(out, memory_format=memory_format)
    return clone(self) if copy and out is self else out


def _caster(name: str, d: dtypes.dtype):
    def cast(self, memory_format=None):
        return self if self.dtype is d else _cast(self, d)

    return composite(method=True, name=name, doc=f"This tensor as {d}; self when it is already.")(cast)


for _name, _dtype in {
    **dtypes.ALIASES, "bool": dtypes.bool_, "byte": dtypes.uint8, "char": dtypes.int8, "bfloat16": dtypes.bfloat16,
    "chalf": dtypes.NAMED["complex32"],  # which says that there is no such tensor
}.items():  # fmt: skip
    _caster(_name, _dtype)


@composite(method=True)
def type(self, dtype=None, non_blocking=False):
    """Without an argument the type's name (``'torch.FloatTensor'``), else this tensor converted."""
    if dtype is None:
        kind = self.device.type
        prefix = "torch." if kind == "cpu" else f"torch.{kind}."
        return f"{prefix}{self.dtype.legacy_name}Tensor"
    if isinstance(dtype, str):
        name = dtype.rsplit(".", 1)[-1].removesuffix("Tensor")
        named = next((d for d in dtypes.ALL if d.legacy_name == name), None) if name else dtypes.get_default_dtype()
        if named is None:
            raise ValueError(f"invalid type: {dtype!r}")
        dtype = named
    elif dtype is Tensor:
        dtype = dtypes.get_default_dtype()
    elif hasattr(dtype, "dtype") and not isinstance(dtype, dtypes.dtype):
        dtype = dtype.dtype
    return self.to(dtype)


@composite(method=True)
def type_as(self, other):
    """This tensor with ``other``'s dtype and device."""
    return self.to(dtype=other.dtype, device=other.device)


@composite(method=True)
def cpu(self, memory_format=None):
    """This tensor in host memory; self when it is there."""
    return self.to(device=devices.CPU)


@composite(method=True)
def cuda(self, device=None, non_blocking=False, memory_format=None):
    """This tensor on a GPU.

    Raises:
        RuntimeError: there is none.
    """
    return self.to(device=devices.device("cuda", 0 if device is None else devices.device(device).index or 0))


def _absent(kind: str):
    def move_there(self, device=None, non_blocking=False, memory_format=None):
        raise RuntimeError(f"{kind}(): jtorch has no {kind} devices; torch.accelerator names the one there is")

    composite(method=True, name=kind, doc="Raises RuntimeError: there is no such device.")(move_there)


for _kind in ("xpu", "mtia", "ipu"):
    _absent(_kind)


@composite("torch", method=True)
def clone(input, *, memory_format=None):
    """A copy with storage of its own; gradients flow through."""
    out = dispatch(OPS["_identity"], (input,), ())
    if memory_format in (None, layout.preserve_format):
        _keep_order(input, out)
    elif memory_format is not layout.contiguous_format:
        out._strides = layout.channels_last_strides(tuple(out.shape))
    return out


@composite(method=True)
def contiguous(self, memory_format=layout.contiguous_format):
    """This tensor with elements in row-major (or ``memory_format``'s) order; self when they are."""
    return self if self.is_contiguous(memory_format) else clone(self, memory_format=memory_format)


@composite(method=True)
def pin_memory(self, device=None):
    """Self: XLA stages host memory by itself."""
    return self


@composite(method=True)
def share_memory_(self):
    """Self, with a warning: tensors are sent between processes by value, and no process sees what another writes."""
    warnings.warn(
        "share_memory_(): tensors are sent to other processes by value; what one process writes later, the others do "
        "not see. Send results back through a queue, or use torch.distributed",
        stacklevel=2,
    )
    return self


@composite("torch")
def detach(input):
    """The same storage without history."""
    return input.detach()


@composite("torch", method=True)
def result_type(tensor, other):
    """The dtype arithmetic on the two would give."""
    levels = [None, None, None]
    for x in (tensor, other):
        if isinstance(x, Tensor):
            i, d = (0 if x.dim() else 1), x.dtype
        else:
            i, d = 2, dtypes.of_python(x.__class__)
        levels[i] = d if levels[i] is None else dtypes.promote_types(levels[i], d)
    return dtypes.result_of(*levels)
