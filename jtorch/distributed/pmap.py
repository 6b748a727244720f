"""``pmap``: one function, run on every device on its own part of the arguments.

The semantics are ``jax.pmap``'s. At each call the function is recorded once, on values of one device's shapes, into a
trace of its own. That trace becomes one call of the surrounding one: a ``shard_map`` of its program, over the devices.
So it is compiled with what surrounds it, and Python numbers and captured tensors may differ from call to call.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from .. import dtypes
from ..ops.registry import Array, op
from ..tape import engine
from ..tensor import Tensor, dispatch
from ..tensor.creation import dtype_of, on_device
from ..trace import recorder
from ..trace.aval import SCALAR_AVALS, Hyper, aval
from ..trace.call import Call
from ..trace.program import Program
from ..trace.value import Value, of_array
from . import layout
from .device_mesh import local_devices


class _Axes(threading.local):
    """The axes of the pmapped functions now being recorded, with their sizes."""

    def __init__(self):
        self.sizes: dict[str, int] = {}


_axes = _Axes()


# --- collectives ---------------------------------------------------------------------------------------------------


def _bound(axis_name: str) -> bool:
    """Whether JAX is tracing inside the axis; outside only shapes are asked for."""
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


# The transpose of a sum over devices is a sum over devices, as in jax.pmap. Written out, because the derivative is
# taken outside the axis.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _summed(x, axis_name):
    return jax.lax.psum(x, axis_name) if _bound(axis_name) else x


_summed.defvjp(lambda x, axis_name: (_summed(x, axis_name), None), lambda axis_name, _, g: (_summed(g, axis_name),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(x, axis_name, size):
    return jax.lax.all_gather(x, axis_name) if _bound(axis_name) else jnp.broadcast_to(x[None], (size, *x.shape))


def _gathered_backward(axis_name, size, _, g):
    return (jax.lax.psum_scatter(g, axis_name) if _bound(axis_name) else g[0],)


_gathered.defvjp(lambda x, axis_name, size: (_gathered(x, axis_name, size), None), _gathered_backward)


@op(name="_psum", namespaces=(), grad_name="PsumBackward0")
def _psum(input: Array, *, axis_name):
    """The sum over an axis of devices."""
    return _summed(input, axis_name)


@op(name="_axis_all_gather", namespaces=(), grad_name="AllGatherBackward0")
def _axis_all_gather(input: Array, *, axis_name, size):
    """The tensors of all devices of an axis, stacked."""
    return _gathered(input, axis_name, size)


@op(name="_axis_index", namespaces=(), differentiable=False)
def _axis_index(*, axis_name):
    """The number of the device along an axis."""
    return (jax.lax.axis_index(axis_name) if _bound(axis_name) else jnp.zeros((), jnp.int32)).astype(jnp.int64)


def _size(axis_name: str, what: str) -> int:
    if axis_name not in _axes.sizes:
        known = f"the axes here are {sorted(_axes.sizes)}" if _axes.sizes else "no pmapped function is running"
        raise NameError(f"{what}: unbound axis name {axis_name!r}; {known}")
    return _axes.sizes[axis_name]


def _each(tree, fn):
    return jax.tree.map(fn, tree, is_leaf=lambda x: isinstance(x, Tensor))


def psum(x, axis_name: str):
    """The sum of ``x`` (a tensor, number, or tree of them) over the devices of a pmapped axis.

    Raises:
        NameError: no pmapped function with that axis is running.
    """
    n = _size(axis_name, "psum")
    return _each(x, lambda t: dispatch.call("_psum", t, axis_name=axis_name) if isinstance(t, Tensor) else t * n)


def pmean(x, axis_name: str):
    """The mean of ``x`` (a tensor, number, or tree of them) over the devices of a pmapped axis.

    Raises:
        NameError: no pmapped function with that axis is running.
    """
    n = _size(axis_name, "pmean")
    return _each(psum(x, axis_name), lambda t: t / n)


def all_gather(x, axis_name: str):
    """The tensors of all devices of a pmapped axis, stacked along a new first dimension.

    Raises:
        NameError: no pmapped function with that axis is running.
    """
    n = _size(axis_name, "all_gather")
    return _each(x, lambda t: dispatch.call("_axis_all_gather", t, axis_name=axis_name, size=n))


def axis_index(axis_name: str):
    """The number of the device along a pmapped axis, as a 0-d int64 tensor.

    Raises:
        NameError: no pmapped function with that axis is running.
    """
    _size(axis_name, "axis_index")
    return on_device("_axis_index", None, axis_name=axis_name)


# --- recording -----------------------------------------------------------------------------------------------------


class _Recording(recorder.Trace):
    """The trace of a pmapped function: values in it have no content."""

    __slots__ = ()

    def argument(self, of):
        """A tensor that stands for one device's part of an argument."""
        value = Value(of, self.device)
        value.trace, value.slot = self, -1 - len(self.leaf_arrays)
        self.leaf_arrays.append(of.sds)
        self.leaf_refs.append(None)
        self.leaf_avals.append(of.id)
        return dispatch.wrap(value)

    def flush(self, cause: str) -> None:
        if self.closed:
            raise RuntimeError(
                f"{cause}: this value was computed inside a pmapped function and not returned by it; only results "
                "leave it"
            )
        raise RuntimeError(
            f"{cause}: inside a pmapped function tensors have no content yet, so none can be read; return what you "
            "want to read"
        )

    def captured(self) -> list[Value]:
        """The values that were used from outside, in order."""
        pairs = zip(self.leaf_refs, self.leaf_arrays, strict=True)
        return [r() or self._revived(a) for r, a in pairs if r is not None]

    def _revived(self, array) -> Value:
        value = of_array(array, self.device)
        if len(array.sharding.device_set) > 1:
            value.sharding = array.sharding
        return value

    def undo_writes(self) -> bool:
        """Give storages from outside that were written their value back; whether there are any."""
        found = False
        for storage_ref, before in reversed(self.written):
            storage = storage_ref()
            if storage is None or isinstance(before, int) and self.leaf_refs[-1 - before] is None:
                continue  # gone with the function, or one of its arguments
            value = self._revived(self.leaf_arrays[-1 - before]) if isinstance(before, int) else before()
            if value is not None:
                storage.value, found = value, True
        return found


