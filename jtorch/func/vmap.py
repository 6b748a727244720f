"""``vmap``: a function of single samples, run on a batch of them at once."""

from __future__ import annotations

import contextlib
import functools

import jax
import jax.numpy as jnp

from ..tensor import Tensor
from ..tensor.dispatch import call, wrap
from ..tensor.random import Batch, batches, default_generator
from ..trace.aval import aval
from ..trace.recorder import trace_for
from ..utils import _pytree as pytree
from .program import Program

_READS = (
    "vmap: It looks like you're either (1) calling .item() on a Tensor or (2) attempting to use a Tensor in some "
    "data-dependent control flow or (3) encountering this error in PyTorch internals. For (1): we don't support vmap "
    "over calling .item() on a Tensor, please try to rewrite what you're doing with other operations; for (2): use "
    "jtorch.where, or pass the decision as an argument"
)


def _spread(dims, tree, name: str):
    """One entry of ``dims`` (nested like ``tree``, or with one number for a whole part of it) for each leaf."""
    if dims is None or isinstance(dims, int):
        return [dims] * len(pytree.tree_flatten(tree)[0])
    if isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list)) and len(dims) == len(tree):
        return [d for part, inner in zip(dims, tree, strict=True) for d in _spread(part, inner, name)]
    if isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
        return [d for k in tree for d in _spread(dims[k], tree[k], name)]
    raise ValueError(f"vmap: {name} is not compatible with the structure of what it describes: {dims!r} for {tree!r}")


