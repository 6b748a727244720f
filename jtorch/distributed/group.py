"""Process groups: the default one, made by :func:`init_process_group`, and parts of it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from datetime import timedelta

from .. import devices
from ..trace.recorder import flush_all
from . import job as jobs
from . import programs
from .constants import Backend, DistBackendError, default_pg_timeout
from .rendezvous import check, rendezvous
from .store import PrefixStore, Store, seconds


class ProcessGroup:
    """Some of the processes of a job, in an order. Made by :func:`init_process_group` and :func:`new_group`."""

    def __init__(self, job: jobs.Job, ranks: tuple[int, ...], name: str, backend: Backend, timeout: float):
        self._job, self._ranks, self._name, self._backend = job, ranks, name, backend
        self._timeout = timeout
        self._sequence = 0  # collectives so far
        self.bound_device_id = None

    def rank(self) -> int:
        """This process's number within the group."""
        return self._ranks.index(self._job.rank)

    def size(self) -> int:
        """The number of processes."""
        return len(self._ranks)

    def name(self) -> str:
        """The name of the backend."""
        return str(self._backend)

    @property
    def group_name(self) -> str:
        return self._name

    @property
    def group_desc(self) -> str:
        return "default_pg" if self is _world.group else self._name

    def get_group_store(self) -> Store:
        """A store of this group's own."""
        return PrefixStore(self._name, self._job.store)

    def _get_backend_name(self) -> str:
        return str(self._backend)

    def _next(self) -> str:
        """A key that all ranks of the group agree on, and that is used once."""
        self._sequence += 1
        return f"{self._name}/{self._sequence}"

    # PyTorch gives groups the collectives as methods as well; these are met in programs.
    def barrier(self, *args):
        from .collectives import barrier

        return barrier(self, async_op=True)

    def monitored_barrier(self, timeout=None, wait_all_ranks: bool = False) -> None:
        from .collectives import monitored_barrier

        monitored_barrier(self, timeout, wait_all_ranks)

    def allreduce(self, tensors, op=None):
        from .collectives import all_reduce
        from .constants import ReduceOp

        for t in tensors if isinstance(tensors, (list, tuple)) else [tensors]:
            work = all_reduce(t, ReduceOp.SUM if op is None else getattr(op, "reduceOp", op), self, async_op=True)
        return work

    def __repr__(self) -> str:
        return f"<ProcessGroup {self._name!r} ({self._backend}), ranks {list(self._ranks)}>"

    def __reduce__(self):
        raise TypeError("cannot pickle a ProcessGroup: make it in each process, with new_group")

    def __deepcopy__(self, memo):
        return self


class _World:
    group: ProcessGroup | None = None
    names: Counter = Counter()
    subgroups: list[ProcessGroup] = []
    own_store = False  # made by init_process_group, not given


_world = _World()


