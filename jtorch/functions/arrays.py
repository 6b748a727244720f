"""JAX arrays as tensors and back without a copy, and JAX functions as differentiable operations."""

from __future__ import annotations

import jax

from .. import devices
from ..ops.loops import staged
from ..ops.registry import Arrays, Number, op
from ..tensor.dispatch import call, wrap
from ..tensor.export import composite
from ..trace.value import of_array


@composite("torch")
def to_jax(tensor) -> jax.Array:
    """The tensor's ``jax.Array``, without a copy; jtorch never writes to or donates its buffer afterwards.

    Raises:
        RuntimeError: the tensor requires grad; ``detach()`` it first.
    """
    if tensor.requires_grad:
        raise RuntimeError("Can't take the jax.Array of a Tensor that requires grad. Use to_jax(tensor.detach()).")
    value = tensor._value()
    array = value.concrete("to_jax()")
    value.pin()
    return array


@composite("torch")
def from_jax(array: jax.Array):
    """A tensor around a ``jax.Array`` on one device, without a copy; its buffer is never donated."""
    (device,) = array.devices()
    kind = {"gpu": "cuda", "cuda": "cuda", "tpu": "tpu"}.get(device.platform)
    index = jax.local_devices(backend=device.platform).index(device)
    if kind is None:
        where = devices.CPU if index == 0 else devices.resolve(f"xla:{index}")
    else:
        where = devices.resolve(f"{kind}:{index}")
    value = of_array(array, where)
    value.pin()
    return wrap(value)


_functions: dict = {}


@op(name="_jax_function", namespaces=())
def _jax_function(operands: Arrays | Number, *, key: int):
    """A user's JAX function applied to the operands."""
    return staged(_functions[key])(*operands)


@composite("torch")
def jax_function(fn):
    """``fn`` (a pure function of jax arrays) as a function of Tensors: recorded like any operation, differentiable.

    Arrays come positionally; shapes and dtypes of results follow ``fn``.
    """
    key = len(_functions)
    _functions[key] = fn

    def function(*tensors):
        return call("_jax_function", tensors, key=key)

    function.__name__ = getattr(fn, "__name__", "jax_function")
    function.__doc__ = fn.__doc__
    return function
