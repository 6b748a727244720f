"""Sequences (Python lists of tensors) and optionals (a value, or None)."""

from __future__ import annotations

import numpy as np

import jtorch

from .registry import handles, host, tensor


class Absent:
    """An optional that holds nothing."""


ABSENT = Absent()


def _position(at, length: int) -> int:
    i = int(np.asarray(host(at)).reshape(-1)[0])
    return i + length if i < 0 else i


@handles("SequenceEmpty", host="all")
def sequence_empty(n):
    return ([],)


@handles("SequenceConstruct", host="all")
def sequence_construct(n, *xs):
    return (list(xs),)


@handles("SequenceLength", host="all")
def sequence_length(n, s):
    return np.array(len(s), np.int64)


@handles("SequenceAt", host="all")
def sequence_at(n, s, at):
    return s[_position(at, len(s))]


@handles("SequenceInsert", host="all")
def sequence_insert(n, s, x, at=None):
    out = list(s)
    out.insert(len(s) if at is None else _position(at, len(s)), x)
    return (out,)


@handles("SequenceErase", host="all")
def sequence_erase(n, s, at=None):
    out = list(s)
    del out[-1 if at is None else _position(at, len(s))]
    return (out,)


@handles("ConcatFromSequence", host="all")
def concat_from_sequence(n, s):
    axis = n.get("axis")
    xs = [tensor(x, n.interpreter.device) for x in s]
    return jtorch.stack(xs, axis) if n.get("new_axis", 0) else jtorch.cat(xs, axis)


@handles("SplitToSequence", host="all")
def split_to_sequence(n, x, sizes=None):
    x, axis = tensor(x, n.interpreter.device), n.get("axis", 0)
    total = x.shape[axis]
    if sizes is None:
        parts = list(jtorch.split(x, 1, axis))
        return ([p if n.get("keepdims", 1) else p.squeeze(axis) for p in parts],)
    sizes = host(sizes)
    if sizes.ndim == 0:
        each = int(sizes)
        sizes = [min(each, total - i) for i in range(0, total, each)]
    return (list(jtorch.split(x, [int(i) for i in sizes], axis)),)


@handles("SequenceMap", host="all")
def sequence_map(n, s, *others):
    body, outer = n.get("body"), n._scope
    results = [
        n.interpreter.graph(body, [x, *(o[i] if isinstance(o, list) else o for o in others)], outer)
        for i, x in enumerate(s)
    ]
    if not results:
        return tuple([] for _ in body.output)
    return tuple(list(parts) for parts in zip(*results, strict=True))


@handles("Optional", host="all")
def optional(n, x=None):
    return ABSENT if x is None else x


@handles("OptionalHasElement", host="all")
def optional_has_element(n, x=None):
    return np.array(x is not None and x is not ABSENT)


@handles("OptionalGetElement", host="all")
def optional_get_element(n, x):
    if x is ABSENT or x is None:
        raise n.unsupported("reading an optional that holds nothing")
    return (x,) if isinstance(x, list) else x
