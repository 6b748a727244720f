"""Everything that depends on JAX beyond its plain array functions, so that a JAX release can be met in one file."""

from __future__ import annotations

import functools
import os
import pickle
import threading

import jax
import numpy as np
from jax._src.interpreters.pxla import batched_device_put as _batched_device_put

from .files import private_folder

#: ``with x64(True):`` int64 and float64 are real inside the block; the process-wide flag is never touched.
x64 = jax.enable_x64

_cache_lock = threading.Lock()
_cache_ready = False


# Parts of JAX that take long to import are imported where they are first used.


def address(array) -> int | None:
    """Where an array's elements lie in its device's memory; None: on several devices, or there is no telling."""
    if len(array.sharding.device_set) > 1:
        return None
    try:
        return array.unsafe_buffer_pointer()
    except Exception:  # devices that have no addresses raise errors of their own
        return None


@functools.lru_cache(4096)
def _placed(shape: tuple, dtype, device):
    return jax.core.ShapedArray(shape, dtype), jax.sharding.SingleDeviceSharding(device)


def put(array, device) -> jax.Array:
    """``jax.device_put`` of a NumPy array that nobody writes to any more, in a tenth of the time."""
    if type(array) is not np.ndarray or array.dtype.fields is not None:
        return jax.device_put(array, device)
    aval, sharding = _placed(array.shape, array.dtype, device)
    with x64(True):
        return _batched_device_put(aval, sharding, [array], [device])


def is_literal(variable) -> bool:
    """Whether what stands for a value in a jaxpr is a constant."""
    from jax.extend.core import Literal

    return isinstance(variable, Literal)


