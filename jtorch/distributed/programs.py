"""The collectives as XLA programs over one device of each rank.

A rank's array becomes its part of a global array (nothing is copied), a compiled program runs on all ranks, and the
rank's part of the result is an ordinary array again. Programs are compiled once per kind, shape, dtype and group.
"""

from __future__ import annotations

import functools
import threading

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..trace.jaxapi import x64
from .constants import RedOpType

AXIS = "rank"
_SPEC = PartitionSpec(AXIS)
#: XLA runs one thread's programs in order, those of different threads in any. Ranks must agree on the order.
_lock = threading.RLock()
_latest: tuple = (0, [])  # the thread that started a program last, and the program's token


@functools.cache
def mesh(ranks: tuple[int, ...], platform: str) -> Mesh:
    """The first device of each rank, in the group's order."""
    first = {}
    for device in jax.devices(platform):
        first.setdefault(device.process_index, device)
    return Mesh([first[r] for r in ranks], (AXIS,))


def forget() -> None:
    """Drop what belongs to the job that ended."""
    mesh.cache_clear()
    _program.cache_clear()


def wait() -> None:
    """Wait for the programs that have been started."""
    jax.block_until_ready(_latest[1])


def run(kind: str, arrays: list, ranks: tuple[int, ...], platform: str, *static) -> tuple:
    """Start the program ``kind`` on each of ``arrays``.

    Returns:
        This rank's parts of the results, which may be under way, and an array of no content that is there when the
        program has run (results may be given away, donated, before that).

    Args:
        arrays: this rank's arrays, of at least one dimension.
        static: what else the program depends on.
    """
    global _latest
    grid = mesh(ranks, platform)
    sharding = NamedSharding(grid, _SPEC)
    with _lock, x64(True):
        thread, before = _latest
        if thread != threading.get_ident():
            jax.block_until_ready(before)
        wide = [
            jax.make_array_from_single_device_arrays(
                (len(ranks) * a.shape[0], *a.shape[1:]), sharding, [_whole(a, grid)]
            )
            for a in arrays
        ]
        *results, token = [a.addressable_data(0) for a in _program(kind, grid, static)(wide)]
        _latest = threading.get_ident(), token
    return results, token


def _whole(array, grid: Mesh):
    """An array that lies on several devices of this process, on the one that it communicates with."""
    return array if len(array.sharding.device_set) == 1 else jax.device_put(array, grid.local_devices[0])


@functools.cache
def _program(kind: str, grid: Mesh, static: tuple):
    each = functools.partial((JOINT if kind in JOINT else KINDS)[kind], n=grid.size)

    def program(arrays):
        results = each(arrays, *static) if kind in JOINT else [each(a, *static) for a in arrays]
        return [*results, jnp.zeros(1)]

    return jax.jit(jax.shard_map(program, mesh=grid, in_specs=_SPEC, out_specs=_SPEC, check_vma=False))


# --- one rank's view of each program -------------------------------------------------------------------------------


def _sum(x, n: int):
    if x.dtype == jnp.bool_:
        return lax.psum(x.astype(jnp.int32), AXIS) > 0
    if jnp.issubdtype(x.dtype, jnp.integer) and x.dtype.itemsize < 4:  # arithmetic modulo a power of two
        return lax.psum(x.astype(jnp.int32), AXIS).astype(x.dtype)
    return lax.psum(x, AXIS)


def _mean(x, n: int):
    if jnp.issubdtype(x.dtype, jnp.integer):
        return lax.div(_sum(x, n), jnp.asarray(n, x.dtype))
    return lax.psum(x / jnp.asarray(n, x.dtype), AXIS)


def _extreme(largest: bool, x, n: int):
    take = lax.pmax if largest else lax.pmin
    if x.dtype == jnp.bool_ or x.dtype.itemsize < 2:
        return take(x.astype(jnp.int32), AXIS).astype(x.dtype)
    return take(x, AXIS)


def _fold(combine, x, n: int):
    everyone = lax.all_gather(x, AXIS)
    return functools.reduce(combine, [everyone[i] for i in range(n)])


def _product(x, n: int):
    return _fold(jnp.logical_and if x.dtype == jnp.bool_ else jnp.multiply, x, n)