def batched(args, in_dims):
    """``(leaves, form, dims, batch size)``."""
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"vmap: Got in_dims={in_dims}: expected in_dims to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            "vmap: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function with no "
            "inputs"
        )
    leaves, form = pytree.tree_flatten(args)
    dims = _spread(in_dims, args, "in_dims")
    sizes = []
    for i, (x, d) in enumerate(zip(leaves, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(x, Tensor):
            raise ValueError(
                f"vmap: Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor "
                "arguments, please use None as the respective in_dim"
            )
        if not -x.dim() <= d < x.dim():
            raise ValueError(
                f"vmap: Got in_dim={d} for some input, but that input is a Tensor of dimensionality {x.dim()} so "
                f"expected in_dim to satisfy -{x.dim()} <= in_dim < {x.dim()}."
            )
        dims[i] = d % x.dim()
        sizes.append(x.shape[d])
    if not sizes:
        raise ValueError("vmap: at least one of the inputs must have an in_dim that is not None")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped dimension"
        )
    return leaves, form, dims, sizes.pop()


def vmap(func, in_dims=0, out_dims=0, randomness: str = "error", *, chunk_size: int | None = None):
    """``func`` over the dimensions ``in_dims`` of its arguments (None: the same for all); results get ``out_dims``.

    Args:
        in_dims: a number for all arguments, or nested like them.
        randomness: ``"error"``: random operations raise; ``"same"``: every sample gets the same numbers;
            ``"different"``: its own (the function is then run once for each sample to draw them).
        chunk_size: work on so many samples at a time.

    Raises:
        ValueError: ``in_dims`` or ``out_dims`` do not fit, or sizes differ.
        RuntimeError: ``func`` needs the value of a tensor, writes a tensor from outside, or draws random numbers.
    """
    if randomness not in ("error", "same", "different"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        leaves, form, dims, size = batched(args, in_dims)
        if chunk_size is None or size <= chunk_size:
            return _once(func, leaves, form, dims, size, out_dims, randomness, kwargs)
        parts, generator = [], default_generator(leaves[0].device)
        before = generator._stream.clone(), generator._count
        for start in range(0, size, chunk_size):
            length = min(chunk_size, size - start)
            if randomness == "same":  # in all chunks
                generator._stream, generator._count = before[0].clone(), before[1]
            piece = [
                x if d is None else x.narrow(d, start, length) for x, d in zip(leaves, dims, strict=True)
            ]  # fmt: skip
            parts.append(_once(func, piece, form, dims, length, out_dims, randomness, kwargs))
        flat, structure = zip(*(pytree.tree_flatten(p) for p in parts), strict=True)
        where = _spread(out_dims, parts[0], "out_dims")
        joined = [
            xs[0] if d is None else call("cat", xs, dim=d)
            for xs, d in zip(zip(*flat, strict=True), where, strict=True)
        ]  # fmt: skip
        return pytree.tree_unflatten(joined, structure[0])

    return wrapped


def _position(device):
    """How far the random numbers of a device have been used."""
    generator = default_generator(device)
    return generator._stream.get_state().tobytes(), generator._count


@contextlib.contextmanager
def _drawing_nothing_where_it_fails(device):
    """Give back the random numbers that a function drew before an error."""
    generator = default_generator(device)
    before, count = generator._stream.clone(), generator._count
    try:
        yield
    except Exception:
        generator._stream, generator._count = before, count
        raise


@contextlib.contextmanager
def _together(batch: Batch, randomness: str):
    """Unless all samples have the same numbers, have a function that is recorded draw for the whole batch."""
    before = batches.open
    if randomness != "same":
        batches.open = (*before, batch)
    try:
        yield
    finally:
        batches.open = before


def _once(func, leaves, form, dims, size: int, out_dims, randomness: str, kwargs):
    where = [i for i, d in enumerate(dims) if d is not None]
    operands = [leaves[i] if dims[i] == 0 else leaves[i].movedim(dims[i], 0) for i in where]
    avals = [aval(tuple(x.shape[1:]), x.dtype) for x in operands]

    def function(*tensors):
        full = list(leaves)
        for i, t in zip(where, tensors, strict=True):
            full[i] = t
        if batch.trace is None:
            batch.trace = trace_for(device)
        return func(*pytree.tree_unflatten(full, form), **kwargs)

    for x in operands:
        x._value()  # a view that the function also sees as it is would be read, and kept, in the function's trace
    device = operands[0].device
    before = _position(device)
    batch, start = Batch(size), default_generator(device)._stream.clone()
    with _drawing_nothing_where_it_fails(device), _together(batch, randomness):
        program = Program(function, avals, device, name="vmap", reads=_READS)
        drew = _position(device) != before or bool(batch.drawn)
        if drew and randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                "'different' randomness flags on vmap or perform the randomness operation out of vmap"
            )
    axes = [0] * len(operands) + [None] * len(program.leaves)
    if drew and randomness == "different" and batch.alone:  # a sample after the other
        default_generator(device)._stream = start
        program, *others = (Program(function, avals, device, name="vmap", reads=_READS) for _ in range(size))
        for k, several in enumerate(zip(program.leaves, *(p.leaves for p in others), strict=True)):
            if any(t._value() is not several[0]._value() for t in several):
                program.leaves[k] = call("stack", tuple(several))
                axes[len(operands) + k] = 0
    elif drew and randomness == "different":
        for k, leaf in enumerate(program.leaves):
            found = batch.drawn.get(id(leaf._value()))
            if found is not None:
                program.leaves[k], axes[len(operands) + k] = wrap(found[1]), 0
    axes = tuple(axes)

    def body(*arrays):
        return tuple(program.run(arrays))

    def verdicts(*arrays):
        found: list = []
        program.run(arrays, found)
        return jnp.stack([jnp.any(v) for v in found])

    outputs = program.apply(
        ("vmap", axes, size), jax.vmap(body, axes, axis_size=size), operands,
        lambda *arrays: jnp.any(jax.vmap(verdicts, axes, axis_size=size)(*arrays)),
    )  # fmt: skip
    count = len(outputs) - len(program.written)
    for i, new in zip(program.written, outputs[count:], strict=True):
        operands[i].copy_(new)
    result = pytree.tree_unflatten(list(outputs[:count]), program.form)
    spots = _spread(out_dims, result, "out_dims")
    moved = []
    for x, d in zip(outputs[:count], spots, strict=True):
        if d is None:
            moved.append(x[0])
            continue
        if not -x.dim() <= d < x.dim():
            raise IndexError(f"vmap: out_dims={d} is out of range for a result of {x.dim()} dimensions")
        moved.append(x if d == 0 else x.movedim(0, d))
    return pytree.tree_unflatten(moved, program.form)


__all__ = ["vmap"]
