"""``torch.fx.proxy``: values that record what is done with them."""

from __future__ import annotations

import dataclasses
import dis
import enum
import inspect
import operator
import sys
import traceback
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jtorch

from .._ops import OpOverload, OpOverloadPacket
from . import traceback as fx_traceback
from .codegen import magic_methods
from .graph import Graph
from .immutable_collections import immutable_dict, immutable_list
from .listening import Listening, tensor_methods
from .names import _known, spelled_out
from .node import Node, base_types

__all__ = ["Attribute", "GraphAppendingTracer", "ParameterProxy", "Proxy", "TraceError", "TracerBase"]
#: What the Nodes made while another one runs take over from it (:func:`torch.fx.traceback.preserve_node_meta`).
_KEPT_META = ("custom", "nn_module_stack", "source_fn_stack", "stack_trace")
_OURS = str(Path(__file__).parents[1])


class TraceError(ValueError):
    """The program does something with a Proxy that needs its value."""


class TracerBase:
    """Makes Nodes of what happens to Proxies. :class:`Tracer` traces whole programs with it."""

    graph: Graph
    record_stack_traces = False
    check_mutable_operations = False
    trace_asserts = False
    proxy_buffer_attributes = False
    traced_func_name = "forward"
    _record_forward_stack_traces_only = False

    @property
    def module_stack(self) -> OrderedDict:
        """The modules that are being called, outermost first: ``{path: (path, class)}``."""
        return self.__dict__.setdefault("_module_stack", OrderedDict())

    def create_node(self, kind: str, target, args: tuple, kwargs: dict, name=None, type_expr=None) -> Node:
        """A Node at the end of the graph. Arguments are those of :meth:`Graph.create_node`; to be overridden."""
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        if fx_traceback.has_preserved_node_meta():
            node.meta.update({k: v for k, v in fx_traceback.get_current_meta().items() if k in _KEPT_META})
        if self.module_stack:
            node.meta["nn_module_stack"] = self.module_stack.copy()
        return node

    def proxy(self, node: Node) -> Proxy:
        """The Proxy for a Node; to be overridden."""
        return Proxy(node, self)

    def create_proxy(
        self, kind: str, target, args: tuple, kwargs: dict, name=None, type_expr=None, proxy_factory_fn=None
    ) -> Proxy:
        """A Node with these arguments, which may hold Proxies, and the Proxy for it.

        Args:
            proxy_factory_fn: makes the Proxy instead of :meth:`proxy`.
        """
        args, kwargs = self.create_arg(args), self.create_arg(kwargs)
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise AssertionError(f"Expected args to be a tuple and kwargs a dict, got {type(args)} and {type(kwargs)}")
        node = self.create_node(kind, target, args, dict(kwargs), name, type_expr)
        proxy = self.proxy(node) if proxy_factory_fn is None else proxy_factory_fn(node)
        if self.record_stack_traces and not node.stack_trace:
            frames = [f for f in traceback.extract_stack() if not f.filename.startswith((_OURS, "<"))]
            node.stack_trace = "".join(traceback.StackSummary.from_list(frames).format()).strip()
        return proxy

    def create_arg(self, a: Any):
        """``a`` as an argument of a Node: Proxies replaced by their Nodes.

        Raises:
            NotImplementedError: it cannot be one.
        """
        if isinstance(a, Proxy):
            return a.node
        if hasattr(a, "__fx_create_arg__"):
            return a.__fx_create_arg__(self)
        if isinstance(a, tuple):
            parts = [self.create_arg(x) for x in a]
            return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
        if isinstance(a, list):
            return immutable_list([self.create_arg(x) for x in a])
        if isinstance(a, dict):
            return immutable_dict(self._entries(a))
        if isinstance(a, slice):
            return slice(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, range):
            return range(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, (Node, OpOverload, OpOverloadPacket)):
            return a
        if dataclasses.is_dataclass(a) and not isinstance(a, type):
            fields = {f.name: self.create_arg(getattr(a, f.name)) for f in dataclasses.fields(a)}
            return self.create_node("call_function", type(a), (), fields)
        if isinstance(a, (*base_types, enum.Enum)) or a is None or a is ...:
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def _entries(self, a: dict) -> Iterator[tuple]:
        for key, value in a.items():
            found = self.create_arg(key)
            if _contains_node(found):
                raise RuntimeError(f"Keys for dictionaries used as an argument cannot contain a Node. Got key: {found}")
            yield found, self.create_arg(value)

    def to_bool(self, obj: Proxy) -> bool:
        """What ``if proxy:`` is.

        Raises:
            TraceError: always; to be overridden.
        """
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator:
        """What iterating over a Proxy gives: its elements where a known number of them is unpacked (``a, b = x``).

        Raises:
            TraceError: their number is not known. To be overridden.
        """
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not Proxy.__iter__.__code__:
            frame = frame.f_back
        instruction = _instruction(frame.f_back) if frame is not None and frame.f_back is not None else None
        if instruction is not None and instruction.opname == "UNPACK_SEQUENCE":
            return (obj[i] for i in range(instruction.argval))
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
            "**kwargs function argument: how often it would run is not known while tracing. Index the Proxy, unpack it "
            "into a fixed number of names, or hide the loop in a function marked with torch.fx.wrap."
        )

    def keys(self, obj: Proxy):
        """What ``**proxy`` and ``proxy.keys()`` give: by default the call of the method."""
        return Attribute(obj, "keys")()


def _instruction(frame: types.FrameType) -> dis.Instruction | None:
    return next((i for i in dis.get_instructions(frame.f_code) if i.offset == frame.f_lasti), None)