class _WorldMeta(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The default group; None before :func:`init_process_group`."""
        return _world.group

    @WORLD.setter
    def WORLD(cls, group):
        _world.group = group


class group(metaclass=_WorldMeta):
    """``group.WORLD`` is the default group."""


class GroupMember(metaclass=_WorldMeta):
    """``GroupMember.NON_GROUP_MEMBER`` is what :func:`new_group` gives a process that is no member."""

    NON_GROUP_MEMBER = -100


# --- the default group ---------------------------------------------------------------------------------------------


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
    rank: int = -1, store: Store | None = None, group_name: str = "", pg_options=None, device_id=None,
) -> None:  # fmt: skip
    """Join the job of which this process is one, and make its default group. All ranks call it.

    It must come before anything that starts JAX's backend (creating a tensor, say), unless ``world_size`` is 1.

    Args:
        backend: ``"gloo"``, ``"nccl"``, ``"xla"``, or combinations such as ``"cpu:gloo,cuda:nccl"``. The collectives
            are XLA's in any case: Gloo for tensors on the CPU, NCCL for those on NVIDIA GPUs.
        init_method: ``"env://"`` (default; reads ``MASTER_ADDR``, ``MASTER_PORT``, ``RANK`` and ``WORLD_SIZE``),
            ``"tcp://host:port"`` or ``"file:///path"``.
        timeout: how long a rank waits for others, here and in collectives (default: 30 minutes).
        store: a store instead of ``init_method``; then ``rank`` and ``world_size`` are needed.
        device_id: which of the machine's devices this process uses (default: number ``LOCAL_RANK``).

    Raises:
        ValueError: it was called before, or rank, world size or an environment variable is missing or wrong.
        RuntimeError: JAX's backend has started already.
        DistStoreError: ranks are missing when the timeout is over.
    """
    if _world.group is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise ValueError("Cannot specify both init_method and store.")
    limit = default_pg_timeout if timeout is None else timeout
    if not isinstance(limit, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout!r}")
    given, name = store, Backend("xla" if backend is None else backend)
    if name == Backend.NCCL and not _gpus():
        raise ValueError("ProcessGroupNCCL is only supported with GPUs, no GPUs found! Use backend='gloo' on the CPU.")
    if store is not None:
        if world_size <= 0:
            raise ValueError("world_size must be positive if using store")
        if rank < 0:
            raise ValueError("rank must be non-negative if using store")
        check(rank, world_size)
    else:
        store, rank, world_size = rendezvous(init_method or "env://", rank, world_size, limit)
        check(rank, world_size)
    _world.own_store = given is None
    index = None
    if device_id is not None:
        index = device_id if isinstance(device_id, int) else device_id.index
    job = jobs.join(rank, world_size, store, seconds(limit), index)
    _world.group = ProcessGroup(job, tuple(range(world_size)), group_name or "default", name, seconds(limit))
    _world.group.bound_device_id = device_id


def _gpus() -> int:
    from ..cuda import device_count

    return device_count()


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave the job when all ranks have come here; or forget one group. A process can join one job only.

    Raises:
        ValueError: there is no such group.
    """
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    if _world.group is None:
        raise ValueError("Invalid process group specified or has been destroyed.")
    if group is not None and group is not _world.group:
        if group not in _world.subgroups:
            raise ValueError("Invalid process group specified or has been destroyed.")
        _world.subgroups.remove(group)
        return
    whole, job = _world.group, _world.group._job
    flush_all("destroy_process_group()")
    missing = job.barrier(f"{whole._name}/destroy", whole._ranks, job.timeout, "destroy_process_group")
    if missing:
        raise DistBackendError(
            f"[rank {job.rank}] destroy_process_group: ranks {missing} did not come within {job.timeout:.0f} s"
        )
    _world.group = None
    _world.subgroups.clear()
    _world.names.clear()
    programs.forget()
    jobs.quit_job(job)
    if _world.own_store:
        job.store.close()


def is_available() -> bool:
    """Whether the package can be used: always."""
    return True


def is_initialized() -> bool:
    """Whether the default process group exists."""
    return _world.group is not None


def is_gloo_available() -> bool:
    """Whether tensors on the CPU can be communicated: always."""
    return True


def is_nccl_available() -> bool:
    """Whether JAX was installed for NVIDIA GPUs (there need not be one)."""
    import importlib.util

    return any(importlib.util.find_spec(f"jax_cuda{v}_plugin") is not None for v in (12, 13))


def is_mpi_available() -> bool:
    """Whether MPI is a backend: never."""
    return False


is_ucc_available = is_xccl_available = is_mpi_available


def is_backend_available(backend: str) -> bool:
    """Whether ``backend`` can be given to :func:`init_process_group`."""
    return {"gloo": True, "xla": True, "nccl": is_nccl_available()}.get(backend.lower(), False)


def is_torchelastic_launched() -> bool:
    """Whether an elastic launcher started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


# --- who is who ----------------------------------------------------------------------------------------------------


def _get_default_group() -> ProcessGroup:
    if _world.group is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return _world.group


def _get_default_store() -> Store:
    return _get_default_group()._job.store


def _rank_not_in_group(group) -> bool:
    return group == GroupMember.NON_GROUP_MEMBER or get_rank(group) < 0


def resolve(group: ProcessGroup | None) -> ProcessGroup:
    """The group that an argument names: None is the default one.

    Raises:
        ValueError: there is no default group.
        TypeError: the argument is no group.
    """
    default = _get_default_group()
    if group is None:
        return default
    if not isinstance(group, ProcessGroup):
        raise TypeError(f"group must be a ProcessGroup made by new_group, or None, but got {group!r}")
    return group


def outside(group, name: str) -> bool:
    """Whether this process is no member of ``group``: PyTorch then warns and does nothing."""
    if group != GroupMember.NON_GROUP_MEMBER:
        if group is None or _get_default_group()._job.rank in resolve(group)._ranks:
            return False
    rank = -1 if _world.group is None else _world.group._job.rank
    warnings.warn(
        f"Running {name} on global rank {rank} which does not belong to the given group.", UserWarning, stacklevel=4
    )
    return True


def get_rank(group: ProcessGroup | None = None) -> int:
    """This process's rank in the group; -1 if it is no member.

    Raises:
        ValueError: there is no default group.
    """
    if group == GroupMember.NON_GROUP_MEMBER:
        return -1
    found = resolve(group)
    return found.rank() if found._job.rank in found._ranks else -1


def get_world_size(group: ProcessGroup | None = None) -> int:
    """The number of processes in the group; -1 if this one is no member.

    Raises:
        ValueError: there is no default group.
    """
    return -1 if get_rank(group) < 0 else resolve(group).size()


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """``LOCAL_RANK``, or ``fallback_rank`` where it is not set.

    Raises:
        RuntimeError: neither is given.
    """
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
        "assuming you are not running in a multi-device context and want the code to run locally instead."
    )


def get_backend(group: ProcessGroup | None = None) -> str:
    """The name of the group's backend."""
    return str(resolve(group)._backend)


def get_default_backend_for_device(device) -> str:
    """The backend that PyTorch's programs name for a type of device: NCCL for CUDA, Gloo for the CPU.

    Raises:
        ValueError: there is none for that type.
    """
    backend = Backend.default_device_backend_map.get(devices.device(device).type)
    if backend is None:
        raise ValueError(f"Default backend not registered for device : {device}")
    return backend


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The global ranks of the group's members, in the group's order."""
    return list(resolve(group)._ranks)


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank within ``group`` of the process with ``global_rank``.

    Raises:
        ValueError: it is no member.
    """
    found = resolve(group)
    if global_rank not in found._ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {found}")
    return found._ranks.index(global_rank)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The global rank of the process with ``group_rank`` within ``group``.

    Raises:
        ValueError: the group is smaller.
    """
    found = resolve(group)
    if not 0 <= group_rank < found.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {found}")
    return found._ranks[group_rank]


def root_of(group: ProcessGroup, root: int | None, group_root: int | None, name: str) -> int:
    """The position within ``group`` of a root given as a global rank or as one within the group.

    Raises:
        ValueError: both are given, neither, or the process is no member.
    """
    if root is not None and group_root is not None:
        raise ValueError(f"Can't specify both group_{name} and {name}")
    if group_root is not None:
        get_global_rank(group, group_root)
        return group_root
    if root is None:
        raise ValueError(f"Must specify {name} or group_{name}")
    return get_group_rank(group, root)


# --- parts of the default group ------------------------------------------------------------------------------------


def new_group(
    ranks: list[int] | None = None, timeout: timedelta | None = None, backend: str | None = None, pg_options=None,
    use_local_synchronization: bool = False, group_desc: str | None = None, device_id=None, sort_ranks: bool = True,
):  # fmt: skip
    """A group of some ranks (all, if None). All ranks of the job call it, members or not, in the same order.

    Returns:
        The group; ``GroupMember.NON_GROUP_MEMBER`` in a process that is no member.

    Raises:
        ValueError: a rank does not exist, or occurs twice.
    """
    world = _get_default_group()
    chosen = tuple(world._ranks if ranks is None else ranks)
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"the new group's ranks must differ, but got {list(chosen)}")
    for r in chosen:
        if not 0 <= r < world.size():
            raise ValueError(f"The new group's rank should be within the world_size set by init_process_group, got {r}")
    if len(chosen) == 0:
        raise ValueError("a group needs at least one rank")
    if sort_ranks:
        chosen = tuple(sorted(chosen))
    _world.names[chosen] += 1
    if world._job.rank not in chosen:
        return GroupMember.NON_GROUP_MEMBER
    label = "-".join(map(str, chosen))
    name = Backend(world._backend if backend is None else backend)
    limit = world._timeout if timeout is None else seconds(timeout)
    made = ProcessGroup(world._job, chosen, f"group/{label}/{_world.names[chosen]}", name, limit)
    _world.subgroups.append(made)
    return made


def new_subgroups(
    group_size: int | None = None, group: ProcessGroup | None = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options=None, group_desc: str | None = None,
):  # fmt: skip
    """Groups of ``group_size`` neighbouring ranks each; this process's group and the list of all.

    Raises:
        ValueError: the size does not divide the number of processes.
    """
    world = resolve(group)
    if group_size is None:
        group_size = int(os.environ.get("LOCAL_WORLD_SIZE", world.size()))
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if group_size > world.size():
        raise ValueError(f"The arg 'group_size' ({group_size}) must not exceed the world size ({world.size()})")
    if world.size() % group_size:
        raise ValueError(f"The world size ({world.size()}) must be divisible by '{group_size=}'")
    parts = [list(world._ranks[i : i + group_size]) for i in range(0, world.size(), group_size)]
    return new_subgroups_by_enumeration(parts, timeout, backend, pg_options)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: list[list[int]], timeout: timedelta | None = None, backend: str | None = None,
    pg_options=None, group_desc: str | None = None,
):  # fmt: skip
    """A group for each list of ranks; this process's group (None, if it has none) and the list of all.

    Raises:
        ValueError: a rank stands in two lists.
    """
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(flat)) != len(flat):
        raise ValueError(f"ranks must not belong to two subgroups, but got {ranks_per_subgroup_list}")
    made = [new_group(ranks, timeout, backend, pg_options) for ranks in ranks_per_subgroup_list]
    mine = next((g for g in made if g != GroupMember.NON_GROUP_MEMBER), None)
    return mine, made
