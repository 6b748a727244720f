"""Activations with an in-place form, and the softmax family."""

from __future__ import annotations

import math
import warnings

import numpy as np

import jtorch

from ... import devices
from ...ops.registry import OPS
from ...streams import samplers
from ...tensor.creation import dtype_of
from ...tensor.dispatch import dispatch, hashable, wrap
from ...tensor.dispatch import inplace as _run_inplace
from ...tensor.random import generator_for
from ...trace.value import put


def _activation(name: str, *parameters: str):
    """``f(input, *parameters, inplace=False)`` of a pointwise op; ``parameters`` are its own, with their defaults."""
    op = OPS[name]
    given = "".join(f"hashable({p.split('=')[0]}), " for p in parameters)
    source = f"""
def {name}(input, {"".join(f"{p}, " for p in parameters)}inplace=False):
    if inplace:
        return run_inplace(OP, (input,), ({given}))
    return dispatch(OP, (input,), ({given}))
"""
    space = {"OP": op, "dispatch": dispatch, "run_inplace": _run_inplace, "hashable": hashable}
    exec(compile(source, f"<jtorch {name}>", "exec"), space)
    f = space[name]
    f.__doc__ = f"{op.doc}\n\n``inplace`` writes the result into ``input``."
    f.__module__ = "jtorch.nn.functional"

    def in_place_form(input, *args, **kwargs):
        return f(input, *args, **kwargs, inplace=True)

    in_place_form.__name__ = in_place_form.__qualname__ = f"{name}_"
    in_place_form.__doc__ = f"In-place form of :func:`{name}`."
    return f, in_place_form


relu, relu_ = _activation("relu")
relu6, _ = _activation("relu6")
leaky_relu, leaky_relu_ = _activation("leaky_relu", "negative_slope=0.01")
elu, elu_ = _activation("elu", "alpha=1.0")
selu, selu_ = _activation("selu")
celu, celu_ = _activation("celu", "alpha=1.0")
silu, _ = _activation("silu")
mish, _ = _activation("mish")
hardtanh, hardtanh_ = _activation("hardtanh", "min_val=-1.0", "max_val=1.0")
hardswish, _ = _activation("hardswish")
hardsigmoid, _ = _activation("hardsigmoid")
threshold, threshold_ = _activation("threshold", "threshold", "value")

_RRELU, _RRELU_EVAL = OPS["_rrelu"], OPS["_rrelu_eval"]


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """``x`` where positive, ``r x`` elsewhere; ``r`` is uniform on [lower, upper), outside training their mean.

    Raises:
        RuntimeError: ``lower > upper``, or one of them is infinite or NaN.
    """
    for which, bound in (("lower", lower), ("upper", upper)):
        if not math.isfinite(bound):
            raise RuntimeError(f"rrelu: {which} bound must be finite, got {bound}")
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        run = _run_inplace if inplace else dispatch
        return run(_RRELU_EVAL, (input,), (float(lower), float(upper)))
    if input.device is devices.CPU:
        # one draw for each negative element: how many there are is known only from the values
        g = generator_for(input.device, None)
        values = input.detach()._host("rrelu() in training")
        noise, below = np.ones_like(values), values <= 0
        noise[below] = samplers.rrelu_slopes(g._stream, int(below.sum()), lower, upper, dtype=values.dtype)
        noise = wrap(put(noise, devices.CPU))
    else:
        noise = jtorch.empty_like(input).uniform_(lower, upper)
    return (_run_inplace if inplace else dispatch)(_RRELU, (input, noise), ())


def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """In-place form of :func:`rrelu`."""
    return rrelu(input, lower, upper, training, inplace=True)


def sigmoid(input):
    """``1 / (1 + exp(-x))``."""
    return input.sigmoid()


def tanh(input):
    """The hyperbolic tangent."""
    return input.tanh()


# --- softmax -------------------------------------------------------------------------------------------------------


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _softmax_like(name: str):
    op = OPS[f"_{name}"]

    def f(input, dim=None, _stacklevel=3, dtype=None):
        if dim is None:
            dim = _implicit_dim(name, input.dim(), _stacklevel)
        return dispatch(op, (input,), (dim, None if dtype is None else dtype_of(dtype)))

    f.__name__ = f.__qualname__ = name
    f.__doc__ = op.doc
    f.__module__ = "jtorch.nn.functional"
    return f


softmax = _softmax_like("softmax")
log_softmax = _softmax_like("log_softmax")
softmin = _softmax_like("softmin")


def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """``softmax((logits + g) / tau)`` with Gumbel noise ``g`` (Jang et al., 2017).

    Args:
        hard: return one-hot vectors in the forward pass; the gradient is that of the soft ones.
        eps: no longer used.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = -jtorch.empty_like(logits, memory_format=jtorch.contiguous_format).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = jtorch.zeros_like(logits, memory_format=jtorch.contiguous_format).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
