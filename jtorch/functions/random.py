"""Random factories, and the in-place samplers of Tensors."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import devices, dtypes
from ..ops.registry import Array, Arrays, op
from ..streams import samplers
from ..tape import modes
from ..tensor import Tensor
from ..tensor.creation import dtype_of, factory
from ..tensor.dispatch import call, common_shape, wrap, write_out
from ..tensor.export import _sizes, composite, sizes_given
from ..tensor.layout import dense_strides
from ..tensor.random import default_generator, draw, draw_like, generator_for, manual_seed
from ..trace import capture, recorder
from ..trace.value import put

composite("torch")(manual_seed)


@composite("torch")
def seed() -> int:
    """Seed all default generators with a fresh random number, which is returned."""
    s = default_generator().seed()
    manual_seed(s)
    return s


@composite("torch")
def initial_seed() -> int:
    """The seed of the CPU's default generator."""
    return default_generator().initial_seed()


@composite("torch")
def get_rng_state():
    """The CPU generator's state as a ByteTensor of 5,056 bytes."""
    return default_generator().get_state()


@composite("torch")
def set_rng_state(new_state) -> None:
    """Continue the CPU generator from a state ``get_rng_state`` returned."""
    default_generator().set_state(new_state)


#: the kernels that PyTorch has for no integers
_KERNELS = {"normal": "normal_kernel_cpu", "uniform": "check_uniform_bounds"}


def _floating(dtype, kind: str) -> None:
    if dtype.category < dtypes.FLOAT:
        raise NotImplementedError(f"\"{_KERNELS[kind]}\" not implemented for '{dtype.legacy_name}'")


def _size_factory(name, kind, parameters, doc):
    @composite("torch", name=name, doc=doc)
    @factory(out=True)
    def make(*size_, size=None, generator=None, dtype=None, device=None):
        shape = sizes_given(name, "size", size_, size)
        _floating(dtype_of(dtype), kind)
        return draw(kind, shape, parameters, dtype_of(dtype), device, generator)

    return make


rand = _size_factory("rand", "uniform", (0.0, 1.0), "Uniform numbers in [0, 1): ``rand(2, 3)``.")
randn = _size_factory("randn", "normal", (0.0, 1.0), "Standard normal numbers: ``randn(2, 3)``.")


def _like_factory(name, kind, parameters, doc):
    @composite("torch", name=name, doc=doc)
    @factory()
    def make(input, *, generator=None, dtype=None, device=None, memory_format=None):
        d = dtype_of(dtype, input.dtype)
        strides = None if input.is_contiguous() else dense_strides(tuple(input.shape), input.stride())
        t = draw(kind, input.shape, parameters, d, input.device if device is None else device, generator, strides)
        t._strides = strides
        return t

    return make


rand_like = _like_factory("rand_like", "uniform", (0.0, 1.0), "Uniform numbers in [0, 1), like ``input``.")
randn_like = _like_factory("randn_like", "normal", (0.0, 1.0), "Standard normal numbers, like ``input``.")


@composite("torch")
@factory(out=True)
def randint(*args, low=None, high=None, size=None, generator=None, dtype=None, device=None):
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``; int64 by default."""
    rest = list(args)
    if size is None:
        size = rest.pop()
    if len(rest) == 2:
        low, high = rest
    elif len(rest) == 1:
        low, high = (rest[0], high) if high is not None and low is None else (low or 0, rest[0])
    low = 0 if low is None else int(low)
    high = int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return draw("randint", _sizes((size,)), (low, high), dtype_of(dtype, dtypes.int64), device, generator)


@composite("torch")
@factory()
def randint_like(input, low=None, high=None, *, generator=None, dtype=None, device=None, memory_format=None):
    """Integers in [low, high) ([0, low) with one bound), like ``input``."""
    if low is None and high is None:
        raise TypeError('randint_like() missing 1 required positional arguments: "high"')
    low, high = (0, low) if high is None else (low or 0, high)
    device = input.device if device is None else device
    return draw("randint", input.shape, (int(low), int(high)), dtype_of(dtype, input.dtype), device, generator)


@composite("torch")
@factory(out=True)
def randperm(n, *, generator=None, dtype=None, device=None):
    """A random permutation of 0 … n-1."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    return draw("randperm", (int(n),), (), dtype_of(dtype, dtypes.int64), device, generator)


@composite("torch")
@factory(out=True)
def normal(mean=0.0, std=1.0, size=None, *, generator=None, dtype=None, device=None):
    """Normal numbers: ``normal(mean, std, size)``, or with tensors ``mean`` and/or ``std`` in their broadcast shape."""
    _floating(dtype_of(dtype), "normal")
    if isinstance(std, Tensor) and std.is_complex():
        raise RuntimeError("normal expects standard deviation to be non-complex")
    if not isinstance(std, Tensor) and std < 0:  # a tensor is not read for this: it may not be computed yet
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        return draw("normal", _sizes((size,)), (float(mean), float(std)), dtype_of(dtype), device, generator)
    of = mean if isinstance(mean, Tensor) else std
    shape = common_shape(*(x for x in (mean, std) if isinstance(x, Tensor)))
    if not isinstance(std, Tensor):
        t = draw("normal", shape, (0.0, float(std)), of.dtype, of.device, generator) + mean
    else:
        t = draw("normal", shape, (0.0, 1.0), of.dtype, of.device, generator) * std + mean
    return _sampled("_normal", t, mean, std)


@composite("torch", method=True)
def bernoulli(input, p=None, *, generator=None, out=None):
    """Zeros and ones; one with probability ``input`` (or with the number ``p`` everywhere). ``out`` has any dtype."""
    if out is not None:
        drawn = bernoulli(input, p, generator=generator)
        return write_out("bernoulli", (input,), drawn.to(out.dtype), out)
    if p is not None:
        t = draw("bernoulli", input.shape, (float(p),), input.dtype, input.device, generator)
    else:
        t = _with_probabilities(input, input.shape, input.dtype, generator)
    return _sampled("_bernoulli", t, input)


# A sample carries a gradient where a parameter of it does: zeros.
def _sample(name: str, grad_name: str) -> None:
    def body(sample: Array, parameters: Arrays):
        return lax.stop_gradient(sample)

    op(body, name=name, namespaces=(), grad_name=grad_name)


_sample("_normal", "NormalBackward3")
_sample("_bernoulli", "BernoulliBackward0")
_sample("_poisson", "PoissonBackward0")


def _sampled(name: str, sample, *parameters):
    """``sample`` as what the operation ``name`` drew with ``parameters``."""
    parameters = tuple(p for p in parameters if isinstance(p, Tensor) and p.requires_grad)
    return call(name, sample.detach(), parameters) if parameters and modes.state.grad else sample.detach()


def _with_probabilities(p, shape, dtype, generator, strides=None):
    """Zeros and ones in a shape that ``p`` broadcasts to, drawn in the order in which ``strides`` lay them out.

    Raises:
        RuntimeError: a probability is outside [0, 1]; of those that are still to be computed, where a number is read.
    """
    if p.dtype.category < dtypes.FLOAT:
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{p.dtype.legacy_name}'")
    p = p.detach()
    if _at_hand(p):
        data = p._host("bernoulli()")
        if not ((data >= 0) & (data <= 1)).all():
            raise RuntimeError(_NO_PROBABILITY)
        g = generator_for(p.device, generator)
        data = samplers.bernoulli_tensor(g._stream, data, tuple(shape), dtype=dtype.np, strides=strides)
        return wrap(put(np.ascontiguousarray(data).reshape(tuple(shape)), p.device))
    wide = p if p.dtype is dtypes.float64 else p.float()
    uniform = draw("uniform", shape, (0.0, 1.0), wide.dtype, p.device, generator, strides)
    return _started(call("_less_likely", uniform, wide).to(dtype), "bernoulli()")


_NO_PROBABILITY = "Expected p_in >= 0 && p_in <= 1 to be true, but got false."


def _no_probabilities(uniform, p):
    return ~jnp.all((p >= 0) & (p <= 1)), _NO_PROBABILITY


@op(namespaces=(), differentiable=False, check=_no_probabilities, error=RuntimeError)
def _less_likely(uniform: Array, p: Array):
    """Whether numbers from [0, 1) are below probabilities. Nothing is read."""
    return uniform < p


def _long(result, out, inputs) -> None:
    """The rule of ``out=``: int64."""
    if out.dtype is not dtypes.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {out.dtype.legacy_name}")