def pmap(
    fun: Callable, axis_name: str | None = None, *, in_axes=0, out_axes=0, static_broadcasted_argnums=(), devices=None
):
    """``fun``, run on several devices at once, each on its part of the arguments.

    Args:
        axis_name: the name that :func:`psum`, :func:`pmean`, :func:`all_gather` and :func:`axis_index` use in ``fun``.
        in_axes: for each argument (or for all) the dimension along which it is cut, one slice a device, or None to
            give every device the whole. Tensors inside tuples, lists and dicts are cut alike.
        out_axes: where the results of the devices are stacked; None takes the first device's.
        static_broadcasted_argnums: arguments passed as they are.
        devices: which to use (JAX devices); default: the first local ones.

    Tensors that ``fun`` uses from outside are whole on every device; it must not write to them. Random numbers drawn
    inside are the same on every device. Gradients taken outside flow to the arguments; gradients with respect to
    captured tensors are taken inside, with ``jtorch.autograd.grad``.

    Raises (when called):
        ValueError: cut dimensions differ in length, or are longer than there are devices.
        RuntimeError: ``fun`` reads a tensor, or writes to one from outside.
    """
    name = axis_name if axis_name is not None else "_pmap"
    static = {static_broadcasted_argnums} if isinstance(static_broadcasted_argnums, int) else {
        *static_broadcasted_argnums
    }  # fmt: skip

    @functools.wraps(fun)
    def run(*args, **kwargs):
        return _run(fun, name, args, kwargs, in_axes, out_axes, static, devices)

    return run


def _run(fun, name, args, kwargs, in_axes, out_axes, static, devices):
    if _axes.sizes:
        raise NotImplementedError("pmap inside a pmapped function is not supported; use one pmap, or DTensor")
    axes = (in_axes,) * len(args) if in_axes is None or isinstance(in_axes, int) else tuple(in_axes)
    if len(axes) != len(args):
        raise ValueError(f"pmap: in_axes has {len(axes)} entries, but {len(args)} arguments were given")
    leaves, tree = jax.tree.flatten((args, kwargs), is_leaf=_is_leaf)
    axis_of = [
        None if i in static else a
        for i, (a, x) in enumerate([*zip(axes, args, strict=True), *((0, kwargs[k]) for k in sorted(kwargs))])
        for _ in jax.tree.leaves(x, is_leaf=_is_leaf)
    ]
    where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    cut = tuple(axis_of[i] is not None for i in where)
    given = [_front(leaves[i], axis_of[i]) for i in where]
    if True not in cut:
        raise ValueError("pmap: at least one tensor argument must be cut over the devices (its in_axes not None)")
    device = given[0].device
    size = _checked_size([t for t, c in zip(given, cut, strict=True) if c], device, devices)
    mesh = _mesh(name, tuple(devices or local_devices(device.type))[:size])

    recording = _Recording(device, {})
    for i, t, c in zip(where, given, cut, strict=True):
        leaves[i] = recording.argument(aval(tuple(t.shape[1:] if c else t.shape), t.dtype))
    results, out_tree, captured = _record(fun, recording, *jax.tree.unflatten(tree, leaves), name, size)
    operands = [t._value() for t in given] + captured
    call = _call(recording, tuple(v.slot for v in results), operands, cut, mesh, name, out_axes is None)
    operands += [*recording.scalars, *recording.hypers, layout.anchor(mesh, device)._value()]
    edges = [t._history() for t in given] + [None] * (len(operands) - len(given))
    values, node = engine.apply_call(call, operands, edges, "PmapBackward0", device)
    out = [dispatch.wrap(v, (node, i) if node is not None and v.aval.is_float else None) for i, v in enumerate(values)]
    return jax.tree.unflatten(out_tree, [t.movedim(0, out_axes) if out_axes else t for t in out])


def _is_leaf(x) -> bool:
    return isinstance(x, Tensor) or x is None


