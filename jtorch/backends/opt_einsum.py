"""Contraction-order search of einsum (JAX always uses opt_einsum)."""

enabled = True
strategy = "auto"


def is_available() -> bool:
    return True
