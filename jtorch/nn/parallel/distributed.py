"""``DistributedDataParallel``: the same model in every process, gradients averaged over them."""

from __future__ import annotations

import contextlib
import functools

import jtorch

from ...autograd.graph import _leaves_of
from ...distributed import collectives, objects
from ...distributed.algorithms.join import Join, Joinable, JoinHook
from ...distributed.buckets import Buckets
from ...distributed.constants import RedOpType
from ...distributed.ddp_bucket import GradBucket
from ...distributed.group import _get_default_group
from ...tape import engine
from ...tape.modes import no_grad
from ...tensor import Tensor
from ..modules.module import Module


class DistributedDataParallel(Module, Joinable):
    """Runs ``module`` on this process's part of the batch; backward leaves the average of all ranks' gradients.

    ``p.grad ← (1/n) Σ p.grad of rank r``, in one program when backward has reached every parameter. Parameters and
    buffers start as rank 0's. All ranks must run the same forwards and backwards.

    Args:
        module: the module; its parameters appear as ``module.<name>``.
        device_ids: the device inputs are moved to, as a list of one; None for modules on the CPU.
        output_device: accepted for compatibility; outputs stay where they were computed.
        broadcast_buffers: the older name of ``forward_sync_buffers``.
        forward_sync_buffers: before each forward, buffers become rank 0's.
        init_sync: check parameters, and broadcast rank 0's, at the beginning.
        process_group: the ranks that take part (default: all).
        bucket_cap_mb, gradient_as_bucket_view: accepted; gradients under 512 KB travel together, larger ones apart,
            all in one program.
        find_unused_parameters: parameters that a forward did not use count as having a gradient of zero.
        static_graph: the same, where the set of used parameters never changes.

    Raises:
        RuntimeError: no parameter requires grad, or parameters differ between ranks in number, shape or dtype; in
            ``forward``: the backward before it left out parameters.
        NotImplementedError: ``mixed_precision`` and options for hooks of single parameters; use autocast.
    """

    @property
    def broadcast_buffers(self) -> bool:
        """The older name of ``forward_sync_buffers``."""
        return self.forward_sync_buffers

    @broadcast_buffers.setter
    def broadcast_buffers(self, value: bool) -> None:
        self.forward_sync_buffers = value

    def __init__(
        self, module, device_ids=None, output_device=None, dim: int = 0, broadcast_buffers: bool | None = None,
        init_sync: bool = True, process_group=None, bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False, check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, delay_all_reduce_named_params=None, param_to_hook_all_reduce=None,
        mixed_precision=None, device_mesh=None, skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: list | None = None, batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
    ):  # fmt: skip
        super().__init__()
        for name, value in (
            ("delay_all_reduce_named_params", delay_all_reduce_named_params),
            ("param_to_hook_all_reduce", param_to_hook_all_reduce), ("mixed_precision", mixed_precision),
        ):  # fmt: skip
            if value is not None:
                raise NotImplementedError(f"DistributedDataParallel({name}=...) is not supported; use torch.autocast")
        if device_mesh is not None:
            if process_group is not None:
                raise RuntimeError("Cannot specify both process_group and device_mesh arguments.")
            process_group = device_mesh.get_group()
        self.process_group = _get_default_group() if process_group is None else process_group
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        self.parameters_to_ignore = ignored
        named = [(n, p) for n, p in module.named_parameters() if n not in ignored]
        self._names = [n for n, p in named if p.requires_grad]
        self._reduced = tuple(p for _, p in named if p.requires_grad)  # a tuple: no ModuleList-like registration
        if not self._reduced:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters that require a "
                "gradient."
            )
        types = sorted({p.device.type for _, p in named})
        if len(types) > 1:
            raise ValueError(
                "DistributedDataParallel's input module must be on the same type of devices, but input module "
                f"parameters locate in {types}."
            )
        if device_ids is not None and len(device_ids) > 1:
            raise ValueError(
                "device_ids can only be None or contain a single element: a process drives one device; start one "
                "process for each"
            )
        if types == ["cpu"] and (device_ids or output_device is not None):
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with single-device/"
                "multiple-device GPU modules or CPU modules, but got device_ids "
                f"{device_ids}, output_device {output_device}, and module parameters on the CPU."
            )
        self.device = self._reduced[0].device
        self.device_ids = None if not device_ids else [_index(device_ids[0])]
        self.output_device, self.dim, self.module = output_device, dim, module
        if forward_sync_buffers is None:
            forward_sync_buffers = broadcast_buffers is None or broadcast_buffers
        self.forward_sync_buffers, self.static_graph = forward_sync_buffers, static_graph
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view, self.bucket_cap_mb = gradient_as_bucket_view, bucket_cap_mb
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self._buffers_reduced = [b for n, b in module.named_buffers() if n not in ignored]
        self._comm_hook = self._active = None
        self._divide_by_initial_world_size = True
        self._begin()
        if init_sync:
            self._check_parameters(named)
            collectives.broadcast_all([p for _, p in named] + self._buffers_reduced, 0, self.process_group)
        for i, p in enumerate(self._reduced):
            p.register_post_accumulate_grad_hook(functools.partial(self._arrived, i))

    def _check_parameters(self, named) -> None:
        """All ranks have parameters of the same names, shapes and dtypes."""
        mine = [(n, tuple(p.shape), str(p.dtype), p.requires_grad) for n, p in named]
        every = [None] * self.process_group.size()
        objects.all_gather_object(every, mine, group=self.process_group)
        me = self.process_group.rank()
        for rank, theirs in enumerate(every):
            if len(theirs) != len(mine):
                raise RuntimeError(
                    f"DDP expects same model across all ranks, but Rank {me} has {len(mine)} params, while rank {rank} "
                    f"has inconsistent {len(theirs)} params."
                )
            for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                if a != b:
                    raise RuntimeError(
                        f"DDP expects same model across all ranks: params[{i}] is {_words(a)} on rank {me}, but "
                        f"{_words(b)} on rank {rank}."
                    )

    # --- forward

    def forward(self, *inputs, **kwargs):
        self._check_finished()
        self._active = Join.notify_join_context(self)
        if self.require_forward_param_sync and self.forward_sync_buffers and self._buffers_reduced:
            self._sync_buffers()
        if self._join_config.enable:
            self._ask_whether_backward_reduces(self.require_backward_grad_sync)
        if self.device_ids is not None:
            target = jtorch.device(self.device.type, self.device_ids[0])
            inputs, kwargs = jtorch.utils._pytree.tree_map(
                lambda x: x.to(target) if isinstance(x, Tensor) else x, (inputs, kwargs)
            )
        outputs = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = jtorch.is_grad_enabled() and self.require_backward_grad_sync
        if self.require_forward_param_sync:
            self._begin()
            self._expecting = True
            if self.find_unused_parameters and not self.static_graph:
                used = _leaves_of([t for t in jtorch.utils._pytree.tree_leaves(outputs) if isinstance(t, Tensor)])
                self._unused = {i for i, p in enumerate(self._reduced) if id(p) not in used}
        return outputs

    def _sync_buffers(self, done: bool = False) -> None:
        """Buffers become those of rank 0; where ranks may be done, those of the last one that is not."""
        root = 0
        if self._join_config.enable:
            candidate = jtorch.tensor([-1 if done else self.process_group.rank()], device=self.device)
            collectives.all_reduce(candidate, RedOpType.MAX, self.process_group)
            root = max(0, candidate.item())
        collectives.broadcast_all(self._buffers_reduced, root, self.process_group)

    def _ask_whether_backward_reduces(self, mine: bool) -> bool:
        """Whether the iteration of the ranks that are not done ends with a reduction: all say the same."""
        said = jtorch.full((1,), float(mine), device=self.device)
        collectives.all_reduce(said, RedOpType.MAX, self.process_group)
        return bool(said.item())

    @contextlib.contextmanager
    def no_sync(self):
        """Forwards inside the block, and their backwards, leave each rank its own gradients."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    # --- backward

    def _begin(self) -> None:
        self._expecting, self._queued = False, False
        self._ready: set[int] = set()
        self._unused: set[int] = set()

    def _check_finished(self) -> None:
        if not (jtorch.is_grad_enabled() and self.require_backward_grad_sync and self._expecting and self._ready):
            return
        missing = [self._names[i] for i in range(len(self._reduced)) if i not in self._ready | self._unused]
        raise RuntimeError(
            "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates"
            " that your module has parameters that were not used in producing loss. You can enable unused parameter "
            "detection by passing the keyword argument `find_unused_parameters=True` to "
            "`torch.nn.parallel.DistributedDataParallel`, and by making sure all `forward` function outputs "
            "participate in calculating loss. Parameters which did not receive grad for rank "
            f"{self.process_group.rank()}: {', '.join(missing)}"
        )

    def _arrived(self, i: int, parameter) -> None:
        """A gradient has been accumulated."""
        if not self._expecting:
            return
        self._ready.add(i)
        if not self._queued:
            self._queued = True
            engine.queue_callback(self._ended)

    def _ended(self) -> None:
        """A backward has ended: if it was the last to reach our parameters, reduce."""
        self._queued = False
        everything = range(len(self._reduced))
        if self.static_graph:
            self._unused = set(everything) - self._ready
        if all(i in self._ready or i in self._unused for i in everything):
            self._reduce()
            self._begin()

    @no_grad()
    def _reduce(self, done: bool = False) -> None:
        """Average the gradients; ``done``: take part with zeros, and keep our own."""
        parameters = self._reduced
        if done:
            self._unused = set(range(len(parameters)))
        grads = [jtorch.zeros_like(p) if p.grad is None or i in self._unused else p.grad.detach()
                 for i, p in enumerate(parameters)]  # fmt: skip
        asked = self.find_unused_parameters or self.static_graph
        if asked:  # how many ranks have used each parameter
            used = [float(i not in self._unused) for i in range(len(parameters))]
            grads.append(jtorch.tensor(used, device=self.device))
        buckets = Buckets(grads)
        if self._comm_hook is None:
            means, _ = collectives._start(
                self.process_group, "DistributedDataParallel's reduction", "reduce", buckets.pack(grads), RedOpType.AVG
            )
        else:
            means = self._hooked(buckets, grads)
        if done:
            return
        found = dict(buckets.unpack(means))
        counts = found.pop(len(parameters)).tolist() if asked and self._unused else None
        if self._active is not None and not self._divide_by_initial_world_size:
            found = {i: t * (self.process_group.size() / self._active) for i, t in found.items()}
        for i, p in enumerate(parameters):
            if i not in found or counts is not None and i in self._unused and counts[i] == 0:
                continue  # no rank has used it: its gradient stays as it is
            if p.grad is None:
                p.grad = found[i]
            else:
                collectives.write(p.grad, found[i])

    def _hooked(self, buckets: Buckets, grads) -> list:
        state, hook = self._comm_hook
        out = []
        for number, (part, buffer) in enumerate(zip(buckets.parts, buckets.pack(grads), strict=True)):
            own = [i for i in part if i < len(self._reduced)]
            last = number == len(buckets.parts) - 1
            future = hook(state, GradBucket(number, buffer, [self._reduced[i] for i in own], last))
            result = future.wait()
            out.append(result[0] if isinstance(result, (list, tuple)) else result)
        return out

    def register_comm_hook(self, state, hook) -> None:
        """Let ``hook(state, bucket) -> future`` average the gradients instead; ``bucket.buffer()`` holds them.

        Raises:
            TypeError: the hook cannot be called.
            RuntimeError: there is one already.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self._comm_hook is not None:
            raise RuntimeError("register_comm_hook can only be called once.")
        self._comm_hook = state, hook

    # --- ranks with fewer batches

    def join(self, divide_by_initial_world_size: bool = True, enable: bool = True,
             throw_on_early_termination: bool = False):  # fmt: skip
        """A block in which ranks may have different numbers of batches: those that are done join in with zeros.

        Args:
            divide_by_initial_world_size: average over all ranks, or over those that still have batches.
            enable: whether to do so at all.
            throw_on_early_termination: raise on all ranks as soon as one is done.
        """
        return Join([self], enable, throw_on_early_termination,
                    divide_by_initial_world_size=divide_by_initial_world_size)  # fmt: skip

    def join_hook(self, **kwargs):
        return _DDPJoinHook(self, kwargs.get("divide_by_initial_world_size", True))

    @property
    def join_device(self):
        return self.device

    @property
    def join_process_group(self):
        return self.process_group

    # --- the module's own interface

    def train(self, mode: bool = True):
        super().train(mode)
        return self

    def _get_ddp_logging_data(self) -> dict:
        return {"world_size": self.process_group.size(), "rank": self.process_group.rank(),
                "find_unused_parameters": self.find_unused_parameters}  # fmt: skip

    @staticmethod
    def _set_params_and_buffers_to_ignore_for_model(module, params_and_buffers_to_ignore) -> None:
        """Names that DDP leaves alone."""
        module._ddp_params_and_buffers_to_ignore = params_and_buffers_to_ignore


