"""Everything that depends on JAX beyond its plain array functions, so that a JAX release can be met in one file."""

from __future__ import annotations

import gc
import os
import threading

import jax
import jax.export
from jax.extend import core as jex_core

from .. import config

#: ``with x64(True):`` int64 and float64 are real inside the block; the process-wide flag is never touched.
x64 = jax.enable_x64

Literal = jex_core.Literal
Jaxpr, ClosedJaxpr = jex_core.Jaxpr, jex_core.ClosedJaxpr
jaxpr_as_fun = jex_core.jaxpr_as_fun


def scan_counts(params: dict) -> tuple[int, int]:
    """How many constants and how many carried values a ``scan`` takes, before what it scans."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = map(list, params["ft_in"].unpack())  # jax 0.12
    return len(consts), len(carry)


_cache_lock = threading.Lock()
_cache_ready = False


def prepare_compilation_cache(folder: str) -> None:
    """Turn on XLA's persistent cache in ``folder`` (made private, mode 0700), unless the program configured one.

    Called before the first compilation, not at import. A folder that cannot be made, or that belongs to somebody
    else, is not used.
    """
    global _cache_ready
    if _cache_ready:
        return
    with _cache_lock:
        if _cache_ready:
            return
        _cache_ready = True
        if not folder or jax.config.jax_compilation_cache_dir:
            return
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            status = os.stat(folder)
            if status.st_uid != os.getuid():
                return
            if status.st_mode & 0o077:
                os.chmod(folder, 0o700)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", folder)
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


#: What ``config.quick_compile`` changes: LLVM unoptimised, loops emitted without MLIR: together a fifth of the time.
QUICK_OPTIONS = {
    "cpu": {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
    }
}


def compile_program(fn, avals, donate: tuple[int, ...], device, shardings=None) -> object:
    """Lower and compile ``fn`` for one device, or for the mesh of ``shardings``.

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
    options = COMPILER_OPTIONS.get(device.platform)
    if config.quick_compile and device.platform in QUICK_OPTIONS:
        options = {**(options or {}), **QUICK_OPTIONS[device.platform]}
    return jitted.lower(*avals).compile(compiler_options=options)


def lower_text(entry) -> str:
    """The StableHLO text of a compiled entry's program."""
    fn, avals = entry.flat()
    with x64(True):
        return jax.jit(fn, keep_unused=True).lower(*avals).as_text()


def export_program(entry, platforms: tuple[str, ...]):
    """A flushed program lowered for other platforms (``jax.export``), from whatever machine this is."""
    fn, avals = entry.flat()
    with x64(True):
        return jax.export.export(jax.jit(fn, keep_unused=True), platforms=platforms)(*avals)


def backend_started() -> bool:
    """Whether JAX has started a backend, so that devices and processes are fixed."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def calm_garbage_collector() -> None:
    """Let a step's objects die young.

    A recorded step keeps a few thousand small objects alive until it is flushed. Under Python's default threshold the
    cyclic collector runs in the middle of each step, promotes them, and then pays full collections of JAX's whole heap
    for them (measured: a quarter of a small step's time). Thresholds a program has set itself are left alone.
    """
    first, second, third = gc.get_threshold()
    if 0 < first <= 2000:
        gc.set_threshold(20_000, second, third)
