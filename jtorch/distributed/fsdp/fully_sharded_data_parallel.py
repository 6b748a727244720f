"""``FullyShardedDataParallel``: :func:`~.fully_shard.fully_shard` as a wrapper, with the interface it had first."""

from __future__ import annotations

import contextlib
import enum
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import jtorch

from ... import nn
from ...tensor import Tensor
from ...trace.value import move, put
from .. import layout
from ..algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper, _renamed
from ..collectives import broadcast_all
from ..device_mesh import DeviceMesh, all_local, local_devices
from ..group import ProcessGroup, get_rank, get_world_size
from ..rank_mesh import several_processes
from ..state_names import modules, name_of, of_optimizer, parameter_names, with_names, with_numbers
from ..tensor.dtensor import is_ranked
from .api import (
    BackwardPrefetch,
    CPUOffload,
    FullOptimStateDictConfig,
    FullStateDictConfig,
    LocalOptimStateDictConfig,
    LocalStateDictConfig,
    MixedPrecision,
    OptimStateDictConfig,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictConfig,
    StateDictSettings,
    StateDictType,
)
from .fully_shard import MixedPrecisionPolicy, _cast, _device_type, _Group, _of_ranks, attach
from .wrap import CustomPolicy, ModuleWrapPolicy, auto_wrap

__all__ = [
    "BackwardPrefetch", "CPUOffload", "FullOptimStateDictConfig", "FullStateDictConfig", "FullyShardedDataParallel",
    "LocalOptimStateDictConfig", "LocalStateDictConfig", "MixedPrecision", "OptimStateDictConfig", "OptimStateKeyType",
    "ShardedOptimStateDictConfig", "ShardedStateDictConfig", "ShardingStrategy", "StateDictConfig",
    "StateDictSettings", "StateDictType",
]  # fmt: skip

FSDP_WRAPPED_MODULE = "_fsdp_wrapped_module"
FSDP_PREFIX = FSDP_WRAPPED_MODULE + "."
_HYBRID = (ShardingStrategy.HYBRID_SHARD, ShardingStrategy._HYBRID_SHARD_ZERO2)
_CONFIGS = {
    StateDictType.FULL_STATE_DICT: (FullStateDictConfig, FullOptimStateDictConfig),
    StateDictType.SHARDED_STATE_DICT: (ShardedStateDictConfig, ShardedOptimStateDictConfig),
}


class OptimStateKeyType(enum.Enum):
    """What an optimizer's state goes by."""

    PARAM_NAME = enum.auto()
    PARAM_ID = enum.auto()


class FullyShardedDataParallel(nn.Module):
    """A module whose parameters, gradients and optimizer state are cut over the devices of this process.

    The losses are those of one device: the outermost wrapper cuts the batch, parameters are gathered where they are
    used, and XLA schedules that. Parameters stay what they were, in number, shape and identity, whatever
    ``use_orig_params`` says; an optimizer may be made before or after.

    Args:
        module: the module, afterwards ``.module``.
        process_group: None, or a group of one process.
        sharding_strategy: what is cut (default: ``FULL_SHARD``). The hybrid ones need ``device_mesh``.
        cpu_offload: None or ``CPUOffload(False)``.
        auto_wrap_policy: which submodules get a wrapper of their own (``wrap.py``): the parameters of each are gathered
            together.
        mixed_precision: which dtypes the module computes in.
        ignored_modules, ignored_states: modules and parameters to leave alone.
        param_init_fn: ``fn(module)`` gives a module whose parameters are on the meta device its content (default:
            ``to_empty`` and ``reset_parameters``).
        device_id: which type of devices to use (default: where the parameters are; for those on the meta device, the
            default device).
        device_mesh: the devices (default: all local ones); with two dimensions, ``(replicate, shard)``.
        backward_prefetch, forward_prefetch, limit_all_gathers: accepted; XLA schedules communication.
        sync_module_states, use_orig_params: accepted; there is one process, and parameters are never flattened.

    Raises:
        NotImplementedError: offloading, or gradients of lower precision.
        RuntimeError: several processes have joined a job.
        ValueError: a hybrid strategy without ``device_mesh``; a submodule that the policy concerns is wrapped already.
    """

    def __init__(
        self, module, process_group=None, sharding_strategy: ShardingStrategy | None = None,
        cpu_offload: CPUOffload | None = None,
        auto_wrap_policy: Callable | ModuleWrapPolicy | CustomPolicy | None = None,
        backward_prefetch: BackwardPrefetch | None = BackwardPrefetch.BACKWARD_PRE,
        mixed_precision: MixedPrecision | None = None, ignored_modules: Iterable | None = None,
        param_init_fn: Callable | None = None, device_id=None, sync_module_states: bool = False,
        forward_prefetch: bool = False, limit_all_gathers: bool = True, use_orig_params: bool = False,
        ignored_states: Iterable | None = None, device_mesh: DeviceMesh | None = None,
    ):  # fmt: skip
        super().__init__()
        for group in process_group if isinstance(process_group, tuple) else (process_group,):
            if not isinstance(group, ProcessGroup | None):
                raise TypeError(f"process_group must be a process group, a pair of them, or None, but got {group!r}")
        ranks = several_processes()
        on_host = ranks and _device_type(module) == "cpu"
        if cpu_offload is not None and cpu_offload.offload_params and not on_host:
            raise NotImplementedError(
                "FullyShardedDataParallel: CPUOffload(offload_params=True) is not supported; leave cpu_offload out"
            )
        precision = mixed_precision or MixedPrecision()
        if precision.keep_low_precision_grads:
            raise NotImplementedError(
                "MixedPrecision(keep_low_precision_grads=True) is not supported: gradients have their parameter's "
                "dtype; leave it out"
            )
        strategy = sharding_strategy or ShardingStrategy.FULL_SHARD
        if strategy in _HYBRID and not ranks and (device_mesh is None or device_mesh.ndim != 2):
            raise ValueError(
                f"{strategy} needs device_mesh, of two dimensions: init_device_mesh(device, (copies, parts)) says over "
                "how many devices a copy is cut"
            )
        ignored = _Ignored(module, ignored_modules, ignored_states)
        if auto_wrap_policy is not None:
            options = dict(
                process_group=process_group, sharding_strategy=sharding_strategy, cpu_offload=cpu_offload,
                backward_prefetch=backward_prefetch, mixed_precision=mixed_precision, param_init_fn=param_init_fn,
                device_id=device_id, sync_module_states=sync_module_states, forward_prefetch=forward_prefetch,
                limit_all_gathers=limit_all_gathers, use_orig_params=use_orig_params,
                ignored_states=ignored.parameters, device_mesh=device_mesh,
            )  # fmt: skip
            auto_wrap(module, auto_wrap_policy, FullyShardedDataParallel, ignored.modules, ignored.parameters, options)
        self._fsdp_wrapped_module = module
        self.process_group, self.sharding_strategy, self.mixed_precision = process_group, strategy, precision
        self.cpu_offload = cpu_offload or CPUOffload()
        self.backward_prefetch, self.forward_prefetch = backward_prefetch, forward_prefetch
        self.limit_all_gathers, self._use_orig_params = limit_all_gathers, use_orig_params
        self.rank, self.world_size = (get_rank(), get_world_size()) if ranks else (0, 1)
        self._is_root, self._summoned = True, 0
        for inner in FullyShardedDataParallel.fsdp_modules(module):
            inner._is_root = False
        self._settings = StateDictSettings(
            StateDictType.FULL_STATE_DICT, FullStateDictConfig(), FullOptimStateDictConfig()
        )
        mesh = device_mesh or (_mesh_of_ranks if ranks else _mesh)(module, device_id, strategy, process_group)
        _materialize(module, param_init_fn, mesh, ignored)
        self._buffer_dtypes = _convert_buffers(module, precision, ignored)
        kept = tuple(precision._module_classes_to_ignore)
        policy = MixedPrecisionPolicy(precision.param_dtype, precision.reduce_dtype, None, False)
        keep = lambda m: isinstance(m, kept)  # noqa: E731
        if ranks:
            if sync_module_states:
                _take_from_first(self, mesh, ignored)
            cut = strategy is not ShardingStrategy.NO_SHARD
            group: Any = _of_ranks(self, mesh, None, set(ignored.parameters), policy, keep, cut)
        else:
            group = _Group(self, mesh, None, set(ignored.parameters), policy, keep)
        attach(self, group)
        self.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        self.register_state_dict_post_hook(_show)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, *args, **kwargs):
        return self._fsdp_wrapped_module(*args, **kwargs)

    @property
    def module(self):
        """The wrapped module (within a ``checkpoint_wrapper``, if there is one)."""
        inner = self._fsdp_wrapped_module
        return inner._checkpoint_wrapped_module if isinstance(inner, CheckpointWrapper) else inner

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == FSDP_WRAPPED_MODULE:
                raise
            return getattr(self._fsdp_wrapped_module, name)

    def __getitem__(self, key):
        return self._fsdp_wrapped_module[key]

    def check_is_root(self) -> bool:
        """Whether no other wrapper contains this one."""
        return self._is_root

    def named_parameters(self, *args, **kwargs):
        """As ``Module``'s; within :meth:`summon_full_params` by the names of the plain model."""
        for name, p in super().named_parameters(*args, **kwargs):
            yield (name.replace(FSDP_PREFIX, "") if self._summoned else name), p

    def named_buffers(self, *args, **kwargs):
        """As ``Module``'s; within :meth:`summon_full_params` by the names of the plain model."""
        for name, b in super().named_buffers(*args, **kwargs):
            yield (name.replace(FSDP_PREFIX, "") if self._summoned else name), b

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        if isinstance(self._fsdp_group, _Group):
            self._fsdp_group.cut_again(self, None)
        return self

    def apply(self, fn):
        """Call ``fn`` on every module, submodules first; what it does to parameters they keep, in their layout."""
        if not isinstance(self._fsdp_group, _Group):
            with FullyShardedDataParallel.summon_full_params(self):
                return super().apply(fn)
        super().apply(fn)
        for inner in FullyShardedDataParallel.fsdp_modules(self):
            inner._fsdp_group.cut_again(inner, None)
        return self

    @staticmethod
    def fsdp_modules(module, root_only: bool = False) -> list[FullyShardedDataParallel]:
        """All wrappers in a module, itself perhaps; or only those that no other contains."""
        found = [m for m in module.modules() if isinstance(m, FullyShardedDataParallel)]
        return [m for m in found if m._is_root] if root_only else found

    # --- training

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """For accumulating gradients: in several processes, those of this block are summed over the ranks by the next
        backward outside. In one process they are those of the whole batch after each backward, and add up in any case.

        Raises:
            RuntimeError: the wrapper is not the outermost.
        """
        if not self._is_root:
            raise RuntimeError("`no_sync()` on inner FSDP instances is not supported. Call it on the root instance.")
        groups = _groups_of_ranks(self)
        before = [group.sync for group in groups]
        for group in groups:
            group.sync = False
        try:
            yield
        finally:
            for group, sync in zip(groups, before, strict=True):
                group.sync = sync

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0):
        """Scale all gradients so that their norm, as one vector, is at most ``max_norm``; returns the norm before.

        Raises:
            RuntimeError: the wrapper is not the outermost.
        """
        if not self._is_root:
            raise RuntimeError("`clip_grad_norm_()` should only be called on the root FSDP instance")
        total = nn.utils.clip_grad_norm_(self.parameters(), max_norm, norm_type)
        return total if total._handler is None else total.full_tensor()

    def register_comm_hook(self, state, hook) -> None:
        """
        Raises:
            NotImplementedError: always; XLA reduces gradients.
        """
        raise NotImplementedError(
            "register_comm_hook: XLA reduces gradients within the program that computes them; compress or change them "
            "with Tensor.register_hook, or use DistributedDataParallel.register_comm_hook"
        )

    @staticmethod
    @contextlib.contextmanager
    def summon_full_params(
        module, recurse: bool = True, writeback: bool = True, rank0_only: bool = False, offload_to_cpu: bool = False,
        with_grads: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """For looking at parameters. In several processes modules have them whole within the block, as ordinary ones.
        In one process they can be read and written whole at any time. Within the block they, and buffers, also go by
        the names of the plain model.

        Args:
            recurse: for inner wrappers too.
            writeback: False undoes at the end what was done to parameters.
            offload_to_cpu: parameters are on the host meanwhile.
            rank0_only: other ranks keep their parts (in several processes).
            with_grads: gradients are whole too, as they are in one process.

        Raises:
            NotImplementedError: ``rank0_only`` together with ``writeback``.
        """
        if writeback and rank0_only:
            raise NotImplementedError("writeback=True and rank0_only=True is not supported: give writeback=False")
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        wrappers = wrappers if recurse else wrappers[:1]
        if several_processes():
            from .ranked import summoned

            for w in wrappers:
                w._summoned += 1
            try:
                with summoned([w._fsdp_group for w in wrappers], writeback, rank0_only, with_grads):
                    yield
            finally:
                for w in wrappers:
                    w._summoned -= 1
            return
        params = list({id(p): p for w in wrappers for _, _, p, _, _ in w._fsdp_group.uses}.values())
        before = [(p, p._value(), layout.sharding_of(p._value())) for p in params]
        if not writeback:  # a step may not take the memory of what comes back
            for _, value, _ in before:
                value.pin()
        if offload_to_cpu:
            for p in params:
                p._storage.write(put(np.asarray(p._value().concrete("summon_full_params")), jtorch.device("cpu")))
        for w in wrappers:
            w._summoned += 1
        try:
            yield
        finally:
            for w in wrappers:
                w._summoned -= 1
            for p, value, sharding in before:
                if not writeback:
                    p._storage.write(value)
                elif offload_to_cpu and sharding is not None:
                    layout.relocate(p, sharding, value.device)
                elif offload_to_cpu:
                    p._storage.write(move(p._value(), value.device))

    # --- state

    @staticmethod
    def set_state_dict_type(
        module, state_dict_type: StateDictType, state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> StateDictSettings:  # fmt: skip
        """Say how ``state_dict()`` and :meth:`optim_state_dict` give tensors; returns what was said before.

        Raises:
            NotImplementedError: ``LOCAL_STATE_DICT``.
            RuntimeError: a config is of another kind.
        """
        if state_dict_type not in _CONFIGS:
            raise NotImplementedError(
                f"{state_dict_type} is not supported: there are no flattened parameters; use "
                "StateDictType.SHARDED_STATE_DICT with jtorch.distributed.checkpoint, or FULL_STATE_DICT"
            )
        given = state_dict_config, optim_state_dict_config
        names = "state_dict_config", "optim_state_dict_config"
        for name, config, kind in zip(names, given, _CONFIGS[state_dict_type], strict=True):
            if config is not None and type(config) is not kind:
                raise RuntimeError(f"Expected {name} of type {kind} but got {type(config)}")
        configs = [c or kind() for c, kind in zip(given, _CONFIGS[state_dict_type], strict=True)]
        before = FullyShardedDataParallel.get_state_dict_type(module)
        for w in FullyShardedDataParallel.fsdp_modules(module):
            w._settings = StateDictSettings(state_dict_type, *configs)
        return before

    @staticmethod
    def get_state_dict_type(module) -> StateDictSettings | None:
        """How ``state_dict()`` gives tensors.

        Raises:
            AssertionError: wrappers differ in this.
        """
        found = [w._settings for w in FullyShardedDataParallel.fsdp_modules(module)]
        if any(s != found[0] for s in found):
            raise AssertionError(f"All FSDP modules must have the same state dict settings. Got {found}.")
        return found[0] if found else None

    @staticmethod
    @contextlib.contextmanager
    def state_dict_type(
        module, state_dict_type: StateDictType, state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> Iterator[None]:  # fmt: skip
        """:meth:`set_state_dict_type` for the length of a block."""
        before = FullyShardedDataParallel.set_state_dict_type(
            module, state_dict_type, state_dict_config, optim_state_dict_config
        )
        try:
            yield
        finally:
            for w in FullyShardedDataParallel.fsdp_modules(module):
                w._settings = before

    @staticmethod
    def optim_state_dict(model, optim, optim_state_dict: dict | None = None, group=None) -> dict[str, Any]:
        """An optimizer's state by parameters' names in the plain model, as :meth:`set_state_dict_type` said.

        Args:
            optim_state_dict: what to convert (default: ``optim.state_dict()``).

        Raises:
            RuntimeError: the optimizer has parameters that the model has not.
        """
        settings = FullyShardedDataParallel.get_state_dict_type(model)
        full = settings is None or settings.state_dict_type is StateDictType.FULL_STATE_DICT
        host = settings is not None and settings.optim_state_dict_config.offload_to_cpu
        found = _named_state(model, optim, optim_state_dict, full, host)
        first_only = full and settings is not None and getattr(settings.optim_state_dict_config, "rank0_only", False)
        return {} if first_only and several_processes() and get_rank() else found

    @staticmethod
    def optim_state_dict_to_load(
        model, optim, optim_state_dict: dict, is_named_optimizer: bool = False, load_directly: bool = False, group=None
    ) -> dict[str, Any]:
        """What :meth:`optim_state_dict` gave as a state that ``optim.load_state_dict`` takes (and gives it, with
        ``load_directly``). The optimizer lays it out.

        Raises:
            NotImplementedError: ``is_named_optimizer``.
        """
        if is_named_optimizer:
            raise NotImplementedError("is_named_optimizer: there are no named optimizers; leave it out")
        result = with_numbers(of_optimizer(optim, optim_state_dict, parameter_names(model)))
        if load_directly:
            optim.load_state_dict(result)
        return result

    @staticmethod
    def full_optim_state_dict(model, optim, optim_input=None, rank0_only: bool = True, group=None) -> dict[str, Any]:
        """:meth:`optim_state_dict`, whole and on the host."""
        _deprecated("full_optim_state_dict", "optim_state_dict")
        found = _named_state(model, optim, None, True, True)
        return {} if rank0_only and several_processes() and get_rank() else found

    @staticmethod
    def sharded_optim_state_dict(model, optim, group=None) -> dict[str, Any]:
        """:meth:`optim_state_dict`, as it lies."""
        _deprecated("sharded_optim_state_dict", "optim_state_dict")
        return _named_state(model, optim, None, False, False)

    @staticmethod
    def shard_full_optim_state_dict(full_optim_state_dict: dict, model, optim_input=None, optim=None) -> dict[str, Any]:
        """:meth:`optim_state_dict_to_load` of a whole state."""
        _deprecated("shard_full_optim_state_dict", "optim_state_dict_to_load")
        return FullyShardedDataParallel.optim_state_dict_to_load(model, _given(optim), full_optim_state_dict)

    @staticmethod
    def scatter_full_optim_state_dict(
        full_optim_state_dict: dict | None, model, optim_input=None, optim=None, group=None
    ) -> dict[str, Any]:
        """:meth:`optim_state_dict_to_load` of a whole state."""
        _deprecated("scatter_full_optim_state_dict", "optim_state_dict_to_load")
        return FullyShardedDataParallel.optim_state_dict_to_load(model, _given(optim), full_optim_state_dict)

    @staticmethod
    def flatten_sharded_optim_state_dict(sharded_optim_state_dict: dict, model, optim) -> dict[str, Any]:
        """:meth:`optim_state_dict_to_load` of a state as it lies."""
        _deprecated("flatten_sharded_optim_state_dict", "optim_state_dict_to_load")
        return FullyShardedDataParallel.optim_state_dict_to_load(model, optim, sharded_optim_state_dict)

    @staticmethod
    def rekey_optim_state_dict(
        optim_state_dict: dict, optim_state_key_type: OptimStateKeyType, model, optim_input=None, optim=None
    ) -> dict[str, Any]:
        """An optimizer's state by parameters' names instead of numbers, or the other way round.

        Args:
            model: a model without wrappers.
            optim: whose order the numbers count (default: that of ``model.parameters()``).
        """
        names = parameter_names(model)
        groups = [list(model.parameters())] if optim is None else [g["params"] for g in optim.param_groups]
        ordered = [name_of(p, names) for p in dict.fromkeys(p for group in groups for p in group)]
        if optim_state_key_type is OptimStateKeyType.PARAM_NAME:
            key_of: dict = dict(enumerate(ordered))
        else:
            key_of = {name: number for number, name in enumerate(ordered)}
        return {
            "state": {key_of.get(key, key): values for key, values in optim_state_dict["state"].items()},
            "param_groups": [
                {**group, "params": sorted(key_of[key] for key in group["params"])}
                for group in optim_state_dict["param_groups"]
            ],
        }


# --- construction --------------------------------------------------------------------------------------------------


class _Ignored:
    """The modules and parameters to leave alone."""

    def __init__(self, module, ignored_modules, ignored_states):
        states = list(ignored_states or ())
        if ignored_modules and states:
            raise ValueError(
                "Cannot pass both ignored_modules and ignored_states at the same time. Please just pass ignored_states."
            )
        given = [*(ignored_modules or ()), *(s for s in states if isinstance(s, nn.Module))]
        for m in given:
            if not isinstance(m, nn.Module):
                raise TypeError(f"ignored_modules expects nn.Module list elements but got types {type(m)}")
            if isinstance(m, FullyShardedDataParallel):
                raise ValueError("`ignored_modules` should not include FSDP modules")
        self.modules = {inner for m in given for inner in m.modules()}
        self.parameters = [s for s in states if not isinstance(s, nn.Module)]
        self.parameters += [p for m in given for p in m.parameters()]


def _groups_of_ranks(module) -> list:
    """The groups of all wrappers in a module, in a job of several processes."""
    found = [w._fsdp_group for w in FullyShardedDataParallel.fsdp_modules(module)]
    return [group for group in found if not isinstance(group, _Group)]


def _mesh_of_ranks(module, device_id, strategy: ShardingStrategy, process_group) -> DeviceMesh:
    kind = _device_type(module) if device_id is None else "cuda" if isinstance(device_id, int) else jtorch.device(
        device_id
    ).type  # fmt: skip
    if isinstance(process_group, tuple):
        raise NotImplementedError(
            "FullyShardedDataParallel(process_group=(...)): give device_mesh=init_device_mesh(device, (copies, parts))"
        )
    if strategy in _HYBRID:
        n, each = get_world_size(process_group), int(os.environ.get("LOCAL_WORLD_SIZE", get_world_size(process_group)))
        if process_group is not None or n % each:
            raise ValueError(f"{strategy} needs device_mesh: init_device_mesh(device, (copies, parts))")
        return DeviceMesh(kind, np.arange(n).reshape(n // each, each))
    return all_local(kind) if process_group is None else DeviceMesh.from_group(process_group, kind)


def _take_from_first(module, mesh: DeviceMesh, ignored: _Ignored) -> None:
    """Parameters and buffers become those of the mesh's first rank."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if not is_ranked(t) and t.numel()]
    tensors = [t for t in tensors if not any(t is q for q in ignored.parameters)]
    for group in mesh.get_all_groups():
        if group.size() > 1 and tensors:
            broadcast_all(tensors, 0, group, "FullyShardedDataParallel")


def _mesh(module, device_id, strategy: ShardingStrategy, process_group=None) -> DeviceMesh:
    if device_id is None:
        kind = next((p.device.type for p in module.parameters()), jtorch.get_default_device().type)
        kind = jtorch.get_default_device().type if kind == "meta" else kind
    else:
        kind = "cuda" if isinstance(device_id, int) else jtorch.device(device_id).type
    if strategy is not ShardingStrategy.NO_SHARD:
        return all_local(kind)
    return DeviceMesh(kind, np.arange(len(local_devices(kind))).reshape(-1, 1))  # copies of one part each


def _materialize(module, param_init_fn, mesh: DeviceMesh, ignored: _Ignored) -> None:
    """Give parameters and buffers on the meta device content."""
    for m in module.modules():
        own = [t for t in (*m._parameters.values(), *m._buffers.values()) if t is not None and t.is_meta]
        if not own or m in ignored.modules:
            continue
        if param_init_fn is not None:
            param_init_fn(m)
            continue
        if not hasattr(m, "reset_parameters"):
            raise RuntimeError(
                f"{type(m).__name__} has parameters on the meta device but no reset_parameters(); give param_init_fn"
            )
        with jtorch.no_grad():
            m.to_empty(device=mesh.device, recurse=False)
            m.reset_parameters()


def _convert_buffers(module, precision: MixedPrecision, ignored: _Ignored) -> dict[tuple[Any, str], Any]:
    """Convert the floating buffers that no inner wrapper has; their dtypes before."""
    before: dict[tuple[Any, str], Any] = {}
    if precision.buffer_dtype is None:
        return before
    kept = tuple(precision._module_classes_to_ignore)
    inner = {m for w in FullyShardedDataParallel.fsdp_modules(module) for m in w.modules()}
    for m in module.modules():
        if m in inner or m in ignored.modules or isinstance(m, kept):
            continue
        for name, b in m._buffers.items():
            if b is not None and b.is_floating_point():
                before[m, name] = b.dtype
                m._buffers[name] = b.to(precision.buffer_dtype)
    return before


# --- hooks ---------------------------------------------------------------------------------------------------------


def _cast_inputs(self: FullyShardedDataParallel, args, kwargs):
    """Inputs in the dtype of the parameters, where the policy says so."""
    precision = self.mixed_precision
    wanted = precision.cast_root_forward_inputs if self._is_root else precision.cast_forward_inputs
    if not wanted or precision.param_dtype is None:
        return None
    return _cast((args, kwargs), precision.param_dtype)


def _with_prefix(self, state: dict, prefix: str, *_) -> None:
    if _groups_of_ranks(self):
        from .ranked import shared_out

        shared_out(self._fsdp_wrapped_module, state, prefix)
    _renamed(state, prefix, prefix + FSDP_PREFIX)


def _show(self: FullyShardedDataParallel, state: dict, prefix: str, *_) -> None:
    """What ``state_dict()`` shows: the plain model's names, buffers' own dtypes, and tensors as they were asked for."""
    _renamed(state, prefix + FSDP_PREFIX, prefix)
    if self._buffer_dtypes:
        for _, inner, m in modules(self._fsdp_wrapped_module):
            for name in m._buffers:
                key = f"{prefix}{inner}{name}"
                if (m, name) in self._buffer_dtypes and key in state:
                    state[key] = state[key].to(self._buffer_dtypes[m, name])
    full = self._settings.state_dict_type is StateDictType.FULL_STATE_DICT
    host = self._settings.state_dict_config.offload_to_cpu
    for key in list(state):
        if key.startswith(prefix) and isinstance(state[key], Tensor):
            state[key] = _gathered(state[key], full, host)
    if full and self._settings.state_dict_config.rank0_only and several_processes() and get_rank():
        for key in [key for key in state if key.startswith(prefix)]:
            del state[key]


def _gathered(t: Tensor, full: bool, host: bool) -> Tensor:
    if is_ranked(t):
        with jtorch.no_grad():
            t = t.detach().full_tensor() if full else t
        return t.cpu() if host else t
    if (full or host) and layout.mesh_of(t._value()) is not None:
        with jtorch.no_grad():
            t = t.full_tensor()
    return t.cpu() if host else t


def _named_state(model, optim, state: dict | None, full: bool, host: bool) -> dict[str, Any]:
    named = with_names(optim, optim.state_dict() if state is None else state, parameter_names(model))

    def shown(tree):
        if isinstance(tree, dict):
            return {key: shown(value) for key, value in tree.items()}
        return _gathered(tree, full, host) if isinstance(tree, Tensor) else tree

    return {"state": shown(named["state"]), "param_groups": named["param_groups"]}


def _given(optim):
    if optim is None:
        raise ValueError("give the optimizer, as optim=: its parameters are not known otherwise")
    return optim


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"``FullyShardedDataParallel.{old}``is being deprecated and is replaced by ``FullyShardedDataParallel.{new}``.",
        FutureWarning,
        stacklevel=3,
    )
