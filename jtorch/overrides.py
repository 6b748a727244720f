"""``torch.overrides``: classes and modes that take over what public functions do with them.

A class with a classmethod ``__torch_function__(cls, func, types, args=(), kwargs=None)`` is asked when one of its
instances is an argument. Subclasses of Tensor inherit one that runs the function and makes the results instances of the
subclass. ``func`` is the public function (``jtorch.add``), also where an operator or a method was used; properties
(``shape``, ``dtype``) do not ask.
"""

from __future__ import annotations

import functools
import inspect
from importlib import import_module

from .tensor import Tensor, overriding


class TorchFunctionMode:
    """``with Mode():`` every public function asks ``self.__torch_function__(func, types, args=(), kwargs=None)`` first.

    Inside of it the mode is off, so that it may call ``func`` itself. Modes nest; the innermost is asked first.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError

    def __enter__(self):
        overriding.switch_on()
        overriding.state.modes = [*overriding.state.modes, self]
        return self

    def __exit__(self, *exc):
        overriding.state.modes = overriding.state.modes[:-1]

    @classmethod
    def push(cls, *args, **kwargs):
        """A new instance, to be entered."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """The mode that changes nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def has_torch_function(relevant_args) -> bool:
    """Whether one of these arguments is to be asked, or a mode is active."""
    if overriding.state.modes:
        return True
    return overriding.state.subclasses and bool(overriding.overloaded(relevant_args))


def has_torch_function_unary(x) -> bool:
    """:func:`has_torch_function` of one argument."""
    return has_torch_function((x,))


def has_torch_function_variadic(*args) -> bool:
    """:func:`has_torch_function` of several arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api, relevant_args, *args, **kwargs):
    """Ask the arguments what ``public_api(*args, **kwargs)`` gives.

    Raises:
        TypeError: all of them return NotImplemented.
    """
    overriding.switch_on()
    return overriding.ask(public_api, args, kwargs, overriding.overloaded(relevant_args))


def wrap_torch_function(dispatcher):
    """Decorates a function of one's own, so that it asks the arguments that ``dispatcher(*args, **kwargs)`` returns."""

    def decorate(func):
        @functools.wraps(func)
        def asking(*args, **kwargs):
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(asking, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return asking

    return decorate


def is_tensor_like(inp) -> bool:
    """Whether ``inp`` is a Tensor or has ``__torch_function__``."""
    return type(inp) is Tensor or hasattr(type(inp), "__torch_function__")


def is_tensor_method_or_property(func) -> bool:
    """Whether ``func`` is a method or property of Tensor."""
    return func in _tensor_methods() or getattr(func, "__name__", "") == "__get__"


@functools.lru_cache(None)
def _tensor_methods() -> frozenset:
    members = [m for base in Tensor.__mro__[:-1] for m in vars(base).values()]
    return frozenset(m for m in members if inspect.isfunction(m) or isinstance(m, property))


_PLACES = {"torch": "jtorch", "torch.nn.functional": "jtorch.nn.functional", "torch.linalg": "jtorch.linalg",
           "torch.fft": "jtorch.fft", "torch.special": "jtorch.special"}  # fmt: skip


def get_overridable_functions() -> dict:
    """``{namespace: [functions]}`` of everything that asks."""
    overriding.switch_on()
    found: dict = {}
    for module in _PLACES.values():
        place = import_module(module)
        functions = {id(f): f for n in vars(place) if _asks(f := getattr(place, n)) and n[0] != "_"}
        found[place] = list(functions.values())
    methods = {id(m): m for base in Tensor.__mro__[:-1] for m in vars(base).values() if _asks(m)}
    found[Tensor] = list(methods.values())
    return found


def _asks(x) -> bool:
    return inspect.isfunction(x) and (hasattr(x, "op") or hasattr(x, "asks"))


def get_testing_overrides() -> dict:
    """``{function: lambda with its signature}`` of everything that asks."""
    return {
        f: (lambda signature: _dummy(signature))(inspect.signature(f))
        for functions in get_overridable_functions().values()
        for f in functions
    }


def _dummy(signature):
    def dummy(*args, **kwargs):
        signature.bind(*args, **kwargs)
        return -1

    dummy.__signature__ = signature
    return dummy


def resolve_name(f) -> str | None:
    """``"torch.add"`` for the function ``torch.add``, and None where it has no public name."""
    for path, module in (*_PLACES.items(), ("torch.Tensor", None)):
        place = Tensor if module is None else import_module(module)
        name = getattr(f, "__name__", None)
        if name is not None and getattr(place, name, None) is f:
            return f"{path}.{name}"
    return None


def get_default_nowrap_functions() -> set:
    """Functions whose results stay as they are: none (properties never ask)."""
    return set()


def get_ignored_functions() -> set:
    """Public functions that never ask: what is in ``torch`` and makes no tensor of tensors."""
    import jtorch

    return {f for f in vars(jtorch).values() if inspect.isfunction(f) and not _asks(f)}


def _get_current_function_mode():
    modes = overriding.state.modes
    return modes[-1] if modes else None


def _get_current_function_mode_stack() -> list:
    return list(overriding.state.modes)


__all__ = [
    "BaseTorchFunctionMode", "TorchFunctionMode", "get_default_nowrap_functions", "get_ignored_functions",
    "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function",
    "has_torch_function_unary", "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property",
    "resolve_name", "wrap_torch_function",
]  # fmt: skip
