"""``__torch_function__``: classes and modes that take over what a public function does with them.

Nothing of this costs anything until it is used. The first class or mode that overrides switches it on
(:func:`switch_on`): dispatch asks :func:`intercept` before each operation, and the public functions that are written
over several operations are given code that asks first. They stay the same objects: a program's table of handlers by
function holds whatever was switched on before or after it was written.
"""

from __future__ import annotations

import copy
import threading
import types
from importlib import import_module

from .. import devices, dtypes
from ..ops.registry import Op
from ..trace.aval import aval
from ..trace.value import Value
from . import dispatch as _dispatch
from . import export, recode


class _State(threading.local):
    def __init__(self):
        self.subclasses = True  # whether classes are asked
        self.modes: list = []  # function modes, innermost last
        self.dispatch_modes: list = []


state = _State()


def disabled(func, types, args=(), kwargs=None):
    """``__torch_function__`` of a class that does not take part: runs the function, results are plain tensors."""
    with without_subclasses():
        return func(*args, **(kwargs or {}))


def default(cls, func, types, args=(), kwargs=None):
    """``Tensor.__torch_function__``: runs the function, and makes tensors among its results instances of ``cls``."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with without_subclasses():
        result = func(*args, **(kwargs or {}))
    return convert(result, cls)


def convert(result, cls):
    """Tensors in ``result`` as instances of ``cls``."""
    if cls is _dispatch.TENSOR:
        return result
    if isinstance(result, _dispatch.TENSOR):
        return result if isinstance(result, cls) else result._as_subclass(cls)
    if isinstance(result, (tuple, list)):
        parts = [convert(r, cls) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


class _Setting:
    """A context manager that replaces fields of :data:`state`."""

    def __init__(self, **fields):
        self.fields = fields

    def __enter__(self):
        self.before = {name: getattr(state, name) for name in self.fields}
        for name, value in self.fields.items():
            setattr(state, name, value)
        return self

    def __exit__(self, *exc):
        for name, value in self.before.items():
            setattr(state, name, value)


def without_subclasses() -> _Setting:
    """Inside, ``__torch_function__`` of classes is not asked."""
    return _Setting(subclasses=False)


def without_all() -> _Setting:
    """Inside, neither classes nor modes are asked."""
    return _Setting(subclasses=False, modes=[])


_takes_part: dict[type, bool] = {}


def takes_part(cls: type) -> bool:
    """Whether instances of ``cls`` are to be asked."""
    found = _takes_part.get(cls)
    if found is None:
        function = getattr(cls, "__torch_function__", None)
        ours = _dispatch.is_own(cls) and (
            getattr(function, "__func__", None) is _dispatch.TENSOR.__torch_function__.__func__
        )
        found = _takes_part[cls] = function is not None and function is not disabled and not ours
    return found


def overloaded(arguments) -> list:
    """The arguments to ask, one of each class, subclasses before their bases."""
    found: list = []
    for x in arguments:
        cls = type(x)
        if takes_part(cls) and all(type(y) is not cls for y in found):
            at = next((i for i, y in enumerate(found) if issubclass(cls, type(y))), len(found))
            found.insert(at, x)
    return found


def each_argument(args, kwargs):
    """Arguments, and the elements of those that are lists or tuples."""
    for x in (*args, *kwargs.values()) if kwargs else args:
        if x.__class__ in (list, tuple):
            yield from x
        else:
            yield x


def ask(func, args, kwargs, arguments):
    """What the innermost mode, or else the arguments' classes, make of ``func(*args, **kwargs)``.

    Raises:
        TypeError: all of them return NotImplemented.
    """
    kinds = tuple(type(x) for x in arguments)
    if state.modes:
        mode = state.modes[-1]
        with _Setting(modes=state.modes[:-1]):
            result = mode.__torch_function__(func, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    for x in arguments:
        result = type(x).__torch_function__(func, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    names = ", ".join(str(k) for k in kinds)
    raise TypeError(
        f"Multiple dispatch failed for 'torch.{getattr(func, '__name__', func)}'; all __torch_function__ handlers "
        f"returned NotImplemented: [{names}]"
    )


def _is_default(x, parameter) -> bool:
    default = parameter.default
    return not parameter.required and (x is default or (type(x) is type(default) and x == default))


def _arguments(op: Op, operands, statics) -> tuple[tuple, dict]:
    """A dispatched call as somebody would write it: ``(args, kwargs)`` without trailing defaults."""
    given = dict(zip(op.operand_names, operands, strict=True)) | dict(zip(op.static_names, statics, strict=True))
    given = {k: v.value if isinstance(v, _dispatch.HyperNumber) else v for k, v in given.items()}
    args, kwargs = [], {}
    for p in op.parameters:
        if not p.keyword_only:
            args.append(given[p.name])
        elif given[p.name] is not p.default:
            kwargs[p.name] = given[p.name]
    positional = [p for p in op.parameters if not p.keyword_only]
    while args and _is_default(args[-1], positional[len(args) - 1]):
        args.pop()
    return tuple(args), kwargs


#: Classes of which there are wrappers: tensors without content, whose class answers for every operation.
_wrapping: set[type] = set()


def wrapper(cls, size, dtype, device, strides, requires_grad: bool):
    """An instance of ``cls`` that has shape, dtype and device but no content: ``cls.__torch_dispatch__`` is asked
    for every operation on it.

    Raises:
        RuntimeError: the class does not define ``__torch_dispatch__``.
    """
    if not hasattr(cls, "__torch_dispatch__"):
        raise RuntimeError(f"{cls.__name__} must define __torch_dispatch__, which answers for operations on wrappers")
    switch_on()
    if cls not in _wrapping:
        _wrapping.add(cls)
        base = _dispatch.TENSOR
        for name, own in (
            ("detach", _detached), ("_detach", _detached), ("__deepcopy__", _deep_copy), ("__repr__", _shown),
            ("_assign", _refuse_writes),
        ):  # fmt: skip
            if getattr(cls, name) is getattr(base, name):
                setattr(cls, name, own)
    shape = tuple(size)
    t = _dispatch.wrap(Value(aval(shape, dtype or dtypes.get_default_dtype()), devices.resolve(device)))
    if strides is not None and tuple(strides) != tuple(t.stride()):
        t._strides = tuple(strides)
    t = t._as_subclass(cls)
    t._requires_grad = bool(requires_grad)
    return t


def is_wrapper(tensor) -> bool:
    """Whether a tensor has no content of its own."""
    return type(tensor) in _wrapping


def _shown(self, *, tensor_contents=None) -> str:
    return f"{type(self).__name__}(size={tuple(self.shape)}, dtype={self.dtype}, device={self.device})"


def _deep_copy(self, memo):
    """What a wrapper wraps are its attributes."""
    if id(self) not in memo:
        new = wrapper(type(self), self.shape, self.dtype, self.device, self.stride(), self.requires_grad)
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self._attributes(), memo))
        if self.__dict__.get("_is_param"):
            new._is_param = True
    return memo[id(self)]


def _detached(self):
    """Detaching is no operation here, but classes answer for it."""
    detach = import_module("jtorch").ops.aten.detach.default
    return type(self).__torch_dispatch__(detach, (type(self),), (self,), {})


def _refuse_writes(self, new):
    raise NotImplementedError(
        f"writing in place to a {type(self).__name__}: jtorch's tensors without content of their own are not written "
        "to. Assign a new one, or write to what it wraps"
    )


def _linear_in_parts(x, weight, bias=None):
    """The operations of which PyTorch's dispatcher sees ``linear`` consist."""
    torch = import_module("jtorch")
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], y.shape[-1])


def _dispatched(kinds: list, op: Op, operands, statics):
    """What the classes of wrappers among the operands answer.

    Raises:
        TypeError: all of them return NotImplemented.
    """
    args, kwargs = _arguments(op, operands, statics)
    if op.name == "linear":
        return _linear_in_parts(*args)
    func, args, kwargs = import_module("jtorch.utils._python_dispatch").as_aten(op, args, kwargs)
    for kind in kinds:
        result = kind.__torch_dispatch__(func, tuple(kinds), args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(f"Multiple dispatch failed for '{func}'; all __torch_dispatch__ handlers returned NotImplemented")


def intercept(op: Op, operands, statics):
    """Dispatch's question: the operands as they are, or the answer somebody gave instead."""
    if state.modes or state.subclasses:
        found = overloaded(each_argument(operands, None)) if state.subclasses else []
        if found or state.modes:
            args, kwargs = _arguments(op, operands, statics)
            return _dispatch.Answer(ask(export.function(op), args, kwargs, found))
    if state.dispatch_modes:
        mode = state.dispatch_modes[-1]
        args, kwargs = _arguments(op, operands, statics)
        with _Setting(dispatch_modes=state.dispatch_modes[:-1]):
            return _dispatch.Answer(mode._dispatched(op, args, kwargs))
    if _wrapping:
        kinds = list(dict.fromkeys(type(x) for x in each_argument(operands, None) if type(x) in _wrapping))
        if kinds:
            return _dispatch.Answer(_dispatched(kinds, op, operands, statics))
    return operands, statics


def intercept_out(op: Op, operands, statics, out):
    """The same before the form that writes into ``out``, which is an argument like the others."""
    if not (state.modes or state.subclasses):
        return None
    args, kwargs = _arguments(op, operands, statics)
    kwargs["out"] = out
    found = overloaded(each_argument(args, kwargs)) if state.subclasses else []
    return _dispatch.Answer(ask(export.function(op), args, kwargs, found)) if found or state.modes else None


def idle() -> bool:
    """Whether no mode is active."""
    return not (state.modes or state.dispatch_modes)


def _make_ask(fn: types.FunctionType) -> None:
    """From now on the public function ``fn`` asks before it runs."""
    own = recode.lent.get(fn, fn.__code__)
    runs = recode.with_code(fn, own)

    def ask_first(args, kwargs):
        if state.modes or state.subclasses:
            found = overloaded(each_argument(args, kwargs)) if state.subclasses else []
            if found or state.modes:
                return ask(fn, args, kwargs, found)
        return runs(*args, **kwargs)

    asks = recode.asking(own, ask_first)
    if fn in recode.lent:
        recode.lent[fn] = asks
    else:
        fn.__code__ = asks
    fn.__wrapped__ = runs  # it has the signature
    fn.asks = True


_NAMESPACES = {
    "torch": "jtorch", "nn.functional": "jtorch.nn.functional", "linalg": "jtorch.linalg", "fft": "jtorch.fft",
    "special": "jtorch.special",
}  # fmt: skip
_SPECIAL_METHODS = ("__getitem__", "__setitem__")
#: Not asked: what jtorch looks at the calling line of, and what reads values.
_KEPT = ("as_subclass", "backward", "item", "numpy", "register_hook", "share_memory_", "tolist", "type")
#: Not asked: questions about any object.
_ABOUT_OBJECTS = ("is_storage", "is_tensor", "typename")
_on = False


def switch_on() -> None:
    """From now on classes and modes are asked."""
    global _on
    if _on:
        return
    _on = True

    def switch(fn) -> None:
        if not isinstance(fn, types.FunctionType) or hasattr(fn, "op") or hasattr(fn, "asks"):
            return
        if fn.__name__ not in _ABOUT_OBJECTS:
            _make_ask(fn)

    for namespace, path in _NAMESPACES.items():
        module = import_module(path)
        names = set(export.functions(namespace))
        if namespace == "nn.functional":
            names |= {n for n, f in vars(module).items() if isinstance(f, types.FunctionType) and n[0] != "_"}
        for name in names:
            switch(vars(module).get(name))
    for base in _dispatch.TENSOR.__mro__[:-1]:
        for name, fn in list(vars(base).items()):
            if (name[0] != "_" and name not in _KEPT) or name in _SPECIAL_METHODS:
                switch(fn)
    _dispatch.interceptors.insert(0, intercept)
    _dispatch.on_out = intercept_out


def subclassed(cls: type) -> None:
    """Called for each new subclass of Tensor. One that says so switches on itself, when it makes an instance."""
    if takes_part(cls) and not getattr(cls, "_asked_once_made", False):
        switch_on()


def like(op: Op, operands, statics):
    """A call with an operand that is no Tensor but has ``__torch_function__``.

    Raises:
        TypeError: it is not to be asked (now).
    """
    found = overloaded(each_argument(operands, None)) if state.subclasses else []
    if not found:
        kinds = ", ".join(sorted({type(x).__name__ for x in each_argument(operands, None)}))
        raise TypeError(
            f"{op.name}(): arguments must be Tensors, and their __torch_function__ is disabled; got {kinds}"
        )
    switch_on()
    return _dispatch.dispatch(op, operands, statics)
