"""Generators, and random Tensors drawn from them.

On the CPU device numbers come from PyTorch's own stream (:mod:`jtorch.streams`), drawn on the host: they enter a trace
as inputs, so they neither recompile it nor freeze in it. On other devices they are drawn inside the trace from a seed
and a counter, both run-time operands.
"""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .. import devices, dtypes
from ..ops.registry import OPS, Hyper, op
from ..streams import HostStream, samplers
from ..trace import capture
from ..trace.aval import Hyper as HyperKey
from ..trace.aval import aval
from ..trace.call import intern
from ..trace.recorder import record
from ..trace.value import put
from . import dispatch as _dispatch


class Generator:
    """A source of random numbers on one device: a seed, and how far it has been used.

    On the CPU ``manual_seed(s)`` gives PyTorch's numbers for ``s``, and the state is PyTorch's 5,056 bytes.
    """

    def __init__(self, device="cpu"):
        self.device = devices.resolve(device)
        self._stream = HostStream()
        self._count = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``; returns self."""
        capture.refuse("a generator is seeded")
        self._stream.manual_seed(seed)
        self._count = 0
        return self

    def seed(self) -> int:
        """Start again from a fresh random seed, which is returned."""
        capture.refuse("a generator is seeded")
        self._count = 0
        return self._stream.seed()

    def initial_seed(self) -> int:
        """The seed last set."""
        return self._stream.initial_seed()

    def get_state(self):
        """The state as a uint8 tensor: PyTorch's 5,056 bytes on the CPU, seed and counter elsewhere."""
        capture.refuse("a generator's state is read")
        if self.device is devices.CPU:
            data = self._stream.get_state()
        else:
            data = np.array([self.initial_seed(), self._count], np.uint64).view(np.uint8)
        return _dispatch.TENSOR._from_numpy(data, devices.CPU)

    def set_state(self, state) -> Generator:
        """Continue from a state ``get_state`` returned."""
        capture.refuse("a generator's state is set")
        if not isinstance(state, _dispatch.TENSOR) or state.dtype is not dtypes.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        data = state.detach().cpu().numpy()
        if self.device is devices.CPU:
            self._stream.set_state(data)
        else:
            seed, count = data.view(np.uint64)
            self._stream.manual_seed(int(seed))
            self._count = int(count)
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        capture.refuse("a generator's state is read")
        new = Generator.__new__(Generator)
        new.device, new._stream, new._count = self.device, self._stream.clone(), self._count
        return new

    def get_offset(self) -> int:
        capture.refuse("a generator's state is read")
        return self._stream.get_offset() if self.device is devices.CPU else self._count

    def set_offset(self, offset: int) -> None:
        capture.refuse("a generator's state is set")
        if self.device is devices.CPU:
            self._stream.set_offset(offset)
        self._count = offset

    def __deepcopy__(self, memo):
        return self.clone_state()

    def __reduce__(self):
        return _restore, (str(self.device), self._stream, self._count)

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"


def _restore(device, stream, count):
    g = Generator(device)
    g._stream, g._count = stream, count
    return g


_generators: dict[devices.device, Generator] = {}
_lock = threading.Lock()
_process_seed: int | None = None


def default_generator(device: devices.device = devices.CPU) -> Generator:
    """The generator used when none is given."""
    found = _generators.get(device)
    if found is None:
        with _lock:
            found = _generators.get(device)
            if found is None:
                found = Generator(device)
                with capture.watching(None):
                    if _process_seed is None:
                        found.seed()
                    else:
                        found.manual_seed(_process_seed)
                _generators[device] = found
    return found


def manual_seed(seed) -> Generator:
    """Seed the default generators of all devices; returns the CPU's."""
    global _process_seed
    seed = int(seed)
    cpu = default_generator().manual_seed(seed)
    _process_seed = seed
    for d, g in list(_generators.items()):
        if d is not devices.CPU:
            g.manual_seed(seed)
    return cpu


# --- drawing -------------------------------------------------------------------------------------------------------


@op(name="_device_random", namespaces=(), differentiable=False)
def _device_random(high: Hyper, low: Hyper, count: Hyper, *, kind: str, size: tuple[int, ...], dtype, parameters=()):
    """Random numbers drawn in the program, from a 64-bit seed (two halves) and a draw counter."""
    words = jnp.stack([high, low]).astype(jnp.uint32)
    key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), count.astype(jnp.uint32))
    floating = dtype.np if dtype.category == dtypes.FLOAT else np.float32
    compute = floating if np.dtype(floating).itemsize >= 4 else np.float32
    if kind == "uniform":
        low_, high_ = parameters
        out = jax.random.uniform(key, size, compute, low_, high_)
    elif kind == "normal":
        mean, std = parameters
        if dtype.category == dtypes.COMPLEX:
            return (mean + std * jax.random.normal(key, size, dtype.np)).astype(dtype.np)
        out = mean + std * jax.random.normal(key, size, compute)
    elif kind == "bernoulli":
        out = jax.random.uniform(key, size, np.float32) < parameters[0]
    elif kind == "randint":
        out = jax.random.randint(key, size, parameters[0], parameters[1], np.int64)
    elif kind == "randperm":
        out = jax.random.permutation(key, size[0])
    elif kind == "exponential":
        out = jax.random.exponential(key, size, compute) / parameters[0]
    elif kind == "cauchy":
        out = parameters[0] + parameters[1] * jax.random.cauchy(key, size, compute)
    elif kind == "log_normal":
        out = jnp.exp(parameters[0] + parameters[1] * jax.random.normal(key, size, compute))
    else:
        out = jax.random.geometric(key, parameters[0], size)
    return out.astype(dtype.np)


#: how each kind of draw is spelled on the host: f(stream, shape, parameters, dtype, strides)
_HOST = {
    "uniform": lambda s, n, p, d, st: samplers.uniform(s, n, *p, dtype=d, strides=st),
    "normal": lambda s, n, p, d, st: samplers.normal(s, n, *p, dtype=d, strides=st),
    "bernoulli": lambda s, n, p, d, st: (
        samplers.bernoulli_mask(s, n, *p, strides=st) if d == np.bool_
        else samplers.bernoulli(s, n, *p, dtype=d, strides=st)
    ),
    "randint": lambda s, n, p, d, st: samplers.random_from_to(s, n, *p, dtype=d, strides=st),
    "random": lambda s, n, p, d, st: samplers.random_(s, n, dtype=d, strides=st),
    "randperm": lambda s, n, p, d, st: samplers.randperm(s, n[0], dtype=d),
    "exponential": lambda s, n, p, d, st: samplers.exponential(s, n, *p, dtype=d, strides=st),
    "cauchy": lambda s, n, p, d, st: samplers.cauchy(s, n, *p, dtype=d, strides=st),
    "log_normal": lambda s, n, p, d, st: samplers.log_normal(s, n, *p, dtype=d, strides=st),
    "geometric": lambda s, n, p, d, st: samplers.geometric(s, n, *p, dtype=d, strides=st),
    "trunc_normal": lambda s, n, p, d, st: samplers.trunc_normal(s, n, *p, dtype=d, strides=st),
}  # fmt: skip


def generator_for(device: devices.device, generator: Generator | None) -> Generator:
    """``generator``, or the device's default one, from which the caller draws.

    Raises:
        RuntimeError: it is another device's.
    """
    capture.refuse("random numbers are drawn that depend on values")
    for batch in batches.open:
        batch.alone = True
    return _generator(device, generator)


def _generator(device: devices.device, generator: Generator | None) -> Generator:
    if generator is None:
        return default_generator(device)
    if generator.device is not device:
        raise RuntimeError(f"Expected a '{device}' device type for generator but found '{generator.device}'")
    return generator


@dataclass(frozen=True)
class HostDraw:
    """One draw on the CPU: calling it draws anew."""

    kind: str
    shape: tuple
    parameters: tuple
    dtype: dtypes.dtype
    strides: tuple | None
    generator: Generator

    def __call__(self):
        return put(np.ascontiguousarray(self._numbers(self.shape)).reshape(self.shape), devices.CPU)

    def _numbers(self, shape):
        if self.kind == "randperm" and len(shape) > 1:  # of a batch: one after the other
            return np.stack([self._numbers(shape[1:]) for _ in range(shape[0])])
        return _HOST[self.kind](self.generator._stream, shape, self.parameters, self.dtype.np, self.strides)