def _contains_node(x) -> bool:
    return isinstance(x, Node) or (isinstance(x, tuple) and any(map(_contains_node, x)))


class GraphAppendingTracer(TracerBase):
    """The tracer of Proxies that were made by hand: appends to their graph."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph


class Proxy:
    """Stands for the result of a Node while a program is traced.

    Operators, attributes, methods and public functions record Nodes; what needs a value (``if``, ``len``, ``int``)
    raises :class:`TraceError` or TypeError.
    """

    _is_fx_proxy = True

    def __init__(self, node: Node, tracer: TracerBase | None = None):
        self.tracer = GraphAppendingTracer(node.graph) if tracer is None else tracer
        self.node = node
        self._listening = Listening()

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Attribute:
        if k in ("node", "tracer", "_listening") or (k.startswith("__") and k in _ASKED_BY_PYTHON):
            raise AttributeError(k)
        return Attribute(self, k)

    def __deepcopy__(self, memo):
        return Proxy(self.node, self.tracer)

    def __call__(self, *args, **kwargs) -> Proxy:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Proxy]:
        return self.tracer.iter(self)

    def __abs__(self) -> Proxy:
        return self.tracer.create_proxy("call_function", operator.abs, (self,), {})

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def keys(self):
        """What the tracer makes of it."""
        return self.tracer.keys(self)

    def __len__(self):
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call "
            "torch.fx.wrap('len') at module scope"
        )

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return record(func, args, kwargs or {})


#: What Python and libraries ask objects for, to find out what they are.
_ASKED_BY_PYTHON = {
    "__array__", "__array_interface__", "__array_struct__", "__jax_array__", "__fx_create_arg__", "__index__",
    "__dlpack__", "__cuda_array_interface__",
}  # fmt: skip


def _operator(name: str) -> None:
    target = getattr(operator, name)
    bare = name.rstrip("_")

    def forward(self, *rest):
        return self.tracer.create_proxy("call_function", target, (self, *rest), {})

    def reflected(self, other):
        return self.tracer.create_proxy("call_function", target, (other, self), {})

    setattr(Proxy, f"__{bare}__", forward)
    if name not in ("eq", "ne", "lt", "gt", "le", "ge", "pos", "neg", "invert", "getitem"):
        setattr(Proxy, f"__r{bare}__", reflected)


for _name in magic_methods:
    _operator(_name)


class Attribute(Proxy):
    """An attribute of a Proxy: a call of ``getattr`` if its value is used, of the method if it is called."""

    def __init__(self, root: Proxy, attr: str):
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._listening = root._listening
        self._node: Node | None = None

    @property
    def node(self) -> Node:
        """The Node, made when it is first asked for."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args, **kwargs) -> Proxy:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """The Proxy of a parameter whose sizes are taken as constants (``Tracer(param_shapes_constant=True)``)."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param):
        if not isinstance(param, jtorch.nn.Parameter):
            raise AssertionError(f"expected a torch.nn.Parameter, got {type(param)}")
        super().__init__(node, tracer)
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self):
        """The parameter's."""
        return self.param.shape

    @property
    def ndim(self) -> int:
        """The parameter's."""
        return self.param.ndim

    def size(self, *args):
        """The parameter's."""
        return self.param.size(*args)

    def dim(self) -> int:
        """The parameter's."""
        return self.param.dim()

    def numel(self) -> int:
        """The parameter's."""
        return self.param.numel()

    nelement = numel


#: Tensor's operators by the names of the methods that PyTorch records for them.
_METHOD_OF = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__mod__": "remainder",
    "__pow__": "pow", "__matmul__": "matmul", "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_",
    "__itruediv__": "div_", "__ipow__": "pow_", "__imod__": "remainder_", "__eq__": "eq", "__ne__": "ne",
    "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge",
}  # fmt: skip


def find_tracers(x) -> dict[int, TracerBase]:
    """The tracers of all Proxies in an argument, by their ids."""
    if isinstance(x, Proxy):
        return {id(x.tracer): x.tracer}
    if isinstance(x, slice):
        x = (x.start, x.stop, x.step)
    if isinstance(x, dict):
        x = tuple(x.values())
    found: dict[int, TracerBase] = {}
    if isinstance(x, (tuple, list)):
        for y in x:
            found |= find_tracers(y)
    return found


def record(func: Callable, args: tuple, kwargs: dict) -> Proxy:
    """The Proxy for a call of a public function or a method of Tensor with Proxies among its arguments.

    Raises:
        RuntimeError: they belong to different tracers.
    """
    tracers = list(find_tracers((args, kwargs)).values())
    if len(tracers) > 1:
        raise RuntimeError(
            f"Found multiple different tracers {tracers} while trying to trace operations {func}: Proxies of one graph "
            "cannot be used in another"
        )
    (tracer,) = tracers
    if func is OpOverload.__call__ or func is OpOverloadPacket.__call__:
        return tracer.create_proxy("call_function", args[0], tuple(args[1:]), kwargs)
    if _known(func) is None:
        method = next((name for name, f in tensor_methods().items() if f is func), None)
        if method is not None:
            return tracer.create_proxy("call_method", _METHOD_OF.get(method, method), args, kwargs)
    if _known(func) in ("torch.nn.functional.sigmoid", "torch.nn.functional.tanh"):  # which are methods in PyTorch
        return tracer.create_proxy("call_method", func.__name__, args, kwargs)
    target, args, kwargs = spelled_out(func, args, kwargs)
    return tracer.create_proxy("call_function", target, tuple(args), kwargs)


def _find_user_frame():
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame
