"""``torch.library``: operations of one's own, with a name, a gradient and a place in ``torch.ops``.

The body is Python on jtorch tensors, so what it records is compiled together with everything around it.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Union, get_args, get_origin

from ._ops import find, implement, register
from .amp import autocast, is_autocast_enabled
from .autograd.function import Function
from .devices import device
from .dispatch_keys import below_autograd
from .dtypes import dtype, float64
from .tensor.tensor import Tensor
from .trace import capture
from .types import Number
from .utils._pytree import tree_map_only


def _split(qualname: str) -> tuple[str, str]:
    namespace, found, name = qualname.partition("::")
    if not found or not namespace or not name:
        raise ValueError(
            f"Expected `qualname` to be of the form 'namespace::name', got {qualname!r}. The qualname passed to the "
            "torch.library API must consist of a namespace and a name, e.g. aten::sin"
        )
    return namespace, name


class CustomOpDef:
    """What :func:`custom_op` returns: callable, and the place where a gradient is registered."""

    def __init__(self, qualname: str, function: Callable, mutates_args):
        self._qualname, self._function = qualname, function
        self._namespace, self._name = _split(qualname)
        self._mutates = mutates_args
        self._by_device: dict[str, Callable] = {}
        self._cast: dict[str, dtype] = {}  # what tensors are cast to under autocast, by type of device
        self._backward = self._setup_context = None
        self._signature = inspect.signature(function)
        self.__name__, self.__doc__ = self._name, function.__doc__
        self._opoverload = register(self._namespace, self._name, self).default

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args, **kwargs):
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for device_type, kind in self._cast.items():
            if is_autocast_enabled(device_type):
                with autocast(device_type, enabled=False):
                    return _make_function(self).apply(*_all_cast(bound.args, device_type, kind))
        return _make_function(self).apply(*bound.args)

    def _run(self, *args):
        device = next((a.device.type for a in args if isinstance(a, Tensor)), None)
        with capture.allowed():  # whatever the body does
            return self._by_device.get(device, self._function)(*args)

    def register_fake(self, fn: Callable) -> Callable:
        """Accepted: shapes are found by tracing the body itself, so nothing needs the fake one."""
        return fn

    def register_kernel(self, device_types, fn: Callable | None = None):
        """Another body for tensors on the given type(s) of device. Also a decorator."""

        def add(fn):
            for device_type in [device_types] if isinstance(device_types, str) else device_types or ():
                self._by_device[device_type] = fn
            return fn

        return add if fn is None else add(fn)

    def register_autograd(self, backward: Callable, /, *, setup_context: Callable | None = None) -> None:
        """The gradient: ``backward(ctx, *grads)``, after ``setup_context(ctx, inputs, output)`` saved what it needs.

        Raises:
            RuntimeError: the operation mutates its arguments.
        """
        if self._mutates:
            raise RuntimeError(f"Cannot register autograd formula for non-functional operator {self._qualname}.")
        self._backward, self._setup_context = backward, setup_context

    def register_vmap(self, func: Callable | None = None):
        """Raises NotImplementedError: vmap goes through the operations the body records."""
        raise NotImplementedError(
            f"register_vmap({self._qualname}): write the body with jtorch operations; vmap batches those"
        )


def _all_cast(args, device_type: str, kind):
    """The arguments, with tensors on such a device of a floating dtype (but float64) in another one."""

    def cast(x: Tensor) -> Tensor:
        wanted = x.is_floating_point() and x.device.type == device_type and x.dtype is not float64
        return x.to(kind) if wanted else x

    return tree_map_only(Tensor, cast, args)


def _make_function(op: CustomOpDef) -> type[Function]:
    def setup_context(ctx, inputs, output):
        if op._setup_context is not None:
            op._setup_context(ctx, inputs, output)

    def backward(ctx, *grads):
        if op._backward is None:
            raise RuntimeError(
                f"Trying to backward through {op._qualname} but no autograd formula was registered. Please use "
                "register_autograd to add one."
            )
        return op._backward(ctx, *grads)

    return type(f"GeneratedBackwardFor_{re.sub('[:.]+', '_', op._qualname)}_default", (Function,), {
        "forward": staticmethod(op._run), "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
    })  # fmt: skip


class _OfLibrary(CustomOpDef):
    """The gradient of an operation that has its body from a :class:`Library`."""

    def __init__(self, packet):
        self._packet, self._qualname, self._name = packet, str(packet), packet.__name__
        self._mutates, self._backward, self._setup_context = (), None, None

    def __call__(self, *args, **kwargs):
        if kwargs:
            bound = inspect.signature(self._packet._function).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        return _make_function(self).apply(*args)

    def _run(self, *args):
        with below_autograd():
            return self._packet(*args)


_definitions: dict[str, CustomOpDef] = {}

Tag = enum.Enum("Tag", [
    "core", "cudagraph_unsafe", "data_dependent_output", "dynamic_output_shape", "flexible_layout", "generated",
    "inplace", "inplace_view", "maybe_aliasing_or_mutating", "needs_contiguous_strides", "needs_exact_strides",
    "needs_fixed_stride_order", "nondeterministic_bitwise", "nondeterministic_seeded", "out", "out_variant",
    "pointwise", "pt2_compliant_tag", "reduction", "view_copy",
])  # fmt: skip
Tag.__doc__ = "What may be said of an operation that is defined; accepted, since its body is traced and tells all that."

_SINGLE = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", Number: "Scalar", dtype: "ScalarType",
    device: "Device",
}  # fmt: skip


def _schema_type(note) -> str:
    """How a schema spells an annotation.

    Raises:
        ValueError: it has no such type.
    """
    origin, inner = get_origin(note), get_args(note)
    if origin in (Union, types.UnionType):
        rest = [kind for kind in inner if kind is not type(None)]
        if set(rest) == {int, float, bool}:
            spelled = "Scalar"
        elif len(rest) == 1:
            spelled = _schema_type(rest[0])
        else:
            raise ValueError(f"unsupported type {note}")
        return spelled + "?" * (len(rest) < len(inner))
    if origin in (list, Sequence) and len(inner) == 1:
        return f"{_schema_type(inner[0])}[]"
    if note not in _SINGLE:
        raise ValueError(f"unsupported type {note}")
    return _SINGLE[note]


def _schema_default(value) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dtype):
        return repr(value).removeprefix("torch.")
    if isinstance(value, device):
        return f'"{value}"'
    raise ValueError(f"unsupported default value type {type(value)}")


def infer_schema(prototype_function: Callable, /, *, mutates_args, op_name: str | None = None, tags=()) -> str:
    """The schema of an operation, as :func:`define` takes it, by the annotations of a function.

    Args:
        mutates_args: names of the arguments it writes to, or ``"unknown"``: perhaps all tensors.
        op_name: stands before the arguments.
        tags: accepted.

    Raises:
        ValueError: an argument has no annotation, or it or its default is of a type that schemas do not have; or
            ``mutates_args`` names none of the arguments.
    """
    signature = inspect.signature(prototype_function, eval_str=True)

    def refuse(what: str):
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    parts, starred = [], False
    unknown = set() if mutates_args == "unknown" else set(mutates_args) - signature.parameters.keys()
    if unknown:
        refuse(f"{unknown} in mutates_args were not found in the custom op's signature.")
    for number, (name, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            refuse("We do not support positional-only args, varargs, or varkwargs.")
        if parameter.annotation is parameter.empty:
            refuse(f"Parameter {name} must have a type annotation.")
        try:
            kind = _schema_type(parameter.annotation)
            default = "" if parameter.default is parameter.empty else f"={_schema_default(parameter.default)}"
        except ValueError as error:
            refuse(f"Parameter {name} has {str(error).replace('unsupported', 'an unsupported', 1)}.")
        if kind.startswith("Tensor") and (mutates_args == "unknown" or name in mutates_args):
            kind = f"Tensor(a{number}!){kind.removeprefix('Tensor')}"
        parts.append(f"{kind} {name}{default}")
    result = signature.return_annotation
    try:
        if result is None:
            returned = "()"
        elif get_origin(result) is tuple:
            returned = f"({', '.join(map(_schema_type, get_args(result)))})"
        else:
            returned = _schema_type(result)
    except ValueError as error:
        refuse(f"Return has {error}.")
    return f"{op_name or ''}({', '.join(parts)}) -> {returned}"


def register_autocast(op, device_type: str, cast_inputs, /, *, lib=None) -> None:
    """While autocast is on for ``device_type``, tensors of a floating dtype reach the operation as ``cast_inputs``.

    Raises:
        ValueError: ``device_type`` is neither ``"cpu"`` nor ``"cuda"``.
    """
    if device_type not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device type: {device_type}")
    _find(op)._cast[device_type] = cast_inputs


def register_vmap(op, func: Callable | None = None, /, *, lib=None):
    """See :meth:`CustomOpDef.register_vmap`, which refuses."""
    return _find(op).register_vmap(func)


def wrap_triton(triton_kernel: Callable, /):
    """See :func:`triton_op`, which refuses."""
    triton_op(getattr(triton_kernel, "__name__", "kernel"), mutates_args=())


def fallthrough_kernel() -> None:
    """To be given to ``Library.impl``, for keys under which an operation has no body of its own."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