class Batch:
    """While a function is recorded for ``vmap``: what it draws, for all samples at once.

    Attributes:
        size: how many samples there are.
        trace: what the function is recorded into.
        drawn: ``id`` of the value that the function saw -> that value, and the one that holds every sample's.
        alone: whether numbers were drawn in another way, which has none of the other samples'.
    """

    def __init__(self, size: int):
        self.size, self.trace, self.drawn, self.alone = size, None, {}, False


class _Batches(threading.local):
    """The functions that this thread records like that, innermost last."""

    def __init__(self):
        self.open: tuple[Batch, ...] = ()


batches = _Batches()


def _drawn(host: HostDraw, around: tuple[Batch, ...]):
    """The value of a draw: one sample's of what is drawn for the innermost batch, if there is one."""
    if not around:
        value = host()
        log = capture.state.log
        if log is not None and log.refusal is None:
            log.events.append(capture.Draw(host, value))
        return value
    batch = around[-1]
    if host.strides is not None:
        batch.alone = True
        return _drawn(host, around[:-1])
    whole = _drawn(dataclasses.replace(host, shape=(batch.size, *host.shape)), around[:-1])
    value = batch.trace.placeholder(aval(host.shape, host.dtype))
    batch.drawn[id(value)] = value, whole
    return value


def draw(kind: str, shape, parameters, dtype: dtypes.dtype, device, generator=None, strides=None):
    """A Tensor of random numbers: ``kind`` is a key of the host table above."""
    device = devices.resolve(device)
    shape = tuple(shape)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    aval(shape, dtype)  # refuses what cannot be counted
    if device is devices.META:
        from .creation import filled

        return filled(shape, 0, dtype, device)
    g = _generator(device, generator)
    if device is devices.CPU:
        return _dispatch.wrap(_drawn(HostDraw(kind, shape, parameters, dtype, strides, g), batches.open))
    for batch in batches.open:
        batch.alone = True
    if kind == "random":
        kind, parameters = "randint", (0, 2**63 - 1 if dtype is dtypes.int64 else 2**24)
    if kind not in _DEVICE_KINDS:
        raise NotImplementedError(f"{kind} sampling is implemented for CPU tensors; draw it there and move it")
    entry = OPS["_device_random"]

    def numbers():
        seed = g._stream.initial_seed() & 0xFFFFFFFFFFFFFFFF
        g._count += 1
        return [float(seed >> 32), float(seed & 0xFFFFFFFF), float(g._count)]

    statics = {"kind": kind, "size": shape, "dtype": dtype, "parameters": tuple(parameters)}
    call = intern(entry, tuple(statics[n] for n in entry.static_names), (HyperKey,) * 3, device.platform)
    value = record(call, numbers(), device)[0]
    log = capture.state.log
    if log is not None and log.refusal is None and value.trace is not None:
        log.events.append(capture.Draw(numbers, None, len(value.trace.hypers) - 3))
    return _dispatch.wrap(value)


_DEVICE_KINDS = frozenset(
    ("uniform", "normal", "bernoulli", "randint", "randperm", "exponential", "cauchy", "log_normal", "geometric")
)


def draw_like(t, kind: str, parameters, generator=None, dtype=None):
    """As :func:`draw`, in the shape, dtype, device and memory order of ``t``."""
    strides = None if t.is_contiguous() else t.stride()
    return draw(kind, t.shape, parameters, dtype or t.dtype, t.device, generator, strides)


def host_mask(t, p_keep: float, generator=None, shape=None):
    """A bool mask that is true with probability ``p_keep``: dropout's draw.

    In the shape and memory order of ``t``, or contiguous in ``shape``.
    """
    if shape is not None:
        return draw("bernoulli", shape, (p_keep,), dtypes.bool_, t.device, generator)
    return draw_like(t, "bernoulli", (p_keep,), generator, dtypes.bool_)
