"""``torch.library``: operations of one's own, with a name, a gradient and a place in ``torch.ops``.

The body is Python on jtorch tensors, so what it records is compiled together with everything around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

from ._ops import find, implement, register
from .autograd.function import Function
from .dispatch_keys import below_autograd
from .tensor.tensor import Tensor


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
        self._backward = self._setup_context = None
        self._signature = inspect.signature(function)
        self.__name__, self.__doc__ = self._name, function.__doc__
        self._opoverload = register(self._namespace, self._name, self).default

    def __call__(self, *args, **kwargs):
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _make_function(self).apply(*bound.args)

    def _run(self, *args):
        device = next((a.device.type for a in args if isinstance(a, Tensor)), None)
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

    return type(op._name, (Function,), {
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

    def impl(self, op_name, fn: Callable, dispatch_key: str = "", *, with_keyset: bool = False) -> None:
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
