"""Distribution: one process over many devices (shardings), and one process per device (collectives).

In one process a tensor may lie on several devices; XLA then partitions whatever is recorded on it. Data parallelism,
FSDP, tensor parallelism and DTensor are layouts of tensors, not code paths of their own.

Processes started by a launcher join with :func:`init_process_group`; their tensors stay their own, and collectives
exchange contents.
"""

from . import pacing

pacing.prepare()

from . import distributed_c10d  # noqa: E402
from .device_mesh import DeviceMesh, init_device_mesh  # noqa: E402
from .distributed_c10d import *  # noqa: E402, F403
from .distributed_c10d import (  # noqa: E402
    _all_gather_base,
    _coalescing_manager,
    _make_nccl_premul_sum,
    _rank_not_in_group,
    _reduce_scatter_base,
)
from .pmap import axis_index, pmap, pmean, psum  # noqa: E402

# Imported on first use: they need functions and modules, which need this package, or most programs do not need them.
_LATER = ("_functional_collectives", "algorithms", "autograd", "checkpoint", "fsdp", "nn", "optim", "rpc", "tensor")


def __getattr__(name: str):
    if name in _LATER:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
