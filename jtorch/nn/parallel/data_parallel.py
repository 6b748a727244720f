"""``DataParallel``: the batch cut over the devices, the parameters whole on each."""

from __future__ import annotations

import jax

import jtorch

from ... import devices
from ...distributed import layout
from ...distributed.device_mesh import local_devices, local_mesh
from ...tensor import Tensor
from ..modules.module import Module
from . import scatter_gather
from .parallel_apply import parallel_apply
from .replicate import replicate

#: What forward passes are made of in PyTorch; a subclass may put its own in their place.
_STEPS = ("scatter", "replicate", "parallel_apply", "gather")


class DataParallel(Module):
    """Runs ``module`` with its inputs' dimension ``dim`` cut over several devices.

    The program is that of one device, partitioned: losses, batch statistics and random numbers are those of the whole
    batch, and gradients are summed over the devices. Outputs stay where they were computed; every operation takes
    them. A batch that the devices cannot share evenly is padded by XLA, which leaves the padding out of every result;
    one of fewer elements than devices is computed whole on each. With one device this is a plain call.

    ``scatter``, ``replicate``, ``parallel_apply`` and ``gather`` do the same by copies of the module. A subclass that
    overrides one of them is run through all four, as in PyTorch: then batch statistics are those of each part.

    Args:
        module: the module; its parameters appear as ``module.<name>``.
        device_ids: numbers of the devices to use (default: all local ones of the parameters' type).
        output_device: one of them; accepted for compatibility.
        dim: the dimension of the inputs that is cut.

    Raises:
        RuntimeError: a device does not exist, or ``output_device`` is not among ``device_ids``.
    """

    def __init__(self, module, device_ids=None, output_device=None, dim: int = 0):
        super().__init__()
        device = next((t.device for t in (*module.parameters(), *module.buffers())), devices.resolve(None))
        ids = list(range(len(local_devices(device.type)))) if device_ids is None else [_index(d) for d in device_ids]
        self.module, self.dim, self.device_ids = module, dim, ids
        self.output_device = ids[0] if output_device is None else _index(output_device)
        if self.output_device not in ids:
            raise RuntimeError(f"output_device {output_device} is not among device_ids {ids}")
        self._mesh = local_mesh(device.type, ids)
        self.src_device_obj = devices.CPU if device.type == "cpu" else devices.device(device.type, ids[0])

    def forward(self, *inputs, **kwargs):
        if any(getattr(type(self), step) is not getattr(DataParallel, step) for step in _STEPS):
            return self._by_copies(inputs, kwargs)
        if self._mesh.size() == 1:
            return self.module(*inputs, **kwargs)
        inputs, kwargs = jax.tree.map(self._spread, (inputs, kwargs), is_leaf=lambda x: isinstance(x, Tensor))
        return self.module(*inputs, **kwargs)

    def _by_copies(self, inputs, kwargs):
        inputs, kwargs = self.scatter(inputs, kwargs, self.device_ids)
        if not inputs and not kwargs:  # forward takes nothing: one device computes it
            inputs, kwargs = ((),), ({},)
        if len(self.device_ids) == 1:
            return self.module(*inputs[0], **kwargs[0])
        copies = self.replicate(self.module, self.device_ids[: len(inputs)])
        return self.gather(self.parallel_apply(copies, inputs, kwargs), self.output_device)

    def scatter(self, inputs, kwargs, device_ids) -> tuple:
        """Arguments for each device, positional and by keyword, cut along ``self.dim``."""
        return scatter_gather.scatter_kwargs(inputs, kwargs, device_ids, self.dim)

    def replicate(self, module, device_ids) -> list:
        """A copy of ``module`` for each device; gradients flow back to it unless the tape is off."""
        return replicate(module, device_ids, detach=not jtorch.is_grad_enabled())

    def parallel_apply(self, replicas, inputs, kwargs) -> list:
        """The outputs of all copies, each called with its own arguments."""
        return parallel_apply(replicas, inputs, kwargs, self.device_ids[: len(replicas)])

    def gather(self, outputs, output_device):
        """The outputs of all copies as one, along ``self.dim``."""
        return scatter_gather.gather(outputs, output_device, self.dim)

    def _spread(self, x):
        if not isinstance(x, Tensor):
            return x
        return layout.split_batch(x, self._mesh._mesh, self._mesh._axes, self.dim, self._mesh.device)


def _index(d) -> int:
    if isinstance(d, int):
        return d
    return devices.device(d).index or 0


def data_parallel(module, inputs, device_ids=None, output_device=None, dim: int = 0, module_kwargs=None):
    """``DataParallel(module, ...)`` called once on ``inputs`` (a tensor or a tuple of them)."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))
