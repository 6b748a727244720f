"""``torch.__config__``: what this was built with."""

from __future__ import annotations


def show() -> str:
    """The versions of jtorch, JAX and jaxlib, and the devices JAX sees."""
    import jax
    import jaxlib

    from . import __version__

    lines = [f"jtorch {__version__}", f"jax {jax.__version__}, jaxlib {jaxlib.__version__}"]
    return "\n".join([*lines, *(f"device {d}: {d.device_kind}" for d in jax.devices())]) + "\n"


def parallel_info() -> str:
    """How many threads XLA's CPU backend uses."""
    import os

    return f"XLA CPU threads: {os.cpu_count()}\n"
