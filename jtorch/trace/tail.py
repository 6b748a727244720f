"""Whether all that is left of a function is to hand numbers back.

A training step often ends in ``return loss.item()``. The number is not known when the step is captured, and need not
be, as long as nothing that the rest of the function does depends on it. That is read off the bytecode: from the line
that reads the number on, in every frame up to the captured function, there is nothing but loads, stores to local
variables, tuples, lists and dicts, loops over containers, and further reads.
"""

from __future__ import annotations

import bisect
import builtins
import dis
import functools
import inspect
import sys
import types

from ..errors import _OURS

#: move data about, or loop over a container; none looks at a number
_MOVES = frozenset(
    """NOP CACHE RESUME PRECALL PUSH_NULL POP_TOP SWAP COPY KW_NAMES EXTENDED_ARG END_FOR POP_ITER NOT_TAKEN
    LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW
    LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_CONST LOAD_SMALL_INT LOAD_COMMON_CONSTANT LOAD_CLOSURE LOAD_DEREF
    LOAD_GLOBAL LOAD_ATTR LOAD_METHOD STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST DELETE_FAST
    BUILD_TUPLE BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP LIST_APPEND MAP_ADD LIST_EXTEND UNPACK_SEQUENCE GET_ITER
    FOR_ITER JUMP_FORWARD JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT RETURN_VALUE RETURN_CONST""".split()
)
_JUMPS = frozenset(("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"))
_RETURNS = frozenset(("RETURN_VALUE", "RETURN_CONST"))
#: methods that read a number, or move objects
_METHODS = frozenset(("item", "detach", "cpu", "append", "items", "values", "keys"))
_LIMIT = 2000  # states looked at


def only_returns(frame: types.FrameType, root: types.CodeType, between: frozenset) -> bool:
    """Whether nothing but handing back is left, from ``frame`` up to the caller whose code is ``root``.

    Args:
        frame: the program's frame that reads a number.
        between: code of the library's that may stand between frames of the program (it hands results on).
    """
    while frame is not None and frame.f_code is not root:
        code = frame.f_code
        if code.co_filename.startswith(_OURS):
            if code not in between:
                return False
        elif (
            code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
            or "float" in frame.f_globals
            or frame.f_builtins.get("float") is not builtins.float
            or not _straight(code, frame.f_lasti)
        ):
            return False
        frame = frame.f_back
    return frame is not None


@functools.lru_cache(1024)
def _straight(code: types.CodeType, offset: int) -> bool:
    instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
    index = {i.offset: n for n, i in enumerate(instructions)}
    start = bisect.bisect_right(list(index), offset)  # the offset may be that of a call's inline cache
    if instructions[start - 1].opname == "PRECALL":  # CPython 3.11 makes some calls there, and skips the other half
        start += 1
    todo, seen = [(start, 0)], set()  # (instruction, functions loaded since and not yet called)
    while todo:
        state = n, loaded = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        if n >= len(instructions) or len(seen) > _LIMIT:
            return False
        i = instructions[n]
        name = i.opname
        if name == "CALL":
            if not _leaves_a_block(instructions, n):
                if not loaded:
                    return False
                loaded -= 1
        elif name not in _MOVES:
            return False
        elif name == "LOAD_METHOD" or (name == "LOAD_ATTR" and "NULL|self" in i.argrepr):
            if i.argval not in _METHODS:
                return False
            loaded += 1
        elif name == "LOAD_GLOBAL" and i.argval == "float":
            loaded += 1
        if name in _RETURNS:
            continue
        if name in _JUMPS or name == "FOR_ITER":
            todo.append((index[i.argval], loaded))
            if name != "FOR_ITER":
                continue
        todo.append((n + 1, loaded))
    return True


def asserted() -> bool:
    """Whether the truth value that the program reads decides an ``assert`` (and nothing else)."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame is not None and _decides_assert(frame.f_code, frame.f_lasti)


@functools.lru_cache(1024)
def _decides_assert(code: types.CodeType, offset: int) -> bool:
    rest = [i for i in dis.get_instructions(code) if i.offset >= offset and i.opname not in ("CACHE", "NOT_TAKEN")]
    jump, then, *_ = rest[rest[0].opname == "TO_BOOL" :] + 2 * rest[:1]
    raises = then.opname == "LOAD_ASSERTION_ERROR" or then.argval is AssertionError  # from CPython 3.14 on, a constant
    return "JUMP_" in jump.opname and "_IF_" in jump.opname and raises


def _leaves_a_block(instructions, n: int) -> bool:
    """Whether call ``n`` is the end of a ``with`` block: ``__exit__(None, None, None)``."""
    before = [i for i in instructions[max(n - 4, 0) : n] if i.opname != "PRECALL"][-3:]
    return len(before) == 3 and all(i.opname == "LOAD_CONST" and i.argval is None for i in before)
