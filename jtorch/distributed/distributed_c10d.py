"""Everything about process groups under one name, as programs import it."""
# ruff: noqa: F401

from .checking import DebugLevel, get_debug_level, set_debug_level, set_debug_level_from_env
from .collectives import (
    _coalescing_manager,
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    all_reduce_coalesced,
    all_to_all,
    all_to_all_single,
    barrier,
    broadcast,
    monitored_barrier,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
)
from .constants import (
    Backend,
    DistBackendError,
    DistError,
    DistNetworkError,
    DistQueueEmptyError,
    DistStoreError,
    ReduceOp,
    _make_nccl_premul_sum,
    default_pg_timeout,
)
from .group import (
    GroupMember,
    ProcessGroup,
    _get_default_group,
    _get_default_store,
    _rank_not_in_group,
    _world,
    destroy_process_group,
    get_backend,
    get_default_backend_for_device,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_initialized,
    is_mpi_available,
    is_nccl_available,
    is_torchelastic_launched,
    is_ucc_available,
    is_xccl_available,
    new_group,
    new_subgroups,
    new_subgroups_by_enumeration,
)
from .objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    recv_object_list,
    scatter_object_list,
    send_object_list,
)
from .p2p import P2POp, batch_isend_irecv, gather, irecv, isend, recv, scatter, send
from .store import FileStore, HashStore, PrefixStore, Store
from .tcp_store import TCPStore
from .work import Work

reduce_op = ReduceOp  # an older name
_all_gather_base, _reduce_scatter_base = all_gather_into_tensor, reduce_scatter_tensor  # likewise
