"""``torch.fx._symbolic_trace``: running a program with Proxies for its inputs."""

from __future__ import annotations

import builtins
import contextlib
import copy
import functools
import inspect
import itertools
import math
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jtorch

from .._C import ScriptObject
from ._compatibility import compatibility
from .graph import Graph
from .graph_module import GraphModule
from .listening import Listening, original
from .names import signature as signature_of
from .proxy import ParameterProxy, Proxy, TracerBase, _find_user_frame, find_tracers
from .pytree_codegen import PH, PHBase, PHWithMeta, flatten_root

#: names that tracers of other libraries take from here
FunctionType, Module = types.FunctionType, jtorch.nn.Module
_orig_module_call, _orig_module_getattr = Module.__call__, Module.__getattr__

__all__ = ["PH", "PHBase", "PHWithMeta", "ProxyableClassMeta", "ScriptObject", "Tracer", "compatibility",
           "is_fx_symbolic_tracing", "is_fx_tracing", "symbolic_trace", "wrap"]  # fmt: skip


class _State(threading.local):
    tracing = 0


_state = _State()


def is_fx_tracing() -> bool:
    """Whether a program is being traced."""
    return _state.tracing > 0


is_fx_symbolic_tracing = is_fx_tracing


class ProxyableClassMeta(type):
    """The metaclass of classes whose construction is recorded when a Proxy is among the arguments."""

    def __init__(cls, name, bases, attrs):
        _proxyable_classes.setdefault(cls)
        super().__init__(name, bases, attrs)

    def __call__(cls, *args, **kwargs):
        instance = cls.__new__(cls)
        if not is_fx_tracing():
            cls.__init__(instance, *args, **kwargs)
            return instance
        found = list(find_tracers((args, kwargs)).values())
        if found:
            return found[0].create_proxy("call_function", cls, args, kwargs)
        cls.__init__(instance, *args, **kwargs)
        return instance


_proxyable_classes: dict[type, None] = {}


