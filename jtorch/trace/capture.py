"""Watching a function run once: what of it is a stretch of one trace, and what cannot be replayed.

While a :class:`Log` is active on a thread, the boundaries that would end a trace there (``optimizer.step()``,
``backward()``) are held back until the function returns, so that all it does is one stretch of calls. Whatever a
replay could not repeat (a value read by the host, numbers drawn in a way that is not known) is noted with the user's
line; the function itself runs on undisturbed.
"""

from __future__ import annotations

import operator
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from .. import errors
from . import tail


class _ThreadState(threading.local):
    def __init__(self):
        self.log: Log | None = None


state = _ThreadState()


def recorded() -> int:
    """How many calls this thread has pending."""
    from . import recorder

    return sum(len(t.calls) for t in recorder.open_traces().values())


class GraphBreak(errors.TorchDynamoException):
    """``fullgraph=True``, and what the function does next hangs on a value (``torch._dynamo.exc.Unsupported``)."""


#: reads whose outcome Python goes on with; a number or an array that is read may just be an operand, as in PyTorch
_DECISIVE = ("bool()", "tolist()", "print")


@dataclass
class Draw:
    """Random numbers a generator draws anew at each replay: ``make()`` is the Value, in place of leaf ``value``.

    On devices where numbers are drawn in the program, ``make()`` gives the run-time operands from ``position`` on.
    """

    make: object
    value: object = None
    position: int = 0


@dataclass
class Read:
    """A hyper-parameter was read: ``number`` is what the run got, ``read()`` what a replay gets."""

    number: object
    read: object


@dataclass
class Action:
    """Host code that a replay runs again (a schedule's step)."""

    run: object


class Sourced(float):
    """A hyper-parameter that knows where it came from, until somebody computes with it.

    Handed to a program as a run-time operand it is read afresh at each replay; any other use notes that the function
    depends on its value.
    """

    __slots__ = ("read", "key", "log")

    def __new__(cls, value: float, read, key, log: Log):
        self = super().__new__(cls, value)
        self.read, self.key, self.log = read, key, log
        return self

    def __reduce__(self):
        self.log.used.add(self.key)
        return float, (float.__float__(self),)


def _noting(name: str):
    plain = getattr(float, name)

    def method(self, *others):
        if state.log is self.log:  # and not the machinery, once the function's operations run
            self.log.used.add(self.key)
        return plain(self, *others)

    method.__name__ = name
    return method


for _name in (
    "__abs__", "__add__", "__bool__", "__divmod__", "__eq__", "__float__", "__floordiv__", "__format__", "__ge__",
    "__gt__", "__hash__", "__int__", "__le__", "__lt__", "__mod__", "__mul__", "__ne__", "__neg__", "__pos__",
    "__pow__", "__radd__", "__rdivmod__", "__repr__", "__rfloordiv__", "__rmod__", "__rmul__", "__round__", "__rpow__",
    "__rsub__", "__rtruediv__", "__str__", "__sub__", "__truediv__", "__trunc__", "as_integer_ratio", "is_integer",
    "hex",
):  # fmt: skip
    setattr(Sourced, _name, _noting(_name))


class SourcedGroup(dict):
    """An optimizer's parameter group as the library's own step reads it, its numbers :class:`Sourced`."""

    def __init__(self, group: dict, log: Log, given: dict = {}):  # noqa: B006 (never written)
        super().__init__(group | given)
        self.group, self.log, self.given = group, log, given

    def __or__(self, other):
        return SourcedGroup(self.group, self.log, self.given | other)

    def get(self, name, default=None):
        return self[name] if name in self else default

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if name in self.given:
            return value
        group = self.group
        if value.__class__ is float:
            return self.log.sourced(value, lambda: group[name], (id(group), name))
        if value.__class__ is tuple and value and all(v.__class__ is float for v in value):
            return tuple(
                self.log.sourced(v, lambda i=i: group[name][i], (id(group), name)) for i, v in enumerate(value)
            )
        self.log.used.add((id(group), name))
        return value


class ReadNumber(int):
    """A whole number read where only handing back is left (:mod:`.tail`): to be told from others of its value."""

    def __float__(self):
        refuse("a number is converted that was read from a tensor")
        return float(int.__int__(self))

    def __reduce__(self):
        return int, (int.__int__(self),)


@dataclass(frozen=True)
class Frames:
    """Whose frames may lie between a read and the captured function.

    Attributes:
        root: the code that calls the function.
        between: code of the library's that hands results on.
    """

    root: object
    between: frozenset = frozenset()


