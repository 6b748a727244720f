"""Functions from text: TorchScript's source is Python, so it is run as Python."""

from __future__ import annotations

import itertools
import linecache
import math
import textwrap
import typing
from importlib import import_module

from ..futures import Future
from ..tensor import Tensor

_numbers = itertools.count()


def functions(text: str) -> dict:
    """The functions that ``text`` defines, by name; it may use ``torch``, ``math`` and the names of :mod:`typing`."""
    text = textwrap.dedent(text)
    file = f"<torch.jit {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # for tracebacks and inspect
    known = {
        "torch": import_module("jtorch"), "math": math, "Tensor": Tensor, "Future": Future,
        **{name: getattr(typing, name) for name in ("Any", "Dict", "Final", "List", "NamedTuple", "Optional", "Tuple",
                                                    "Union")},
    }  # fmt: skip
    space = {"__name__": "torch.jit.source", **known}
    exec(compile(text, file, "exec"), space)
    return {name: x for name, x in space.items() if name not in known and getattr(x, "__globals__", None) is space}


__all__ = ["functions"]