def live_equations(jaxpr, outvars) -> list:
    """The equations that one of ``outvars`` depends on, and those with effects."""
    needed, kept = {v for v in outvars if not is_literal(v)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not needed.isdisjoint(equation.outvars):
            needed.update(v for v in equation.invars if not is_literal(v))
            kept.append(equation)
    return kept[::-1]


def is_jaxpr(x) -> bool:
    """Whether an attribute of a primitive is a program."""
    from jax.extend.core import ClosedJaxpr, Jaxpr

    return isinstance(x, (ClosedJaxpr, Jaxpr))


def jaxpr_parts(x) -> tuple:
    """A jaxpr and the constants it is closed over."""
    from jax.extend.core import ClosedJaxpr

    return (x.jaxpr, x.consts) if isinstance(x, ClosedJaxpr) else (x, ())


def traced(jitted, avals):
    """The jaxpr of a jitted function, traced once for all who ask."""
    with x64(True):
        return jitted.trace(*avals).jaxpr


def scan_counts(params: dict) -> tuple[int, int]:
    """How many constants and how many carried values a ``scan`` takes, before what it scans."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = map(list, params["ft_in"].unpack())  # jax 0.12
    return len(consts), len(carry)


def jaxpr_as_fun(closed):
    """A closed jaxpr as a function of its arguments."""
    from jax.extend import core

    return core.jaxpr_as_fun(closed)


def evaluate(closed, arrays, rules: dict) -> list:
    """The results of a closed jaxpr. ``rules[name](bind, *operands)`` takes the place of the primitive of that name
    with one result; ``bind(*operands)`` is what that would do."""
    jaxpr, values = closed.jaxpr, {}
    values.update(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, arrays, strict=True))

    def value(v):
        return v.val if is_literal(v) else values[v]

    for equation in jaxpr.eqns:
        bind = functools.partial(equation.primitive.bind, **equation.primitive.get_bind_params(equation.params))
        rule = rules.get(equation.primitive.name)
        operands = map(value, equation.invars)
        with equation.ctx.manager:
            out = rule(bind, *operands) if rule else bind(*operands)
        values.update(zip(equation.outvars, out if equation.primitive.multiple_results else [out], strict=True))
    return [value(v) for v in jaxpr.outvars]


def host_threads() -> int:
    """For how many threads XLA's CPU compiler divides loops: the processors this process may run on, or ``NPROC``.

    It is compiled into a program but not part of the key under which JAX keeps it: a program of a process that was
    confined to one processor would stay a program for one.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("NPROC", "")
    return min(processors, max(1, int(given))) if given.isdigit() else processors


def prepare_compilation_cache(folder: str) -> None:
    """Turn on XLA's persistent cache in ``folder``, if that can be private, unless the program configured one.

    Called before the first compilation, not at import.
    """
    global _cache_ready
    if _cache_ready:
        return
    with _cache_lock:
        if _cache_ready:
            return
        _cache_ready = True
        jax.monitoring.register_event_listener(_cache_hits)
        own = os.path.join(folder, f"{host_threads()}-threads")
        if not folder or jax.config.jax_compilation_cache_dir or not (private_folder(folder) and private_folder(own)):
            return
        jax.config.update("jax_compilation_cache_dir", own)
        # Whole training steps of small models compile in under JAX's default threshold of a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


#: Per-program XLA options by platform; measured on the GPT step (see docs/decisions).
COMPILER_OPTIONS = {
    "cpu": {
        "xla_cpu_enable_concurrency_optimized_scheduler": True,
        # YNNPACK is the faster at dots and reductions, but runs a convolution of 64 filters at half speed
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    }
}


#: What a quick compilation changes: LLVM unoptimised, loops emitted without MLIR: together a fifth of the time.
QUICK_OPTIONS = {
    "cpu": {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
    }
}


#: options this release of XLA does not have (any more)
_unknown_options: set[str] = set()


def compiler_options(platform: str, quick: bool) -> dict[str, object]:
    """The XLA options for a program, as far as XLA has them; ``quick``: for one that runs a few times."""
    options = COMPILER_OPTIONS.get(platform, {})
    return {**options, **QUICK_OPTIONS.get(platform, {})} if quick else options


class _CacheHits(threading.local):
    """How many programs of this thread JAX found in its own compilation cache."""

    count = 0

    def __call__(self, event: str, **_) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            self.count += 1


_cache_hits = _CacheHits()


def compile_lowered(lowered: jax.stages.Lowered, platform: str, quick: bool) -> tuple[jax.stages.Compiled, bool]:
    """What was lowered, compiled with the platform's options, and whether XLA did it now.

    If not, it came out of JAX's cache: such a program must not be serialized again, XLA's CPU backend leaves out its
    functions. Options come and go with XLA's releases.
    """
    while True:
        options = {k: v for k, v in compiler_options(platform, quick).items() if k not in _unknown_options}
        hits = _cache_hits.count
        try:
            compiled = lowered.compile(compiler_options=options or None)
            return compiled, _cache_hits.count == hits
        except jax.errors.JaxRuntimeError as error:
            missing = [name for name in options if f"No such compile option: '{name}'" in str(error)]
            if not missing:
                raise
            _unknown_options.update(missing)


def lower_program(fn, avals, donate: tuple[int, ...], device, shardings=None) -> jax.stages.Lowered:
    """Lower ``fn`` for one device, or for the mesh of ``shardings``.

    Args:
        donate: argument positions whose buffers may be reused.
        shardings: ``(of the leaves, of the outputs, of every other argument)``.
    """
    single = jax.sharding.SingleDeviceSharding(device)
    inputs, outputs = single, single
    if shardings is not None:
        leaves, results, rest = shardings
        inputs, outputs = leaves + (rest,) * (len(avals) - len(leaves)), (results, rest)
    jitted = jax.jit(fn, donate_argnums=donate, keep_unused=True, in_shardings=inputs, out_shardings=outputs)
    return jitted.lower(*avals)


def stands_alone(lowered: jax.stages.Lowered) -> bool:
    """Whether a program calls nothing outside XLA (LAPACK, callbacks), which JAX makes ready while it lowers."""
    return "custom_call" not in lowered.as_text()


def serialize(compiled: jax.stages.Compiled) -> bytes:
    """A compiled program as bytes. To be read on the same kind of machine, from where nobody else can write."""
    from jax.experimental.serialize_executable import serialize

    return pickle.dumps(serialize(compiled))


def deserialize(data: bytes, device) -> jax.stages.Compiled:
    """The program :func:`serialize` was given, on a device."""
    from jax.experimental.serialize_executable import deserialize_and_load

    return deserialize_and_load(*pickle.loads(data), backend=device.client, execution_devices=[device])


def lower_text(entry) -> str:
    """The StableHLO text of a compiled entry's program."""
    fn, avals = entry.flat()
    with x64(True):
        return jax.jit(fn, keep_unused=True).lower(*avals).as_text()


def export_program(entry, platforms: tuple[str, ...]):
    """A flushed program lowered for other platforms (``jax.export``), from whatever machine this is."""
    import jax.export

    fn, avals = entry.flat()
    pinned = jax.export.DisabledSafetyCheck.custom_call("LayoutConstraint")  # of products on this very processor
    with x64(True):
        exported = jax.export.export(jax.jit(fn, keep_unused=True), platforms=platforms, disabled_checks=[pinned])
        return exported(*avals)


def backend_started() -> bool:
    """Whether JAX has started a backend, so that devices and processes are fixed."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()