class Log:
    """What one watched run did.

    Attributes:
        refusal: why it cannot be replayed, with the user's line; None while it can.
        events: draws, reads of hyper-parameters and actions, in order.
        used: keys ``(id of the group, name)`` of hyper-parameters whose value the run depended on.
        offered: keys of hyper-parameters that were read as :class:`Sourced`.
        frames: where reads may end the run; None: nowhere.
        lists: whether ``fullgraph`` lets ``tolist()`` be called.
        at_end: called before the first of these reads, when all operations have been recorded.
        ended: whether that was.
        reads: the values read from then on, with the numbers.
        views: ``(storage, its count of writes, lens, value)`` of tensors from outside that are views.
        steps: how often an optimizer stepped; ``accumulates``: a backward that would have ended the trace.
    """

    def __init__(self, fullgraph: bool = False, hold: bool = True, frames: Frames | None = None, lists: bool = False):
        self.lists = lists
        self.refusal: str | None = None
        self.fullgraph = fullgraph
        self.events: list = []
        self.used: set = set()
        self.offered: set = set()
        self.steps = 0
        self.backwards = 0
        self.accumulates = False
        self.walks = 0  # backward passes of any kind
        self.leaves: list = []  # that got a gradient
        self.hold = hold  # whether boundaries are held back
        self.made: list = []  # where they are: values put on a device meanwhile, constants if nothing else
        self.frames = frames
        self.at_end = None
        self.ended = False
        self.reads: list[tuple] = []
        self.views: list[tuple] = []

    def origin(self, storage, lens: tuple) -> tuple:
        """What a view of ``storage`` is read from, and by which steps: from a tensor given that is a view itself, so
        that a replay reads it where the tensor that is given then lies, else from the storage."""
        for known, writes, first, value in self.views:
            if known is storage and storage.writes == writes and len(first) <= len(lens):
                if all(map(operator.is_, first, lens)):
                    return value, lens[len(first) :]
        return storage.value, lens

    def refuse(self, why: str) -> None:
        """Note, once, what a replay cannot repeat."""
        if self.refusal is None:
            self.drop(f"{why}, at {errors.user_line()}")

    def drop(self, refusal: str) -> None:
        """Stop noting: nothing that was noted is needed any more, and must not keep memory."""
        self.refusal = refusal
        self.events.clear()
        self.made.clear()
        self.leaves.clear()
        self.reads.clear()
        self.views.clear()

    def ends(self) -> bool:
        """Whether the number that is being read, two frames up, is only handed back from there on."""
        if self.refusal is not None or self.frames is None:
            return False
        frame = sys._getframe(2)
        with unprofiled():
            return tail.only_returns(frame, self.frames.root, self.frames.between)

    def read(self, tensor, convert):
        """The number ``convert()`` reads from ``tensor``, after whatever the run recorded."""
        value = tensor._value()
        if not self.ended:
            if self.at_end is not None:
                self.at_end()
            self.ended = True
        with watching(None):
            number = convert()
        if self.refusal is not None:
            return number
        if number.__class__ is int:
            number = ReadNumber(number)
        if number.__class__ is bool:
            self.refuse("a truth value is read")
        self.reads.append((value, number))
        return number

    def needs(self, cause: str) -> None:
        """A value is read: :meth:`breaks`, but for what PyTorch's compiler has in its graph."""
        why = f"a value is needed ({cause})"
        decides = cause in _DECISIVE and not (self.lists and cause == "tolist()")
        if decides and not (self.fullgraph and cause == "bool()" and tail.asserted()):
            self.breaks(why)
        else:
            self.refuse(why)

    def breaks(self, why: str) -> None:
        """As :meth:`refuse`, for what would split the function into several programs.

        Raises:
            GraphBreak: under ``fullgraph=True``.
        """
        self.refuse(why)
        if self.fullgraph:
            raise GraphBreak(
                f"fullgraph=True, but {why} at {errors.user_line()}. Move it out of the compiled function, express it "
                "with tensor operations (jtorch.where, masks), or compile without fullgraph."
            )

    def sourced(self, value: float, read, key) -> Sourced:
        self.offered.add(key)
        number = Sourced(value, read, key, self)
        self.events.append(Read(number, read))
        return number


def current() -> Log | None:
    """The log that is active on this thread."""
    return state.log


def breaks(why: str) -> None:
    """Note on the active log, if there is one, that the function cannot be one program."""
    log = state.log
    if log is not None:
        log.breaks(why)


def refuse(why: str) -> None:
    """Note on the active log, if there is one, that the function cannot be replayed."""
    log = state.log
    if log is not None:
        log.refuse(why)


def allowed():
    """What the block reads keeps a function from being replayed, and is no error under ``fullgraph=True``: PyTorch's
    compiler has it in its graph (the body of a custom operation, the predicate of ``cond``)."""
    log = state.log
    return nullcontext() if log is None or not log.fullgraph else _allowed(log)


@contextmanager
def _allowed(log: Log):
    log.fullgraph = False
    try:
        yield
    finally:
        log.fullgraph = True


@contextmanager
def watching(log: Log | None):
    """Make ``log`` the active one inside the block (None: watch nothing)."""
    before, state.log = state.log, log
    try:
        yield log
    finally:
        state.log = before


def replayed(method):
    """A method (returning None) that is pure host work and is run again at each replay of a function that calls it."""
    import functools

    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        log = state.log
        if log is None:
            return method(self, *args, **kwargs)
        if args or kwargs:
            log.refuse(f"{type(self).__name__}.{method.__name__}() is called with arguments")
        log.events.append(Action(lambda: method(self)))
        before = recorded()
        with watching(None), unprofiled():
            result = method(self, *args, **kwargs)
        if recorded() != before or result is not None:
            log.refuse(f"{type(self).__name__}.{method.__name__}() computes with tensors")
        return result

    return wrapper


@contextmanager
def unprofiled():
    """Without the profile function that watches which code runs (:class:`jtorch.compiler.watch.Watch`)."""
    before = sys.getprofile()
    if not getattr(before, "pauses", False):
        yield
        return
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(before)
