"""Other code for a function that stays the same object.

A program may have imported a public function before jtorch has a reason to look at its arguments (``from
torch.nn.functional import relu``), or keep a table by function (``handlers[torch.clone]``). Replacing the function in
its module would come too late for the first and miss the second. So the function object keeps its place, and its code
is exchanged for code that hands all arguments to somebody else.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable

#: The functions that have other code for a while, with the code they are to have afterwards.
lent: dict[types.FunctionType, types.CodeType] = {}


@functools.lru_cache(None)
def _template(free: tuple[str, ...]) -> types.CodeType:
    """Code of a function ``(*args, **kwargs)`` that hands them to the constant ``"ASK"``.

    Args:
        free: the variables of its closure. Python insists that code put into a function has as many as before.
    """
    mention = f"; ({', '.join(free)},)" if free else ""
    outer = "".join(f"    {name} = None\n" for name in free)
    inner = f"    def f(*args, **kwargs): ask = 'ASK'; return ask(args, kwargs){mention}"
    place: dict = {}
    exec(compile(f"def outer():\n{outer}{inner}", "<recoded>", "exec"), place)
    made = next(c for c in place["outer"].__code__.co_consts if isinstance(c, types.CodeType))
    if len(made.co_freevars) != len(free):
        raise RuntimeError(f"the code made for a closure of {free} has the variables {made.co_freevars}")
    return made


def asking(code: types.CodeType, ask: Callable) -> types.CodeType:
    """Code that may stand in the place of ``code``, and calls ``ask(args, kwargs)``."""
    template = _template(code.co_freevars)
    constants = tuple(ask if c == "ASK" else c for c in template.co_consts)
    return template.replace(
        co_consts=constants, co_name=code.co_name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno
    )


def with_code(fn: types.FunctionType, code: types.CodeType) -> types.FunctionType:
    """A function like ``fn`` that runs ``code``."""
    made = types.FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__ = fn.__kwdefaults__
    made.__dict__.update(fn.__dict__)
    return made
