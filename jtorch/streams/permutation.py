"""Random permutations: PyTorch's Fisher-Yates shuffles without their sequential loops.

Step ``i`` of a shuffle looks at slot ``i`` and at a drawn slot; where the values end up is found from the draws alone,
by following "what was in that slot just before" links to their roots with pointer doubling.
"""

from __future__ import annotations

import numpy as np

from jtorch.streams.exact import DIGITS, from_i64, scalar_name
from jtorch.streams.layout import BLOCK
from jtorch.streams.mt19937 import HostStream

BIG = 0xFFFFFFFF // 20  #: from this length on PyTorch shuffles inside out with 64-bit draws
_LOOP = 400  # below this length a Python loop is quicker


def randperm(stream: HostStream, n: int, *, dtype=np.int64) -> np.ndarray:
    """A permutation of ``0 .. n-1``.

    Raises:
        RuntimeError: ``n`` is negative, or ``dtype`` cannot hold it.
        NotImplementedError: ``dtype`` is bool, complex or a wide unsigned type.
    """
    dtype = np.dtype(dtype)
    _check(n, dtype)
    with stream.lock:
        if n >= BIG:
            draws = np.empty(n, np.int64)
            for i in range(0, n, BLOCK):
                size = min(BLOCK, n - i)
                draws[i : i + size] = stream.words64(size) % np.arange(i + 1, i + size + 1, dtype=np.uint64)
            permutation = inside_out(draws)
        else:
            draws = stream.words(max(n - 1, 0))
            draws %= np.arange(n, 1, -1, dtype=np.uint32)
            permutation = _swap_loop(draws, n) if n < _LOOP else swaps(draws, n)
    return from_i64(permutation, dtype)


def _check(n: int, dtype: np.dtype) -> None:
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype not in DIGITS and dtype.name not in ("int64", "int32", "int16", "int8", "uint8"):
        raise NotImplementedError(f'"randperm" not implemented for {scalar_name(dtype)!r}')
    if dtype in DIGITS:
        limit = (1 << DIGITS[dtype]) + 1
        if n > limit and dtype.name != "bfloat16":  # which PyTorch lets repeat rounded values
            raise RuntimeError(f"n cannot be greater than {limit} for {scalar_name(dtype)} type.")
    elif n > np.iinfo(dtype).max + 1:
        raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")


def _swap_loop(draws: np.ndarray, n: int) -> np.ndarray:
    slots = list(range(n))
    for i, offset in enumerate(draws.tolist()):
        slots[i], slots[i + offset] = slots[i + offset], slots[i]
    return np.array(slots, np.int64)


def _roots(parent: np.ndarray) -> np.ndarray:
    while True:
        grandparent = parent.take(parent)
        if np.array_equal(grandparent, parent):
            return parent
        parent = grandparent


def _group(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort steps by key, then by time: (steps, their keys, whether the step before has the same key)."""
    bits = int(keys.size).bit_length()
    packed = keys << bits
    packed |= np.arange(keys.size)
    packed.sort()
    steps = packed & ((1 << bits) - 1)
    packed >>= bits
    same = np.zeros(keys.size, bool)
    np.equal(packed[1:], packed[:-1], out=same[1:])
    return steps, packed, same


def swaps(draws: np.ndarray, n: int) -> np.ndarray:
    """For i = 0, 1, ...: swap slots ``i`` and ``i + draws[i]``.

    Slot ``i`` is final after step i, with what lay in the target slot: the target's own number if no earlier step
    went there, else what the latest such step put there - the content of its slot just before it.
    """
    step = np.arange(n, dtype=np.int64)
    target = step.copy()
    target[: n - 1] += draws
    before = np.arange(n + 1, dtype=np.int64)
    before[np.where(target == step, n, target)] = step  # of several steps with one target the latest is kept
    content = _roots(before[:n])
    steps, values, same = _group(target)
    values[1:] = np.where(same[1:], content.take(steps[:-1]), values[1:])
    result = np.empty(n, np.int64)
    result[steps] = values
    return result


def inside_out(draws: np.ndarray) -> np.ndarray:
    """For i = 0, 1, ...: move the content of slot ``draws[i] <= i`` to slot ``i``, and put ``i`` there.

    A slot ends with the latest step that drew it, or else with what it was given at its own step: the previous step
    that drew the same slot, or, if there was none, what that slot was given at its own step.
    """
    n = draws.size
    steps, slots, same = _group(draws)
    step = np.arange(n, dtype=np.int64)
    # while a link exists it points to an earlier step; a value is stored as n + value, pointing to itself
    link = np.empty(2 * n, np.int64)
    link[n:] = np.arange(n, 2 * n)
    link[:n] = np.where(draws == step, step + n, draws)
    repeated = np.flatnonzero(same)
    link[steps[repeated]] = steps[repeated - 1] + n
    result = _roots(link)[:n] - n
    last = np.ones(n, bool)
    last[:-1] = ~same[1:]
    result[slots[last]] = steps[last]
    return result
