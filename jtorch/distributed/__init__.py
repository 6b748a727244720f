"""Distribution: one process over many devices (shardings), and one process per device (collectives).

In one process a tensor may lie on several devices; XLA then partitions whatever is recorded on it. Data parallelism,
FSDP, tensor parallelism and DTensor are layouts of tensors, not code paths of their own.
"""

from . import pacing

pacing.prepare()

from .device_mesh import DeviceMesh, init_device_mesh  # noqa: E402
from .pmap import axis_index, pmap, pmean, psum  # noqa: E402


def is_available() -> bool:
    """Whether the package can be used: always."""
    return True


def is_initialized() -> bool:
    """Whether a process group exists."""
    return False


from . import fsdp, tensor  # noqa: E402
