"""Names for regions of a program, shown by ``jax.profiler``."""

from __future__ import annotations


class record_function:
    """``with record_function("name"):`` mark a region in JAX's profiler trace."""

    def __init__(self, name: str, args: str | None = None):
        self.name = name

    def __enter__(self):
        import jax

        self._region = jax.profiler.TraceAnnotation(self.name)
        self._region.__enter__()
        return self

    def __exit__(self, *exc):
        self._region.__exit__(*exc)