@composite("torch", method=True, out=_long)
def multinomial(input, num_samples, replacement=False, *, generator=None):
    """``num_samples`` category indices per row of non-negative weights.

    Raises:
        RuntimeError: negative, infinite or NaN weights, rows that sum to zero (of weights that are still to be
            computed, where the sample is read), or too many samples without replacement.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if input.dtype.category != dtypes.FLOAT:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype.legacy_name}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if input.shape[-1] > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    weights = input.detach()
    if (num_samples == 1 or not replacement) and not _at_hand(weights):
        waiting = draw_like(weights, "exponential", (1.0,), generator)
        return _started(call("_multinomial", weights, waiting, count=int(num_samples)), "multinomial()")
    weights = weights._host("multinomial()")
    if (weights < 0).any() or not np.isfinite(weights.astype(np.float64)).all():
        if replacement and num_samples > 1:
            what = "< 0" if (weights < 0).any() else "= infinity or NaN"
            raise RuntimeError(f"invalid multinomial distribution (encountering probability entry {what})")
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.astype(np.float64).sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    # On an accelerator the weights are read back and the draw is the host's, from that device's generator.
    g = generator_for(input.device, generator)
    data = samplers.multinomial(g._stream, weights, int(num_samples), replacement)
    return wrap(put(np.ascontiguousarray(data), input.device))


def _started(sample, cause: str):
    """``sample``, whose computation starts now: loops that draw and read nothing are a program a round, not one."""
    recorder.boundary(cause)
    return sample


def _at_hand(t) -> bool:
    """Whether the host can read a tensor without waiting for anything: errors are raised where they are made then."""
    value = t._value()
    return value.device is devices.CPU and value.array is not None and capture.state.log is None or not t.numel()


def _no_distribution(weights, waiting, **_):
    bad = ~jnp.all((weights >= 0) & jnp.isfinite(weights)) | jnp.any(jnp.all(weights == 0, -1))
    return bad, (
        "probability tensor contains either `inf`, `nan` or element < 0, or is an invalid multinomial distribution "
        "(sum of probabilities <= 0)"
    )


@op(namespaces=(), differentiable=False, check=_no_distribution, error=RuntimeError)
def _multinomial(weights: Array, waiting: Array, *, count: int):
    """The ``count`` categories that come first if each is waited for ``waiting / weights``, exponential times: a sample
    without replacement (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006). Nothing is read.
    """
    race = weights / waiting
    if count == 1:
        return lax.argmax(race, race.ndim - 1, jnp.int64)[..., None]
    return jnp.argsort(-race, axis=-1, stable=True)[..., :count].astype(jnp.int64)


@composite("torch")
def poisson(input, generator=None):
    """Poisson counts with rates ``input``."""
    g = generator_for(input.device, generator)
    data = np.asarray(samplers.poisson(g._stream, input.detach()._host("poisson()")))
    return _sampled("_poisson", wrap(put(data, input.device)), input)


@composite("torch")
def _standard_gamma(input, generator=None):
    """Gamma variates of unit scale with concentrations ``input``."""
    g = generator_for(input.device, generator)
    return wrap(put(np.asarray(samplers.standard_gamma(g._stream, input.detach()._host("gamma"))), input.device))


@composite("torch")
def _sample_dirichlet(input, generator=None):
    """Dirichlet variates with concentrations ``input`` along the last dimension."""
    g = generator_for(input.device, generator)
    return wrap(put(np.asarray(samplers.dirichlet(g._stream, input.detach()._host("dirichlet"))), input.device))


# --- in-place samplers ---------------------------------------------------------------------------------------------


@composite(method=True)
def uniform_(self, a=0.0, b=1.0, *, generator=None, **bounds):
    """Fill with uniform numbers in [a, b)."""
    a, b = bounds.pop("from", a), bounds.pop("to", b)
    _floating(self.dtype, "uniform")
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}")
    return self._overwrite(draw_like(self, "uniform", (float(a), float(b)), generator))


@composite(method=True)
def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers."""
    _floating(self.dtype, "normal")
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    return self._overwrite(draw_like(self, "normal", (float(mean), float(std)), generator))


@composite(method=True)
def random_(self, *args, generator=None, **bounds):
    """Fill with integers: ``random_()`` over the dtype's range, ``random_(to)``, ``random_(from, to)``."""
    low, high = bounds.get("from"), bounds.get("to")
    if len(args) == 1 and high is None:
        high = args[0]
    elif len(args) == 1:
        low = args[0]
    elif args:
        low, high = args
    if low is None and high is None:
        return self._overwrite(draw_like(self, "random", (), generator))
    bounds = int(low or 0), None if high is None else int(high)
    return self._overwrite(draw_like(self, "randint", bounds, generator))


@composite(method=True)
def bernoulli_(self, p=0.5, *, generator=None):
    """Fill with zeros and ones; one with probability ``p`` (a number or a tensor)."""
    if isinstance(p, Tensor):
        strides = None if self.is_contiguous() else self.stride()
        return self._overwrite(_with_probabilities(p, self.shape, self.dtype, generator, strides))
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return self._overwrite(draw_like(self, "bernoulli", (float(p),), generator))


@composite(method=True)
def exponential_(self, lambd=1.0, *, generator=None):
    """Fill with exponential numbers of rate ``lambd``."""
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return self._overwrite(draw_like(self, "exponential", (float(lambd),), generator))


@composite(method=True)
def log_normal_(self, mean=1.0, std=2.0, *, generator=None):
    """Fill with exp of normal numbers."""
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return self._overwrite(draw_like(self, "log_normal", (float(mean), float(std)), generator))


@composite(method=True)
def cauchy_(self, median=0.0, sigma=1.0, *, generator=None):
    """Fill with Cauchy numbers."""
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return self._overwrite(draw_like(self, "cauchy", (float(median), float(sigma)), generator))


@composite(method=True)
def geometric_(self, p, *, generator=None):
    """Fill with geometric numbers of success probability ``p``."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return self._overwrite(draw_like(self, "geometric", (float(p),), generator))
