"""Fully sharded data parallelism: parameters, gradients and optimizer state are cut over the devices."""

import importlib

from . import api
from .api import *  # noqa: F403
from .fully_shard import (
    CPUOffloadPolicy,
    DataParallelMeshDims,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    UnshardHandle,
    fully_shard,
    register_fsdp_forward_method,
)

# A module: imported on first use, as nn needs this package.
_WRAPPER = ("FullyShardedDataParallel", "OptimStateKeyType")

__all__ = [  # noqa: PLE0604
    "CPUOffloadPolicy", "DataParallelMeshDims", "FSDPModule", "MixedPrecisionPolicy", "OffloadPolicy", "UnshardHandle",
    "fully_shard", "register_fsdp_forward_method", *api.__all__, *_WRAPPER,
]  # fmt: skip


def __getattr__(name: str):
    if name in _WRAPPER:
        return getattr(importlib.import_module(f"{__name__}.fully_sharded_data_parallel"), name)
    if name in ("fully_sharded_data_parallel", "wrap", "sharded_grad_scaler"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
