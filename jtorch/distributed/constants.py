"""The vocabulary of process groups: reductions, backends, errors, the default timeout."""

from __future__ import annotations

import enum
from datetime import timedelta

#: How long an operation may take before the job is given up (PyTorch's default for Gloo).
default_pg_timeout = timedelta(minutes=30)


class DistError(RuntimeError):
    """An error of the distributed package."""


class DistBackendError(DistError):
    """A collective failed, or another process of the job is gone."""


class DistNetworkError(DistError):
    """An address cannot be reached."""


class DistStoreError(DistError):
    """A store did not answer in time."""


class DistQueueEmptyError(DistStoreError):
    """A queue of a store holds nothing."""


class RedOpType(enum.Enum):
    """The reductions."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8
    UNUSED = 9

    def __str__(self) -> str:
        return f"RedOpType.{self.name}"

    def __call__(self):
        return self


class ReduceOp:
    """What an operation such as :func:`all_reduce` does with the elements of all ranks: ``ReduceOp.SUM`` and so on.

    ``SUM``, ``AVG``, ``PRODUCT``, ``MIN`` and ``MAX`` take numbers (complex ones neither ``MIN`` nor ``MAX``);
    ``BAND``, ``BOR`` and ``BXOR`` take integers and booleans. ``PREMUL_SUM`` is made by :func:`_make_nccl_premul_sum`.
    """

    RedOpType = RedOpType

    def __new__(cls, op: RedOpType) -> RedOpType:
        return op


for _op in RedOpType:
    setattr(ReduceOp, _op.name, _op)


class PremulSum:
    """``Σ factor · x``: each rank multiplies by its own factor first."""

    name = "PREMUL_SUM"

    def __init__(self, factor):
        self.factor = factor


def _make_nccl_premul_sum(factor) -> PremulSum:
    """The reduction ``Σ factor · x`` for a number or a one-element tensor ``factor``."""
    return PremulSum(factor)


class Backend(str):
    """The name of a backend in lower case. All of them are XLA's collectives: Gloo on the CPU, NCCL on NVIDIA GPUs.

    Raises:
        ValueError: there is no such backend.
    """

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    XLA = "xla"
    UCC = "ucc"
    MPI = "mpi"
    backend_list = [UNDEFINED, GLOO, NCCL, XLA]
    #: which one serves a type of device when a program names none
    default_device_backend_map = {"cpu": GLOO, "cuda": NCCL, "mps": GLOO}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish, but got {type(name).__name__}")
        value = name.lower()
        for part in value.split(","):  # "cpu:gloo,cuda:nccl"
            _, _, part = part.rpartition(":")
            if part in ("mpi", "ucc"):
                raise ValueError(f"Backend {name!r} is not available in jtorch: use one of 'gloo', 'nccl' and 'xla'")
            if part not in cls.backend_list:
                raise ValueError(f"Invalid backend: '{name}'. Expected one of 'gloo', 'nccl' and 'xla'")
        return super().__new__(cls, value)
