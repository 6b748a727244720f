"""Contraction-order search of einsum (JAX always uses opt_einsum)."""

from __future__ import annotations

import contextlib

enabled = True
strategy = "auto"


def is_available() -> bool:
    return True


def set_flags(_enabled: bool | None = None, _strategy: str | None = None) -> tuple:
    """Set what :data:`enabled` and :data:`strategy` show; returns what they were."""
    global enabled, strategy
    before = enabled, strategy
    enabled = enabled if _enabled is None else _enabled
    strategy = strategy if _strategy is None else _strategy
    return before


@contextlib.contextmanager
def flags(enabled: bool | None = None, strategy: str | None = None):
    """:func:`set_flags` for the extent of a ``with``."""
    before = set_flags(enabled, strategy)
    try:
        yield
    finally:
        set_flags(*before)