def _index(d) -> int:
    return d if isinstance(d, int) else jtorch.device(d).index or 0


def _words(parameter) -> str:
    name, shape, dtype, requires_grad = parameter
    return f"{name!r} with sizes {list(shape)}, {dtype}" + ("" if requires_grad else ", which requires no grad")


class _DDPJoinHook(JoinHook):
    """What a rank without batches does while others train: the same collectives, with zeros."""

    def __init__(self, ddp: DistributedDataParallel, divide_by_initial_world_size: bool):
        self.ddp = ddp
        ddp._divide_by_initial_world_size = divide_by_initial_world_size

    def main_hook(self) -> None:
        ddp = self.ddp
        if ddp.require_forward_param_sync and ddp.forward_sync_buffers and ddp._buffers_reduced:
            ddp._sync_buffers(done=True)
        ddp.require_forward_param_sync = ddp._ask_whether_backward_reduces(False)
        if ddp.require_forward_param_sync:
            ddp._reduce(done=True)

    def post_hook(self, is_last_joiner: bool) -> None:
        """All ranks take the state of one that trained to the end."""
        ddp, group = self.ddp, self.ddp.process_group
        root = jtorch.tensor([group.rank() if is_last_joiner else -1], device=ddp.device)
        collectives.all_reduce(root, RedOpType.MAX, group)
        collectives.broadcast_all([*ddp.module.parameters(), *ddp._buffers_reduced], root.item(), group)
