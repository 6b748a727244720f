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
from jax.sharding import Mesh, PartitionSpec

from .. import devices as _devices
from ..ops.registry import Array, op
from ..tape import engine
from ..tensor import Tensor, dispatch
from ..tensor.creation import on_device
from ..trace import recorder
from ..trace.aval import Hyper, aval
from ..trace.call import Call
from ..trace.executor import Program
from ..trace.value import Value
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

    def flush(self, cause: str) -> None:
        if self.closed:
            raise RuntimeError(
                f"{cause}: this value was computed inside a pmapped function, which did not return it; only results "
                "that are returned leave it"
            )
        raise RuntimeError(
            f"{cause}: inside a pmapped function tensors have no content yet, so nothing can be read from them; "
            "return what you want to read"
        )


_calls: dict[tuple, Call] = {}


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
    axes = (in_axes,) * len(args) if in_axes is None or isinstance(in_axes, int) else tuple(in_axes)
    if len(axes) != len(args):
        raise ValueError(f"pmap: in_axes has {len(axes)} entries, but {len(args)} arguments were given")
    axes = tuple(None if i in static else a for i, a in enumerate(axes))
    leaves, tree = jax.tree.flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Tensor) or x is None)
    per_leaf = []
    for a, x in (*zip(axes, args, strict=True), *((0, v) for v in kwargs.values())):
        per_leaf += [a] * len(jax.tree.leaves(x, is_leaf=lambda x: isinstance(x, Tensor) or x is None))
    tensors = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    cut = [per_leaf[i] is not None for i in tensors]
    given = [leaves[i] if per_leaf[i] is None else _front(leaves[i], per_leaf[i]) for i in tensors]
    if not any(cut):
        raise ValueError("pmap: at least one argument must be cut over the devices (in_axes not None)")
    device = given[0].device
    size = _checked_size([t for t, c in zip(given, cut, strict=True) if c], device, devices)
    mesh = _mesh(name, tuple(devices or local_devices(device.type))[:size])

    inner = [Value(aval(tuple(t.shape[1:]) if c else tuple(t.shape), t.dtype), device) for t, c in zip(given, cut, strict=True)]
    recording = _Recording(device, {})
    for i, v in enumerate(inner):
        v.trace, v.slot = recording, -1 - i
        recording.leaf_arrays.append(None)
        recording.leaf_refs.append(None)
        recording.leaf_avals.append(v.aval.id)
    filled = list(leaves)
    for i, v in zip(tensors, inner, strict=True):
        filled[i] = dispatch.wrap(v)
    inside_args, inside_kwargs = jax.tree.unflatten(tree, filled)
    results, out_tree, captured = _record(fun, recording, inside_args, inside_kwargs, name, size, device)

    call, numbers = _as_call(recording, results, len(inner), cut, mesh, name, out_axes)
    anchor = layout.anchor(mesh, device)
    operands = [t._value() for t in given] + captured + numbers + [anchor._value()]
    edges = [t._history() for t in given] + [None] * (len(operands) - len(given))
    values, node = engine.apply_call(call, operands, edges, "PmapBackward0", device)
    out = [
        dispatch.wrap(v, (node, i) if node is not None and v.aval.is_float else None) for i, v in enumerate(values)
    ]
    return jax.tree.unflatten(out_tree, [t if out_axes in (0, None) else t.movedim(0, out_axes) for t in out])


def _front(t, axis: int):
    if t.dim() == 0:
        raise ValueError("pmap: a 0-d tensor cannot be cut; give it in_axes=None")
    return t if axis == 0 else t.movedim(axis, 0)


def _checked_size(cut: list, device, devices) -> int:
    sizes = {t.shape[0] for t in cut}
    if len(sizes) > 1:
        raise ValueError(f"pmap: the cut dimensions of the arguments differ in length: {sorted(sizes)}")
    (size,) = sizes
    available = len(devices if devices is not None else local_devices(device.type))
    if size > available or size == 0:
        raise ValueError(
            f"pmap: the cut dimension has {size} elements, one for each device, but there are {available} "
            f"{device.type} devices; reshape the argument to ({available}, {size}/{available}, ...)"
        )
    return size


@functools.cache
def _mesh(name: str, devices: tuple) -> Mesh:
    return Mesh(devices, (name,))