class Tracer(TracerBase):
    """Records what a module or function does as a :class:`Graph`.

    Subclass it and override :meth:`is_leaf_module`, :meth:`call_module`, :meth:`create_arg`, :meth:`create_node`,
    :meth:`proxy` or :meth:`getattr` to record something else.

    Args:
        autowrap_modules: modules whose functions are recorded as calls when they get a Proxy.
        autowrap_functions: functions of which the same is true.
        param_shapes_constant: sizes of parameters are numbers, not Nodes.
    """

    def __init__(
        self,
        autowrap_modules: tuple[types.ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable, ...] = (),
        param_shapes_constant: bool = False,
    ):
        super().__init__()
        self._autowrap_function_ids = {
            id(f) for m in autowrap_modules for name, f in vars(m).items() if name[0] != "_" and callable(f)
        } | {id(f) for f in autowrap_functions}
        self._autowrap_search = list(autowrap_modules)
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict | None = None
        self.tensor_attrs: dict[int, tuple[Any, str]] = {}
        self.root_module_name = ""

    def __deepcopy__(self, memo):
        made = type(self).__new__(type(self))
        skipped = {"graph", "root", "tensor_attrs", "submodule_paths"}
        made.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()
                              if k not in skipped and k != "_autowrap_search"})  # fmt: skip
        made.__dict__.update(_autowrap_search=list(self._autowrap_search), submodule_paths=None, tensor_attrs={})
        return made

    # --- what programs override

    def is_leaf_module(self, m: jtorch.nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of ``m`` is one Node, instead of what is done inside: by default for the layers of
        ``torch.nn`` but Sequential.
        """
        return m.__module__.startswith(("jtorch.nn", "jtorch.ao.nn")) and not isinstance(m, jtorch.nn.Sequential)

    def call_module(self, m: jtorch.nn.Module, forward: Callable, args: tuple, kwargs: dict):
        """What a call of the module ``m`` gives; ``forward`` is its own call."""
        path = self.path_of_module(m)
        self.module_stack[path] = (path, type(m))
        try:
            if self.is_leaf_module(m, path):
                return self.create_proxy("call_module", path, args, kwargs)
            return forward(*args, **kwargs)
        finally:
            del self.module_stack[path]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Proxy]):
        """What reading ``module.<attr>`` gives: a Proxy for a parameter (and for a buffer, if
        ``proxy_buffer_attributes`` is set), else ``attr_val``.
        """
        if isinstance(attr_val, jtorch.nn.Parameter):
            return self._attribute_proxy(attr_val, self.root.named_parameters(), parameter_proxy_cache)
        if self.proxy_buffer_attributes and isinstance(attr_val, jtorch.Tensor):
            return self._attribute_proxy(attr_val, self.root.named_buffers(), parameter_proxy_cache)
        return attr_val

    def _attribute_proxy(self, value, named, cache: dict[str, Proxy]):
        name = next((n for n, x in named if x is value), None)
        if name is None:
            return value
        if name not in cache:
            factory = None
            if self.param_shapes_constant and isinstance(value, jtorch.nn.Parameter):

                def factory(node):
                    return ParameterProxy(self, node, name, value)

            cache[name] = self.create_proxy("get_attr", name, (), {}, proxy_factory_fn=factory)
        return cache[name]

    def path_of_module(self, mod: jtorch.nn.Module) -> str:
        """The path of a module in the root.

        Raises:
            NameError: it is not in there.
        """
        path = (self.submodule_paths or {}).get(id(mod))
        if path is None:
            path = next((n for n, m in self.root.named_modules() if m is mod), None)
        if path is None:
            raise NameError("module is not installed as a submodule")
        return path

    def get_fresh_qualname(self, prefix: str) -> str:
        """``prefix`` with the first number that makes it an attribute that the root does not have."""
        number = 0
        while hasattr(self.root, f"{prefix}{number}"):
            number += 1
        return f"{prefix}{number}"

    def create_arg(self, a: Any):
        """``a`` as an argument of a Node. Tensors become attributes of the root.

        Raises:
            NotImplementedError: it cannot be one.
            NameError: it is a parameter that the root does not have.
        """
        if isinstance(a, jtorch.nn.Parameter):
            name = next((n for n, p in self.root.named_parameters() if p is a), None)
            if name is None:
                raise NameError("parameter is not a member of this module")
            return self.create_node("get_attr", name, (), {})
        if isinstance(a, jtorch.Tensor):
            return self.create_node("get_attr", self._path_of_tensor(a), (), {})
        if isinstance(a, jtorch.nn.Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return self.create_node("call_function", type(a), tuple(self.create_arg(x) for x in a), {})
        if type(a) in _proxyable_classes:
            name = self.get_fresh_qualname(f"_{type(a).__name__}_constant_")
            setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def _path_of_tensor(self, a) -> str:
        name = next((n for n, b in self.root.named_buffers() if b is a), None)
        if name is not None:
            return name
        known = self.tensor_attrs.get(id(a))
        if known is None:
            path = self.get_fresh_qualname("_tensor_constant")
            known = self.tensor_attrs[id(a)] = (a, path)
            setattr(self.root, path, a)
        return known[1]

    def create_args_for_root(self, root_fn: Callable, is_module: bool, concrete_args=None):
        """``(function, arguments)``: what to call the program with, Proxies for its parameters.

        Args:
            concrete_args: values by the name of the parameter; the graph checks that it is called with them. Trees of
                values, with :data:`PH` where a Proxy is to be, are taken apart by the graph's function.

        Raises:
            RuntimeError: ``concrete_args`` is a tuple of another length; ``self`` is not a parameter of its own.
        """
        code = original(inspect.unwrap(root_fn)).__code__
        start = code.co_argcount + code.co_kwonlyargcount
        receiver = int(is_module or inspect.ismethod(root_fn))
        if start < receiver:
            raise RuntimeError("``self`` argument cannot be part of *args expansion!")
        names = list(code.co_varnames[receiver:start])
        if isinstance(concrete_args, tuple):
            if len(concrete_args) != len(names):
                raise RuntimeError(
                    f"Tracing expected {len(names)} arguments but got {len(concrete_args)} concrete arguments"
                )
            concrete_args = dict(zip(names, concrete_args, strict=True))
        signature = signature_of(root_fn)
        args: list = [self.root] if is_module else []
        trees = any(isinstance(v, (list, tuple, dict)) for v in (concrete_args or {}).values())
        if trees and (code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)):
            raise NotImplementedError(
                "concrete_args with lists, tuples or dicts of a function with keyword-only parameters, *args or "
                "**kwargs; give it plain parameters"
            )
        values = [self._placeholder(name, concrete_args, signature, trees) for name in names]
        if trees:
            return flatten_root(self, root_fn, [*args, *values], ["self", *names] if is_module else names)
        rest = [code.co_varnames[start + i] for i in range(bool(code.co_flags & inspect.CO_VARARGS)
                                                           + bool(code.co_flags & inspect.CO_VARKEYWORDS))]  # fmt: skip
        if rest:
            marks = ("*", "**") if len(rest) == 2 else ("*",) if code.co_flags & inspect.CO_VARARGS else ("**",)
            values += [self.create_proxy("placeholder", mark + name, (), {})
                       for mark, name in zip(marks, rest, strict=True)]  # fmt: skip
        return _taking_all_by_position(root_fn), [*args, *values]

    def _placeholder(self, name: str, concrete_args: dict | None, signature: inspect.Signature, trees: bool):
        default = signature.parameters[name].default
        given = () if default is inspect.Parameter.empty else (default,)
        if concrete_args is not None and name in concrete_args:
            value = concrete_args[name]
            if trees and isinstance(value, (list, tuple, dict)):
                numbers = itertools.count(1)
                return jtorch.utils._pytree.tree_map(lambda x: self._concrete(name, x, next(numbers)), value)
            return self._concrete(name, value, 1, given)
        hint = self._annotation(name, signature)
        return self.create_proxy("placeholder", name, given, {}, type_expr=hint)

    @staticmethod
    def _annotation(name: str, signature: inspect.Signature):
        hint = signature.parameters[name].annotation
        return None if hint is inspect.Parameter.empty else hint

    def _concrete(self, name: str, value, number: int, default: tuple = ()):
        """A parameter, or a leaf of it, whose value is given: the graph has a placeholder for it and a check."""
        proxy = self.create_proxy("placeholder", f"{name}_{number}", default, {})
        if isinstance(value, PHBase):
            if isinstance(value, PHWithMeta):
                proxy.node.meta.update(value.meta)
            return proxy
        message = f"{name} has been specialized to have value {value} but got another value"
        if value is None:
            self.create_proxy("call_function", _assert_is_none, (proxy, message), {})
        elif isinstance(value, (bool, int, float)) or type(value) is str:
            self.create_proxy("call_function", jtorch._assert, (proxy == value, message), {})
        else:
            warnings.warn(
                f"The graph cannot check that {name} is the {type(value).__name__} it was traced with: call it with "
                "the same",
                stacklevel=2,
            )
        return value

    # --- the trace

    def trace(self, root: jtorch.nn.Module | Callable, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of ``root``.

        Args:
            concrete_args: values of parameters that are to be fixed, by name.

        Raises:
            TraceError: the program branches or loops by a value.
        """
        if isinstance(root, jtorch.nn.Module):
            self.root, fn = root, getattr(type(root), self.traced_func_name)
            self.root_module_name = root._get_name()
            self.submodule_paths = {id(m): name for name, m in root.named_modules()}
        else:
            self.root, fn = jtorch.nn.Module(), root
        self.graph = Graph(tracer_cls=getattr(self, "__class__", None))
        self.tensor_attrs = dict(_tensor_attributes(self.root))
        self._held = Listening()
        try:
            fn, args = self.create_args_for_root(fn, isinstance(root, jtorch.nn.Module), concrete_args)
            hint = getattr(fn, "__annotations__", {}).get("return")
            with self._patched(fn):
                result = fn(*args)
                self.create_node("output", "output", (self.create_arg(result),), {}, type_expr=hint)
        finally:
            self.submodule_paths = None
            del self._held
        return self.graph

    @contextlib.contextmanager
    def _patched(self, fn: Callable) -> Iterator[None]:
        """While ``fn`` runs, modules report their calls and parameters, and wrapped functions look for Proxies."""
        call, lookup = Module.__call__, Module.__getattr__
        cache: dict[str, Proxy] = {}

        @functools.wraps(call)
        def calling(module, *args, **kwargs):
            place = getattr(inspect.unwrap(module.forward), "__globals__", {})
            _autowrap_check(patches, place, self._autowrap_function_ids)
            return self.call_module(module, functools.partial(call, module), args, kwargs)

        @functools.wraps(lookup)
        def looking_up(module, name):
            return self.getattr(name, lookup(module, name), cache)

        with _Patcher() as patches:
            patches.patch_method(Module, "__call__", calling)
            patches.patch_method(Module, "__getattr__", looking_up)
            _patch_wrapped_functions(patches)
            _autowrap_check(patches, getattr(inspect.unwrap(fn), "__globals__", {}), self._autowrap_function_ids)
            for module in self._autowrap_search:
                _autowrap_check(patches, vars(module), self._autowrap_function_ids)
            _state.tracing += 1
            try:
                yield
            finally:
                _state.tracing -= 1


class _Patcher:
    """What stands in the place of something else until the block ends. Tracers of other libraries use it too."""

    def __init__(self):
        self.visited: set[int] = set()  # globals that have been looked through
        self._undo = contextlib.ExitStack()

    def patch(self, place: dict, name: str, new: Callable) -> None:
        """``place[name]`` is ``new`` meanwhile."""
        if name in place:
            self._undo.callback(place.__setitem__, name, place[name])
        else:
            self._undo.callback(place.pop, name, None)
        place[name] = new

    def patch_method(self, cls: type, name: str, new: Callable, deduplicate: bool = True) -> None:
        """``cls.name`` is ``new`` meanwhile."""
        self._undo.callback(setattr, cls, name, getattr(cls, name))
        setattr(cls, name, new)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._undo.close()


def _patch_recording(patcher: _Patcher, place: dict, name: str) -> None:
    original = place[name] if name in place else getattr(builtins, name, None)
    if original is not None and not hasattr(original, "fx_recording"):
        patcher.patch(place, name, _recording(original))


def _patch_wrapped_functions(patcher: _Patcher) -> None:
    """What :func:`wrap` was told of is recorded when it gets a Proxy."""
    for (_, name), place in list(_wrapped_functions.items()):
        _patch_recording(patcher, place, name)
    for cls, name in _wrapped_methods:
        patcher.patch_method(cls, name, _recording_method(cls, name))


def _autowrap_check(patcher: _Patcher, frame_dict: dict, function_ids: set[int]) -> None:
    """Functions with these ids among a module's globals are recorded when they get a Proxy."""
    if id(frame_dict) in patcher.visited:
        return
    patcher.visited.add(id(frame_dict))
    for name, f in list(frame_dict.items()):
        if name[:1] != "_" and callable(f) and id(f) in function_ids:
            _patch_recording(patcher, frame_dict, name)


def _taking_all_by_position(fn: Callable) -> Callable:
    """``fn`` with keyword-only parameters, ``*args`` and ``**kwargs`` as further positional ones, each one value."""
    inner = original(inspect.unwrap(fn))
    code = inner.__code__
    several = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    rest = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    if not rest and not code.co_kwonlyargcount:
        return fn
    count = code.co_argcount + code.co_kwonlyargcount + rest
    changed = code.replace(co_argcount=count, co_kwonlyargcount=0, co_flags=code.co_flags & ~several)
    made = types.FunctionType(changed, inner.__globals__, inner.__name__, None, inner.__closure__)
    return types.MethodType(made, fn.__self__) if inspect.ismethod(fn) else made


def _tensor_attributes(module: jtorch.nn.Module, prefix: str = "") -> Iterator:
    """Tensors that modules hold as plain attributes, with their paths, by their ids."""
    for name, x in module.__dict__.items():
        if isinstance(x, jtorch.Tensor):
            yield id(x), (x, f"{prefix}{name}")
    for name, child in module.named_children():
        yield from _tensor_attributes(child, f"{prefix}{name}.")


def _recording(original: Callable) -> Callable:
    """``original``, recorded as one Node when a Proxy is among its arguments."""

    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        tracers = find_tracers((args, kwargs))
        if not tracers:
            return original(*args, **kwargs)
        proxy = next(iter(tracers.values())).create_proxy("call_function", original, args, kwargs)
        proxy.node.meta["is_wrapped"] = True
        return proxy

    wrapped.fx_recording = True
    return wrapped


def _recording_method(cls: type, name: str) -> Callable:
    original = getattr(cls, name)

    @functools.wraps(original)
    def wrapped(*args, **kwargs):
        tracers = find_tracers((args, kwargs))
        if not tracers:
            return original(*args, **kwargs)
        return next(iter(tracers.values())).create_proxy("call_method", name, args, kwargs)

    return wrapped


_wrapped_functions: dict[tuple[int, str], dict] = {}
_wrapped_methods: list[tuple[type, str]] = []


def wrap(fn_or_name: str | Callable):
    """Record calls of a function of this module as one Node, instead of what it does. Call it, or use it as a
    decorator, at the top level of the module.

    Args:
        fn_or_name: the function, or its name among the module's globals (or the built-ins: ``wrap("len")``).

    Raises:
        RuntimeError: it is neither.
        NotImplementedError: not called at the top level.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    frame = _find_user_frame()
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped_functions[id(frame.f_globals), name] = frame.f_globals
    return fn_or_name


def _assert_is_none(value, message: str) -> None:
    if value is not None:
        raise AssertionError(message)


def symbolic_trace(root: jtorch.nn.Module | Callable, concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """The module or function as a :class:`GraphModule`, traced with Proxies for its arguments.

    Args:
        concrete_args: values of arguments that are to be fixed, by name: ``{"flag": True}`` takes that branch.

    Raises:
        TraceError: the program branches or loops by a value.
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, jtorch.nn.Module) else root.__name__
    return _make_graph_module(tracer.root, graph, name)


def _make_graph_module(*args, graph_module_cls=None, **kwargs) -> GraphModule:
    return (graph_module_cls or GraphModule)(*args, **kwargs)
