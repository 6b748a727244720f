"""Other ways of averaging gradients, for ``DistributedDataParallel.register_comm_hook``."""

from . import default_hooks