def _front(t, axis: int | None):
    if axis is not None and t.dim() == 0:
        raise ValueError("pmap: a 0-d tensor cannot be cut; give it in_axes=None")
    return t.movedim(axis, 0) if axis else t


def _checked_size(cut: list, device, devices) -> int:
    sizes = {t.shape[0] for t in cut}
    if len(sizes) > 1:
        raise ValueError(f"pmap: the cut dimensions of the arguments differ in length: {sorted(sizes)}")
    (size,) = sizes
    available = len(devices if devices is not None else local_devices(device.type))
    if size > available or size == 0:
        raise ValueError(
            f"pmap: the cut dimension has {size} elements, one for each device, but there are {available} "
            f"{device.type} devices; reshape it to ({available}, n, ...) with n elements for each device"
        )
    return size


@functools.cache
def _mesh(name: str, devices: tuple) -> Mesh:
    return Mesh(np.array(devices), (name,))


def _record(fun, recording, args, kwargs, name: str, size: int):
    """Run ``fun`` on contentless values; its results, their tree, and the values it used from outside."""
    sizes = _axes.sizes
    _axes.sizes = {**sizes, name: size}
    try:
        with recorder.recording_into(recording):
            result = fun(*args, **kwargs)
            leaves, tree = jax.tree.flatten(result, is_leaf=lambda x: isinstance(x, Tensor))
            results = [_result(x, recording) for x in leaves]
    finally:
        _axes.sizes = sizes
        recording.closed = True
        wrote = recording.undo_writes()
    if wrote:
        raise RuntimeError(
            "a pmapped function must not write to tensors made outside it (in-place operations, buffers of modules in "
            "training mode, optimizer steps): return the new values instead"
        )
    return results, tree, recording.captured()


def _result(x, recording) -> Value:
    if isinstance(x, bool | int | float | complex):
        x = on_device("full", recording.device, x, size=(), dtype=dtype_of(None, dtypes.of_python(type(x))))
    if not isinstance(x, Tensor):
        raise TypeError(f"pmap: the function must return tensors (or trees of them), but returned {type(x).__name__}")
    value = x._value()
    recording.slot_of(value)
    return value


_calls: dict[tuple, Call] = {}


def _call(recording, outputs, operands, cut, mesh: Mesh, name: str, whole: bool) -> Call:
    """The recorded function as one call over the mesh: of its tensors, its numbers and an anchor."""
    key = (
        tuple(recording.program), tuple(recording.leaf_avals), outputs, tuple(recording.negative_zeros),
        tuple(type(x) for x in recording.scalars), len(recording.hypers), cut, mesh, name, whole,
    )  # fmt: skip
    found = _calls.get(key)
    if found is not None:
        return found
    made = tuple(s for s in outputs if s >= 0)
    program = Program.of(recording, made, ())
    kinds = program.scalar_kinds
    n, m = len(operands), len(operands) + len(kinds)
    function, _ = program.function({}, tuple(range(len(kinds))))

    def evaluate(arrays):
        leaves = [a[0] if i < len(cut) and cut[i] else a for i, a in enumerate(arrays[:n])]
        banks: dict[str, list] = {"f": [], "i": [], "c": []}
        for kind, number in zip(kinds, arrays[n:m], strict=True):
            banks["f" if kind is float else "c" if kind is complex else "i"].append(number)
        results, check = function(leaves, arrays[m:-1], banks["f"], banks["i"], banks["c"], np.zeros((), np.bool_))
        by_slot = dict(zip(made, results, strict=True))
        return [by_slot[s] if s >= 0 else leaves[-1 - s] for s in outputs], check

    def results_of(*arrays):
        return tuple(r if whole else r[None] for r in evaluate(arrays)[0])

    def failures_of(*arrays):
        return jax.lax.pmax(evaluate(arrays)[1][1].astype(jnp.int32), name)

    along, same = PartitionSpec(name), PartitionSpec()
    specs = tuple(along if i < len(cut) and cut[i] else same for i in range(n))
    specs += (same,) * (m - n + program.n_hypers + 1)
    mapped = functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, check_vma=False)
    avals = [v.aval for v in operands] + [SCALAR_AVALS[k] for k in kinds] + [SCALAR_AVALS[Hyper]] * program.n_hypers
    in_kinds = [None] * n + kinds + [Hyper] * program.n_hypers + [None]
    call = Call(
        "pmap", mapped(results_of, out_specs=tuple(same if whole else along for _ in outputs)),
        [*avals, aval((), dtypes.float32)], in_kinds, recording.device.platform,
    )  # fmt: skip
    if recording.checks:
        checked = [recording.calls[i] for i, _ in recording.checks]
        failures = mapped(failures_of, out_specs=same)

        def check(*arrays):
            bad = failures(*arrays) != 0
            check.message = "inside a pmapped function, " + " or ".join(dict.fromkeys(c.message for c in checked))
            return bad

        check.message = None
        call.check = check
    _calls[key] = call
    return call


pmap.psum, pmap.pmean, pmap.all_gather, pmap.axis_index = psum, pmean, all_gather, axis_index
