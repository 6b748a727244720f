"""Public functions that notice Proxies among their arguments.

A traced program calls ``torch.relu(x)`` with a Proxy, and the node is to hold the arguments as they were written, and
the function object itself as its target. Therefore the function objects are given other code while a Proxy is alive
(:mod:`jtorch.tensor.recode`): code that looks for Proxies, and else runs what was there. When the last Proxy is gone
they have their own code again, and a program that traces nothing pays nothing.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Iterator
from importlib import import_module

from .. import _ops
from ..tensor import Tensor, export
from ..tensor.recode import asking, lent, with_code

#: Namespaces as :func:`jtorch.tensor.export.functions` calls them, and the modules that hold them.
NAMESPACES = {
    "nn.functional": "jtorch.nn.functional", "torch": "jtorch", "linalg": "jtorch.linalg",
    "special": "jtorch.special", "fft": "jtorch.fft",
}  # fmt: skip
#: What modules import from elsewhere, and what takes no tensor or only asks what something is.
_NOT_ASKED = {
    "is_tensor", "is_storage", "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "typename",
    "overload", "cast", "dataclass", "wraps",
}  # fmt: skip
_NOT_ASKED_METHODS = {"as_subclass", "backward", "register_hook", "share_memory_", "type"}
_OPERATORS = {
    f"__{prefix}{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift",
                 "rshift")
    for prefix in ("", "i")
} | {f"__{name}__" for name in ("eq", "ne", "lt", "le", "gt", "ge", "getitem", "setitem")}  # fmt: skip


def public_functions(namespace: str) -> dict[str, types.FunctionType]:
    """The functions of tensors in one of :data:`NAMESPACES`, by name."""
    module = import_module(NAMESPACES[namespace])
    if namespace == "torch":
        from ..nn import torch_names

        names = {"_assert", *export.functions(namespace), *torch_names.FUNCTIONS}
    else:
        names = {name for name in vars(module) if name[0] != "_"}
    found = {name: vars(module).get(name) for name in sorted(names - _NOT_ASKED)}
    return {name: f for name, f in found.items() if isinstance(f, types.FunctionType)}


def tensor_methods() -> dict[str, types.FunctionType]:
    """The methods and operators of Tensor that may be given a Proxy, by name."""
    return {
        name: f
        for base in reversed(Tensor.__mro__[:-1])
        for name, f in vars(base).items()
        if isinstance(f, types.FunctionType)
        and ((name[0] != "_" and name not in _NOT_ASKED | _NOT_ASKED_METHODS) or name in _OPERATORS)
    }


def _everything() -> Iterator[types.FunctionType]:
    for namespace in NAMESPACES:
        yield from public_functions(namespace).values()
    yield from tensor_methods().values()
    yield _ops.OpOverload.__call__
    yield _ops.OpOverloadPacket.__call__


def original(fn):
    """A function of the code that ``fn`` has when nobody listens (``fn`` itself, if its code is its own)."""
    found = _made.get(fn) if isinstance(fn, types.FunctionType) else None
    return fn if found is None or fn.__code__ is not found[1] else with_code(fn, found[0])


def _listening_code(fn: types.FunctionType, code: types.CodeType) -> types.CodeType:
    runs = with_code(fn, code)

    def ask(args, kwargs):
        if any(map(_mentions_proxy, args)) or (kwargs and any(map(_mentions_proxy, kwargs.values()))):
            from .proxy import record

            return record(fn, args, kwargs)
        return runs(*args, **kwargs)

    return asking(code, ask)


def _mentions_proxy(x) -> bool:
    cls = x.__class__
    if getattr(cls, "_is_fx_proxy", False):
        return True
    if cls is tuple or cls is list:
        return any(map(_mentions_proxy, x))
    if cls is slice:
        return any(map(_mentions_proxy, (x.start, x.stop, x.step)))
    return cls is dict and any(map(_mentions_proxy, x.values()))


#: Of each function its own code, and the one that listens.
_made: dict[types.FunctionType, tuple[types.CodeType, types.CodeType]] = {}
_lock = threading.RLock()


def _start() -> None:
    from . import names

    names.tables()  # signatures are read from the functions' own code
    for fn in _everything():
        if fn not in lent:
            own, listens = _made.get(fn, (None, None))
            if own is not fn.__code__:
                own, listens = _made[fn] = fn.__code__, _listening_code(fn, fn.__code__)
            lent[fn] = own
            fn.__code__ = listens


def _stop() -> None:
    for fn, own in lent.items():
        fn.__code__ = own
    lent.clear()


class Listening:
    """As long as one of these lives, public functions look for Proxies. Each Proxy holds one."""

    _alive = 0

    def __init__(self):
        with _lock:
            Listening._alive += 1
            if Listening._alive == 1:
                _start()

    def __del__(self):
        with _lock:
            Listening._alive -= 1
            if Listening._alive == 0:
                _stop()
