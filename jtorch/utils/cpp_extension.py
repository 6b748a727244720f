"""``torch.utils.cpp_extension``: C++ and CUDA sources written against ATen, which jtorch has not.

Build scripts may import the names; building says what to do instead.
"""

from __future__ import annotations

import os

CUDA_HOME = os.environ.get("CUDA_HOME")
ROCM_HOME = os.environ.get("ROCM_HOME")
IS_HIP_EXTENSION = False


def _refuse(what: str):
    raise NotImplementedError(
        f"{what}: jtorch runs on XLA and cannot build extensions written against PyTorch's C++ API. Write the "
        "operation with jtorch ops (they are compiled together), as a JAX function (jtorch.interop.jax), or with "
        "jax.ffi and Pallas."
    )


class BuildExtension:
    """Refuses with the ways out."""

    def __init__(self, *args, **kwargs):
        _refuse("BuildExtension")

    @classmethod
    def with_options(cls, **options):
        """A ``cmdclass`` that refuses when it is run."""
        return cls


def CppExtension(name, sources, *args, **kwargs):
    """Refuses with the ways out."""
    _refuse(f"CppExtension({name!r})")


def CUDAExtension(name, sources, *args, **kwargs):
    """Refuses with the ways out."""
    _refuse(f"CUDAExtension({name!r})")


def load(name, sources, *args, **kwargs):
    """Refuses with the ways out."""
    _refuse(f"load({name!r})")


def load_inline(name, cpp_sources, *args, **kwargs):
    """Refuses with the ways out."""
    _refuse(f"load_inline({name!r})")


def include_paths(device_type: str = "cpu") -> list[str]:
    """None: there are no headers."""
    return []