def _record(fun, recording, args, kwargs, name: str, size: int, device):
    """Run ``fun`` on contentless values; its results, their tree, and the values it used from outside."""
    recorder.flush_all("a pmapped function is called")
    traces, sizes = recorder._state.traces, _axes.sizes
    recorder._state.traces, _axes.sizes = {device: recording}, {**sizes, name: size}
    recording.owner = recorder._state.traces
    held = recording.leaf_refs  # weak: the list below keeps what was captured
    try:
        result = fun(*args, **kwargs)
        leaves, tree = jax.tree.flatten(result, is_leaf=lambda x: isinstance(x, Tensor))
        tensors = [x if isinstance(x, Tensor) else _number(x, device) for x in leaves]
        results = [t._value() for t in tensors]
        slots = [v if v.trace is recording else _captured(recording, v) for v in results]
    finally:
        recorder._state.traces, _axes.sizes = traces, sizes
        recording.closed = True
        written = _undo_writes(recording)
    if written:
        raise RuntimeError(
            "a pmapped function must not write to tensors made outside it (in-place operations, .grad of captured "
            "leaves, optimizer steps): return the new values instead"
        )
    captured = []
    for ref, array in zip(held, recording.leaf_arrays, strict=True):
        if ref is not None:
            value = ref()
            captured.append(value if value is not None else _revived(array, device))
    return slots, tree, captured


def _number(x, device):
    if isinstance(x, bool | int | float | complex):
        import jtorch

        return jtorch.tensor(x, device=device)
    raise TypeError(f"pmap: the function must return tensors (or trees of them), but returned {type(x).__name__}")


def _captured(recording, value):
    recording.leaf(value)
    return value


def _revived(array, device) -> Value:
    from ..trace.value import of_array

    value = of_array(array, device)
    if len(array.sharding.device_set) > 1:
        value.sharding = array.sharding
    return value


def _undo_writes(recording) -> bool:
    """Give storages that were written inside their value back; whether any outlives the function."""
    found = False
    for storage_ref, before in reversed(recording.written):
        storage = storage_ref()
        if storage is None or storage.value.trace is not recording:
            continue
        if isinstance(before, int):
            if recording.leaf_refs[-1 - before] is None:
                continue  # an argument of the function, which is its own
            array = recording.leaf_arrays[-1 - before]
            storage.value = _revived(array, recording.device)
            found = True
        elif (value := before()) is not None:
            storage.value = value
            found = True
    return found


def _as_call(recording, results, n_args: int, cut, mesh: Mesh, name: str, out_axes):
    """The recorded function as one call over the mesh, and the numbers it takes as operands."""
    outputs = tuple(v.slot for v in results)
    key = (
        tuple(recording.program), tuple(recording.leaf_avals), outputs, len(recording.hypers), tuple(cut), mesh, name,
        out_axes is None, tuple(recording.negative_zeros),
    )  # fmt: skip
    numbers = list(recording.scalars) + list(recording.hypers)
    found = _calls.get(key)
    if found is not None:
        return found, numbers
    if recording.checks:
        raise NotImplementedError(
            "pmap: indexing with tensors inside a pmapped function is not supported (its range check cannot be "
            f"reported per device): {recording.calls[recording.checks[0][0]].name} at {recording.checks[0][1]}. Use "
            "DataParallel or DTensor, which take every operation"
        )
    program = _program(recording, tuple(range(len(outputs))), outputs)
    n_leaves = len(recording.leaf_avals)
    kinds = program.scalar_kinds

    def on_each(*arrays):
        leaves = [a[0] if i < n_args and cut[i] else a for i, a in enumerate(arrays[:n_leaves])]
        scalars = arrays[n_leaves : n_leaves + len(kinds)]
        hypers = arrays[n_leaves + len(kinds) :]
        outs = _evaluate(program, outputs, leaves, scalars, hypers)
        return tuple(o if out_axes is None else o[None] for o in outs)

    specs = [PartitionSpec(name) if i < n_args and cut[i] else PartitionSpec() for i in range(n_leaves)]
    specs += [PartitionSpec()] * len(numbers)
    out_specs = tuple(PartitionSpec() if out_axes is None else PartitionSpec(name) for _ in outputs)
    mapped = jax.shard_map(on_each, mesh=mesh, in_specs=tuple(specs), out_specs=out_specs, check_vma=False)
