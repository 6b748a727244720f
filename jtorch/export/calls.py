"""Which calls of modules the operations of a recording belong to."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools

from ..nn.modules.module import Module
from ..tensor import Tensor
from ..trace.recorder import open_traces
from . import structure


@dataclasses.dataclass(frozen=True)
class Signature:
    """How a module was called: the nesting of its arguments and results, and where their tensors are recorded."""

    in_form: object
    inputs: tuple[int, ...]
    out_form: object
    outputs: tuple[int, ...]


class Calls:
    """Notes, while a function is recorded inside the block, when the modules of ``owner`` are entered and left.

    Args:
        kept: names of modules the :class:`Signature` of whose calls are noted as well.
    """

    def __init__(self, owner: Module | None, kept: tuple[str, ...] = ()):
        named = [] if owner is None else list(owner.named_modules(remove_duplicate=False))
        self.names = [name for name, _ in named]
        self._names = {m: name for name, m in reversed(named)}  # the first of several
        self._kept = kept
        self._stack: dict[str, tuple[str, str]] = {}
        self._counts: collections.Counter = collections.Counter()
        self._begun: list = []
        #: where the trace had got to when the stack changed, and the stack from there on
        self._since: list[int] = [0]
        self._stacks: list[dict] = [{}]
        self.signatures: dict[str, Signature] = {}  # by call

    def __enter__(self):
        self._handles = []
        for module, name in self._names.items():  # by name: a scripted module calls its original, with the same hooks
            entered, left = functools.partial(self._entered, name), functools.partial(self._left, name)
            self._handles += [
                module.register_forward_pre_hook(entered, prepend=True, with_kwargs=True),
                module.register_forward_hook(left),
            ]
        return self

    def __exit__(self, *exc):
        for handle in self._handles:
            handle.remove()
        self._names = {}  # a program does not hold the module it was made from

    def stack(self, number: int) -> dict[str, tuple[str, str]]:
        """The modules that were being called when operation ``number`` was recorded, outermost first, as
        ``{call: (name, class)}``. Further calls of a module are told apart by ``@1``, ``@2``."""
        return self._stacks[bisect.bisect_right(self._since, number) - 1]

    def _note(self, stack: dict) -> None:
        self._stack = stack
        self._since.append(len(_trace().calls))
        self._stacks.append(stack)

    def _entered(self, name: str, module, args, kwargs) -> None:
        # the arguments belong to what comes before: reading a view is an operation
        described = _described([list(args), kwargs]) if name in self._kept else None
        number, self._counts[name] = self._counts[name], self._counts[name] + 1
        call = f"L__self__{name}" + (f"@{number}" if number else "")
        self._begun.append((self._stack, call, described))
        self._note({**self._stack, call: (name, f"{type(module).__module__}.{type(module).__qualname__}")})

    def _left(self, name: str, module, args, result) -> None:
        before, call, described = self._begun.pop()
        if described is not None:
            self.signatures[call] = Signature(*described, *_described(result))
        self._note(before)


def _trace():
    """What is being recorded into."""
    return next(iter(open_traces().values()))


def _described(tree) -> tuple[object, tuple[int, ...]]:
    slots: list[int] = []

    def number(x):
        if not isinstance(x, Tensor):
            return None
        slots.append(_trace().slot_of(x._value()))
        return len(slots) - 1

    return structure.describe(tree, number), tuple(slots)


__all__ = ["Calls", "Signature"]
