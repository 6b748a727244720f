"""``DataParallel``: the batch cut over the devices, the parameters whole on each."""

from __future__ import annotations

import jax

from ... import devices
from ...distributed import layout
from ...distributed.device_mesh import local_devices, local_mesh
from ...tensor import Tensor
from ..modules.module import Module


class DataParallel(Module):
    """Runs ``module`` with its inputs' dimension ``dim`` cut over several devices.

    The program is that of one device, partitioned: losses, batch statistics and random numbers are those of the whole
    batch, and gradients are summed over the devices. Outputs stay where they were computed; every operation takes
    them. A batch that the devices cannot share evenly is padded by XLA, which leaves the padding out of every result;
    one of fewer elements than devices is computed whole on each. With one device this is a plain call.

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

    def forward(self, *inputs, **kwargs):
        if self._mesh.size() == 1:
            return self.module(*inputs, **kwargs)
        inputs, kwargs = jax.tree.map(self._spread, (inputs, kwargs), is_leaf=lambda x: isinstance(x, Tensor))
        return self.module(*inputs, **kwargs)

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