def custom_op(name: str, fn: Callable | None = None, /, *, mutates_args: str | Iterable[str], device_types=None,
              schema: str | None = None, tags=None):  # fmt: skip
    """Make a Python function an operation ``namespace::name``, also found as ``torch.ops.namespace.name``.

    Args:
        mutates_args: names of the arguments it writes to, or ``"unknown"``.
        device_types: accepted; further bodies are added by :meth:`CustomOpDef.register_kernel`.

    Raises:
        ValueError: the name has no namespace.
    """

    def define(fn):
        names = [] if mutates_args == "unknown" else list(mutates_args)
        op = CustomOpDef(name, fn, names)
        _definitions[name] = op
        return op

    return define if fn is None else define(fn)


def triton_op(name, fn=None, /, *, mutates_args, schema=None):
    """Raises NotImplementedError, naming the ways to a kernel of one's own."""
    raise NotImplementedError(
        f"triton_op({name!r}): XLA does not launch Triton kernels written for PyTorch. Write a Pallas kernel and bring "
        "it in with jtorch.interop.jax, or write the operation with jtorch ops."
    )


def _find(op) -> CustomOpDef:
    name = op if isinstance(op, str) else op._qualname if isinstance(op, CustomOpDef) else op.name()
    if name not in _definitions:
        raise RuntimeError(f"{name}: no such operation was defined with torch.library.custom_op")
    return _definitions[name]


