"""Reading pickles without running what is in them.

:class:`RestrictedUnpickler` is a pickle machine of its own: a pickle is a program for a small stack machine, and this
one carries out only instructions that build plain containers, and calls only functions on its list (``globals.py``,
and what the program allows with :func:`add_safe_globals`). Python's own ``Unpickler`` with a restricted
``find_class`` is not enough: its BUILD instruction sets attributes on whatever object the list let through.
"""

from __future__ import annotations

import collections
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

from . import safe
from .globals import CALLABLES, find_global

_MARK = object()


class RestrictedUnpickler:
    """Loads one pickle from ``data`` (bytes or a memory map), starting at ``position``.

    Args:
        persistent_load: called with each persistent id (a tuple); None refuses them.
        encoding: how to decode byte strings of Python 2.

    Raises:
        pickle.UnpicklingError: a global that is not allowed, an instruction that is not needed for data, or damage.
        EOFError: the pickle is cut off.
    """

    def __init__(
        self, data, persistent_load: Callable[[tuple], Any] | None = None, position: int = 0, encoding: str = "utf-8"
    ):
        self.data, self.position, self.encoding = data, position, encoding
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.allowed = safe.user_globals()
        self.allowed_classes = tuple(c for c in self.allowed.values() if isinstance(c, type))

    def load(self) -> Any:
        """The object; ``position`` is then behind its pickle."""
        data, handlers = self.data, _HANDLERS
        start = self.position
        try:
            while True:
                if self.position >= len(data):
                    raise EOFError("Ran out of input: the pickle is cut off")
                code = data[self.position]
                self.position += 1
                handler = handlers.get(code)
                if handler is None:
                    raise pickle.UnpicklingError(_unsupported(code, self.position - 1 == start))
                if handler(self) is _MARK:  # only STOP says so
                    return self.pop()
        except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
            raise pickle.UnpicklingError(
                f"the pickle is damaged at byte {self.position}: {type(error).__name__}: {error}"
            ) from error

    # --- the input and the stack

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise EOFError("Ran out of input: the pickle is cut off")
        out = self.data[self.position : end]
        self.position = end
        return out

    def number(self, form: struct.Struct):
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise EOFError("Ran out of input: the pickle is cut off")
        return str(self.take(end + 1 - self.position)[:-1], "utf-8")

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("the stack is empty")
        return self.stack.pop()

    def pop_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # --- what may be named, called and changed

    def find(self, module: str, name: str) -> Any:
        full = f"{_PYTHON2_MODULES.get(module, module)}.{name}"
        if full in self.allowed:
            return self.allowed[full]
        try:
            return find_global(full)
        except KeyError:
            raise pickle.UnpicklingError(safe.not_allowed(full)) from None

    def call(self, function: Any, args: tuple) -> Any:
        if not isinstance(args, tuple):
            raise TypeError(f"arguments are a {type(args).__name__}, not a tuple")
        if id(function) in CALLABLES or any(function is f for f in self.allowed.values()):
            return function(*args)
        raise pickle.UnpicklingError(f"the file calls {function!r}, which is not a function that files may call")

    def new(self, cls: Any, args: tuple, kwargs: dict) -> Any:
        if cls is collections.OrderedDict or any(cls is c for c in self.allowed_classes):
            return cls.__new__(cls, *args, **kwargs)
        raise pickle.UnpicklingError(f"the file makes an instance of {cls!r}; {safe.HOW_TO_ALLOW}")

    def build(self, target: Any, state: Any) -> None:
        if type(target) in (collections.OrderedDict, collections.Counter):
            target.__dict__.update(state)
        elif type(target) in self.allowed_classes:
            _set_object_state(target, state)
        else:
            raise pickle.UnpicklingError(f"the file sets attributes of a {type(target).__name__}; {safe.HOW_TO_ALLOW}")

    def extend(self, target: Any, items: list) -> None:
        if type(target) is list:
            target.extend(items)
        elif type(target) in self.allowed_classes:
            for item in items:
                target.append(item)
        else:
            raise TypeError(f"cannot append to a {type(target).__name__}")

    def update(self, target: Any, items: list) -> None:
        if type(target) not in (dict, collections.OrderedDict, collections.Counter, *self.allowed_classes):
            raise TypeError(f"cannot set items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def add(self, target: Any, items: list) -> None:
        if type(target) is not set:
            raise TypeError(f"cannot add to a {type(target).__name__}")
        target.update(items)

    def persistent(self, pid: Any) -> Any:
        if self.persistent_load is None or not isinstance(pid, tuple):
            raise pickle.UnpicklingError("the file has a reference to a storage where none may be")
        return self.persistent_load(pid)


_PYTHON2_MODULES = {"__builtin__": "builtins"}


def _set_object_state(target: Any, state: Any) -> None:
    """What pickle does to a new object: ``__setstate__``, or attributes (in ``__dict__`` and in slots)."""
    setter = getattr(target, "__setstate__", None)
    if setter is not None:
        setter(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def _unsupported(code: int, first: bool) -> str:
    if first:
        return f"invalid load key, {chr(code)!r}: this is not a file that save() wrote"
    info = pickletools.code2op.get(chr(code))
    name = info.name if info else f"0x{code:02x}"
    return f"the pickle instruction {name} does more than build data; {safe.HOW_TO_ALLOW}"


# --- the instructions ----------------------------------------------------------------------------------------------

_U1, _U2, _U4, _U8 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
_HANDLERS: dict[int, Callable[[RestrictedUnpickler], Any]] = {}


def _on(code: bytes):
    def register(handler):
        _HANDLERS[code[0]] = handler
        return handler

    return register


def _pushes(code: bytes, make: Callable[[RestrictedUnpickler], Any]) -> None:
    """An instruction that pushes one new object."""
    _HANDLERS[code[0]] = lambda m: m.stack.append(make(m))


def _text(raw: bytes) -> str:
    return str(raw, "utf-8", "surrogatepass")


def _python2_text(m: RestrictedUnpickler, raw: bytes) -> str | bytes:
    return raw if m.encoding == "bytes" else str(raw, m.encoding)


_pushes(pickle.NONE, lambda m: None)
_pushes(pickle.NEWTRUE, lambda m: True)
_pushes(pickle.NEWFALSE, lambda m: False)
_pushes(pickle.BININT, lambda m: m.number(_I4))
_pushes(pickle.BININT1, lambda m: m.number(_U1))
_pushes(pickle.BININT2, lambda m: m.number(_U2))
_pushes(pickle.LONG1, lambda m: pickle.decode_long(m.take(m.number(_U1))))
_pushes(pickle.LONG4, lambda m: pickle.decode_long(m.take(m.number(_I4))))
_pushes(pickle.BINFLOAT, lambda m: m.number(_F8))
_pushes(pickle.BINUNICODE, lambda m: _text(m.take(m.number(_U4))))
_pushes(pickle.SHORT_BINUNICODE, lambda m: _text(m.take(m.number(_U1))))
_pushes(pickle.BINUNICODE8, lambda m: _text(m.take(m.number(_U8))))
_pushes(pickle.BINSTRING, lambda m: _python2_text(m, m.take(m.number(_I4))))
_pushes(pickle.SHORT_BINSTRING, lambda m: _python2_text(m, m.take(m.number(_U1))))
_pushes(pickle.BINBYTES, lambda m: m.take(m.number(_U4)))
_pushes(pickle.SHORT_BINBYTES, lambda m: m.take(m.number(_U1)))
_pushes(pickle.BINBYTES8, lambda m: m.take(m.number(_U8)))
_pushes(pickle.BYTEARRAY8, lambda m: bytearray(m.take(m.number(_U8))))
_pushes(pickle.EMPTY_TUPLE, lambda m: ())
_pushes(pickle.EMPTY_LIST, lambda m: [])
_pushes(pickle.EMPTY_DICT, lambda m: {})
_pushes(pickle.EMPTY_SET, lambda m: set())
_pushes(pickle.TUPLE, lambda m: tuple(m.pop_mark()))
_pushes(pickle.LIST, lambda m: m.pop_mark())
_pushes(pickle.FROZENSET, lambda m: frozenset(m.pop_mark()))
_pushes(pickle.DUP, lambda m: m.stack[-1])
_pushes(pickle.BINGET, lambda m: m.memo[m.number(_U1)])
_pushes(pickle.LONG_BINGET, lambda m: m.memo[m.number(_U4)])
_pushes(pickle.GLOBAL, lambda m: m.find(m.line(), m.line()))
_pushes(pickle.BINPERSID, lambda m: m.persistent(m.pop()))


@_on(pickle.PROTO)
def _proto(m):
    version = m.number(_U1)
    if version > pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"unsupported pickle protocol: {version}")


@_on(pickle.FRAME)
def _frame(m):
    m.take(8)


@_on(pickle.STOP)
def _stop(m):
    return _MARK


@_on(pickle.MARK)
def _mark(m):
    m.marks.append(len(m.stack))


@_on(pickle.POP)
def _pop(m):
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


@_on(pickle.POP_MARK)
def _pop_mark(m):
    m.pop_mark()


def _tuple_of(count: int):
    def handler(m):
        items = [m.pop() for _ in range(count)]
        m.stack.append(tuple(reversed(items)))

    return handler


_HANDLERS[pickle.TUPLE1[0]] = _tuple_of(1)
_HANDLERS[pickle.TUPLE2[0]] = _tuple_of(2)
_HANDLERS[pickle.TUPLE3[0]] = _tuple_of(3)


@_on(pickle.DICT)
def _dict(m):
    out: dict = {}
    m.update(out, m.pop_mark())
    m.stack.append(out)


@_on(pickle.BINPUT)
def _binput(m):
    m.memo[m.number(_U1)] = m.stack[-1]


@_on(pickle.LONG_BINPUT)
def _long_binput(m):
    m.memo[m.number(_U4)] = m.stack[-1]


@_on(pickle.MEMOIZE)
def _memoize(m):
    m.memo[len(m.memo)] = m.stack[-1]


@_on(pickle.STACK_GLOBAL)
def _stack_global(m):
    name, module = m.pop(), m.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError("a global's name is not a string")
    m.stack.append(m.find(module, name))


@_on(pickle.REDUCE)
def _reduce(m):
    args = m.pop()
    m.stack.append(m.call(m.pop(), args))


@_on(pickle.NEWOBJ)
def _newobj(m):
    args = m.pop()
    m.stack.append(m.new(m.pop(), args, {}))


@_on(pickle.NEWOBJ_EX)
def _newobj_ex(m):
    kwargs, args = m.pop(), m.pop()
    m.stack.append(m.new(m.pop(), args, kwargs))


@_on(pickle.BUILD)
def _build(m):
    state = m.pop()
    m.build(m.stack[-1], state)


@_on(pickle.APPEND)
def _append(m):
    item = m.pop()
    m.extend(m.stack[-1], [item])


@_on(pickle.APPENDS)
def _appends(m):
    items = m.pop_mark()
    m.extend(m.stack[-1], items)


@_on(pickle.SETITEM)
def _setitem(m):
    value, key = m.pop(), m.pop()
    m.update(m.stack[-1], [key, value])


@_on(pickle.SETITEMS)
def _setitems(m):
    items = m.pop_mark()
    m.update(m.stack[-1], items)


@_on(pickle.ADDITEMS)
def _additems(m):
    items = m.pop_mark()
    m.add(m.stack[-1], items)
