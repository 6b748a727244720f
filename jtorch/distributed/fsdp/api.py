"""What :class:`FullyShardedDataParallel` is told: strategies, precision, and the kinds of state dict."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from ... import dtypes

__all__ = [
    "BackwardPrefetch", "CPUOffload", "FullOptimStateDictConfig", "FullStateDictConfig", "LocalOptimStateDictConfig",
    "LocalStateDictConfig", "MixedPrecision", "OptimStateDictConfig", "ShardedOptimStateDictConfig",
    "ShardedStateDictConfig", "ShardingStrategy", "StateDictConfig", "StateDictSettings", "StateDictType",
]  # fmt: skip


class ShardingStrategy(enum.Enum):
    """What is cut over the devices.

    ``FULL_SHARD``: parameters, gradients and optimizer state. ``SHARD_GRAD_OP``: the same here; it differs only in how
    long a gathered parameter lives, which XLA decides. ``NO_SHARD``: nothing but the batch. ``HYBRID_SHARD`` and
    ``_HYBRID_SHARD_ZERO2``: as the first two within groups of devices, each of which has a copy.
    """

    FULL_SHARD = enum.auto()
    SHARD_GRAD_OP = enum.auto()
    NO_SHARD = enum.auto()
    HYBRID_SHARD = enum.auto()
    _HYBRID_SHARD_ZERO2 = enum.auto()


class BackwardPrefetch(enum.Enum):
    """When the next parameters are gathered in backward. XLA decides that: accepted, and changes nothing."""

    BACKWARD_PRE = enum.auto()
    BACKWARD_POST = enum.auto()


def _batch_norm() -> tuple[type, ...]:
    from ...nn.modules.batchnorm import _BatchNorm

    return (_BatchNorm,)


@dataclass
class MixedPrecision:
    """Which dtypes a module computes in; its parameters, gradients and optimizer state keep theirs.

    Args:
        param_dtype: of the gathered parameters that the module computes with, and of its floating inputs.
        reduce_dtype: accepted. Gradients are reduced by the program that computes them, in the dtype that XLA chooses
            for their terms.
        buffer_dtype: of floating buffers; in ``state_dict()`` they have their own again.
        keep_low_precision_grads: only False: gradients have their parameter's dtype.
        cast_forward_inputs: whether ``param_dtype`` concerns the inputs of inner modules.
        cast_root_forward_inputs: whether it concerns those of the outermost.
        _module_classes_to_ignore: modules whose own parameters and buffers stay as they are.
    """

    param_dtype: dtypes.dtype | None = None
    reduce_dtype: dtypes.dtype | None = None
    buffer_dtype: dtypes.dtype | None = None
    keep_low_precision_grads: bool = False
    cast_forward_inputs: bool = False
    cast_root_forward_inputs: bool = True
    _module_classes_to_ignore: Sequence[type] = field(default_factory=_batch_norm)


@dataclass
class CPUOffload:
    """Keeping parameters in host memory: only ``offload_params=False`` is supported."""

    offload_params: bool = False


class StateDictType(enum.Enum):
    """How ``state_dict()`` gives tensors: whole, or as they lie. ``LOCAL_STATE_DICT`` is not supported."""

    FULL_STATE_DICT = enum.auto()
    LOCAL_STATE_DICT = enum.auto()
    SHARDED_STATE_DICT = enum.auto()


@dataclass
class StateDictConfig:
    """``offload_to_cpu``: tensors are on the host (and whole there)."""

    offload_to_cpu: bool = False


@dataclass
class FullStateDictConfig(StateDictConfig):
    """``rank0_only`` changes nothing: there is one process."""

    rank0_only: bool = False


@dataclass
class LocalStateDictConfig(StateDictConfig):
    """Of ``LOCAL_STATE_DICT``, which is not supported."""


@dataclass
class ShardedStateDictConfig(StateDictConfig):
    """``_use_dtensor`` changes nothing: tensors on a mesh are DTensors."""

    _use_dtensor: bool = False


@dataclass
class OptimStateDictConfig:
    """``offload_to_cpu``: tensors are on the host (and whole there)."""

    offload_to_cpu: bool = True


@dataclass
class FullOptimStateDictConfig(OptimStateDictConfig):
    """``rank0_only`` changes nothing: there is one process."""

    rank0_only: bool = False


@dataclass
class LocalOptimStateDictConfig(OptimStateDictConfig):
    """Of ``LOCAL_STATE_DICT``, which is not supported."""

    offload_to_cpu: bool = False


@dataclass
class ShardedOptimStateDictConfig(OptimStateDictConfig):
    """``_use_dtensor`` changes nothing: tensors on a mesh are DTensors."""

    _use_dtensor: bool = False


@dataclass
class StateDictSettings:
    """The kind of state dict in force."""

    state_dict_type: StateDictType
    state_dict_config: StateDictConfig
    optim_state_dict_config: OptimStateDictConfig