def register_fake(op, func: Callable | None = None, /, **_):
    """Accepted: shapes are found by tracing the body itself."""
    return (lambda fn: fn) if func is None else func


impl_abstract = register_fake


def register_kernel(op, device_types, func: Callable | None = None, /, **_):
    """:meth:`CustomOpDef.register_kernel` by name."""
    return _find(op).register_kernel(device_types, func)


def register_autograd(op, backward: Callable, /, *, setup_context: Callable | None = None, lib=None) -> None:
    """:meth:`CustomOpDef.register_autograd` by name; the gradient of a :class:`Library`'s operation likewise."""
    if isinstance(op, CustomOpDef) or op in _definitions:
        _find(op).register_autograd(backward, setup_context=setup_context)
        return
    packet = find(*_split(op if isinstance(op, str) else op.name()))
    if packet._differentiable:
        return
    definition = _OfLibrary(packet)
    definition.register_autograd(backward, setup_context=setup_context)
    packet._by_key["Autograd"] = definition


class Library:
    """The older way: ``define`` a schema, then ``impl`` a body for it."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._schemas: dict[str, str] = {}

    def define(self, schema: str, alias_analysis: str = "", *, tags=()) -> str:
        """Declare ``name(Tensor x, ...) -> Tensor``; returns the name."""
        name = schema.partition("(")[0].strip()
        self._schemas[name] = schema
        return name

    def impl(self, op_name, fn: Callable, dispatch_key: str = "", *, with_keyset: bool = False,
             allow_override: bool = False) -> None:  # fmt: skip
        """The body of a declared operation, or another one where ``dispatch_key`` applies (:mod:`.dispatch_keys`)."""
        name = op_name if isinstance(op_name, str) else op_name.name()
        implement(self.ns, name.rpartition("::")[2].partition(".")[0], fn, dispatch_key or self.dispatch_key)


def define(qualname: str, schema: str, *, lib=None, tags=()) -> None:
    """Declare an operation; :func:`impl` gives it a body."""
    _split(qualname)


def impl(qualname: str, types, func: Callable | None = None, *, lib=None):
    """Give an operation a body. Also a decorator."""

    def add(fn):
        register(*_split(qualname), fn)
        return fn

    return add if func is None else add(func)
