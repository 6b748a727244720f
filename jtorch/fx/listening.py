"""Public functions that notice Proxies among their arguments.

A traced program calls ``torch.relu(x)`` with a Proxy, and the node is to hold the arguments as they were written. The
program may have imported the function before (``from torch.nn.functional import relu``), so that replacing it in its
module would come too late, and the function object itself is what a node's target has to be. Therefore the function
objects are given other code while a Proxy is alive: code that looks for Proxies, and else runs what was there. When the
last Proxy is gone they have their own code again, and a program that traces nothing pays nothing.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Iterator
from importlib import import_module

from .. import _ops
from ..tensor import Tensor, export

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
        for f in public_functions(namespace).values():
            yield f
            if hasattr(f, "asks"):  # stands in the place of another, which programs may still hold
                yield f.__wrapped__
    yield from tensor_methods().values()
    yield _ops.OpOverload.__call__
    yield _ops.OpOverloadPacket.__call__


@functools.lru_cache(None)
def _template(free: tuple[str, ...]) -> types.CodeType:
    """Code of a function ``(*args, **kwargs)`` that hands them to the constant ``"ASK"``.

    Args:
        free: the variables of its closure. Python insists that code put into a function has as many as before.
    """
    mention = f"\n        ({', '.join(free)},)" if free else ""
    outer = "".join(f"    {name} = None\n" for name in free)
    inner = f"    def f(*args, **kwargs):\n        ask = 'ASK'\n        return ask(args, kwargs){mention}"
    place: dict = {}
    exec(compile(f"def outer():\n{outer}{inner}", "<listening>", "exec"), place)
    made = next(c for c in place["outer"].__code__.co_consts if isinstance(c, types.CodeType))
    if len(made.co_freevars) != len(free):
        raise RuntimeError(f"the code made for a closure of {free} has the variables {made.co_freevars}")
    return made


def _with_code(fn: types.FunctionType, code: types.CodeType) -> types.FunctionType:
    made = types.FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__ = fn.__kwdefaults__
    made.__dict__.update(fn.__dict__)
    return made


def original(fn):
    """A function of the code that ``fn`` has when nobody listens (``fn`` itself, if its code is its own)."""
    found = _made.get(fn) if isinstance(fn, types.FunctionType) else None
    return fn if found is None or fn.__code__ is not found[1] else _with_code(fn, found[0])


def _listening_code(fn: types.FunctionType, code: types.CodeType) -> types.CodeType:
    runs = _with_code(fn, code)

    def ask(args, kwargs):
        if any(map(_mentions_proxy, args)) or (kwargs and any(map(_mentions_proxy, kwargs.values()))):
            from .proxy import record

            return record(fn, args, kwargs)
        return runs(*args, **kwargs)

    template = _template(code.co_freevars)
    constants = tuple(ask if c == "ASK" else c for c in template.co_consts)
    return template.replace(co_consts=constants, co_name=code.co_name)


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
#: The functions that listen now, with their own code.
_listening: dict[types.FunctionType, types.CodeType] = {}
_lock = threading.RLock()


def _start() -> None:
    from . import names

    names.tables()  # signatures are read from the functions' own code
    for fn in _everything():
        if fn not in _listening:
            own, listens = _made.get(fn, (None, None))
            if own is not fn.__code__:
                own, listens = _made[fn] = fn.__code__, _listening_code(fn, fn.__code__)
            _listening[fn] = own
            fn.__code__ = listens


def _stop() -> None:
    for fn, own in _listening.items():
        fn.__code__ = own
    _listening.clear()


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