_REDUCTIONS = {
    RedOpType.SUM: _sum,
    RedOpType.AVG: _mean,
    RedOpType.PRODUCT: _product,
    RedOpType.MIN: functools.partial(_extreme, False),
    RedOpType.MAX: functools.partial(_extreme, True),
    RedOpType.BAND: functools.partial(_fold, jnp.bitwise_and),
    RedOpType.BOR: functools.partial(_fold, jnp.bitwise_or),
    RedOpType.BXOR: functools.partial(_fold, jnp.bitwise_xor),
}


def _reduce(x, op: RedOpType, *, n: int):
    """(…) → the same shape."""
    return _REDUCTIONS[op](x, n)


def _gather(x, *, n: int):
    """(s0, …) → (n · s0, …): the ranks' arrays one after the other."""
    return lax.all_gather(x, AXIS, axis=0, tiled=True)


def _reduce_scatter(x, op: RedOpType, *, n: int):
    """(n · s0, …) → (s0, …): this rank's part of the sum."""
    if op is RedOpType.SUM and (x.dtype.itemsize >= 4):
        return lax.psum_scatter(x, AXIS, scatter_dimension=0, tiled=True)
    rows = x.shape[0] // n
    return lax.dynamic_slice_in_dim(_REDUCTIONS[op](x, n), lax.axis_index(AXIS) * rows, rows)


def _broadcast(x, root: int, *, n: int):
    """(…) → the same shape: the root's, handed on along a binomial tree."""
    place = (lax.axis_index(AXIS) - root) % n
    have = 1
    while have < n:
        steps = [((i + root) % n, (i + have + root) % n) for i in range(min(have, n - have))]
        arrived = lax.ppermute(x, AXIS, steps)
        x = jnp.where((place >= have) & (place < 2 * have), arrived, x)
        have *= 2
    return x


def _all_to_all(x, *, n: int):
    """(n · s0, …) → (n · s0, …): part i goes to rank i, and part j comes from rank j."""
    return lax.all_to_all(x, AXIS, 0, 0, tiled=True)


KINDS = {
    "reduce": _reduce,
    "gather": _gather,
    "reduce_scatter": _reduce_scatter,
    "broadcast": _broadcast,
    "all_to_all": _all_to_all,
}


# --- many arrays at once ---------------------------------------------------------------------------------------------

SMALL = 512 * 1024


def _runs(arrays, dtypes) -> list[list[int]]:
    """Which arrays travel together: the small ones of one dtype, as copying a large one costs more than it saves."""
    small: dict = {}
    runs = []
    for i, (a, dtype) in enumerate(zip(arrays, dtypes, strict=True)):
        if a.size * dtype.itemsize < SMALL:
            small.setdefault(dtype, []).append(i)
        else:
            runs.append([i])
    return runs + list(small.values())


def _gather_parts(arrays, dtypes, *, n: int):
    """Each (s0, …) → (n · s0, …) of its dtype in ``dtypes``."""
    out = [None] * len(arrays)
    arrays = [a.astype(d) for a, d in zip(arrays, dtypes, strict=True)]
    for run in _runs(arrays, dtypes):
        flat = jnp.concatenate([jnp.ravel(arrays[i]) for i in run])
        rows, start = lax.all_gather(flat, AXIS), 0
        for i in run:
            a = arrays[i]
            out[i] = jnp.reshape(rows[:, start : start + a.size], (n * a.shape[0], *a.shape[1:]))
            start += a.size
    return out


def _reduce_parts(arrays, dtypes, results, factor: float, *, n: int):
    """Each (n · s0, …) → (s0, …): this rank's part of the sum, formed in its dtype in ``dtypes``, times ``factor``.

    Args:
        results: the dtypes of the results.
    """
    out = [None] * len(arrays)
    for run in _runs(arrays, dtypes):
        # rank by rank, so that each rank's part of all of them lies together
        rows = jnp.concatenate([jnp.reshape(arrays[i].astype(dtypes[i]), (n, -1)) for i in run], 1)
        mine, start = _reduce_scatter(jnp.ravel(rows), RedOpType.SUM, n=n), 0
        mine = mine * jnp.asarray(factor, mine.dtype)
        for i in run:
            shape = (arrays[i].shape[0] // n, *arrays[i].shape[1:])
            size = arrays[i].size // n
            out[i] = jnp.reshape(mine[start : start + size], shape).astype(results[i])
            start += size
    return out


JOINT = {"gather_parts": _gather_parts, "reduce_parts": _reduce_parts}
