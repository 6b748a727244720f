"""Distributing the parameters of modules."""

from __future__ import annotations

import jtorch

from .. import layout
from ..device_mesh import DeviceMesh, all_local
from ..rank_mesh import RankMesh
from .dtensor import _wanted


def lay_out_parameters(module, mesh: DeviceMesh, placements: dict, what: str) -> None:
    """Lay out a module's own parameters and buffers where they stand: optimizers and other holders see the change.

    Args:
        placements: by name, one placement for each dimension of the mesh (None replicates).

    Raises:
        RuntimeError: the devices cannot share a dimension evenly.
    """
    wanted = {name: _wanted(getattr(module, name), mesh, p, f"{what}: {name}") for name, p in placements.items()}
    with jtorch.no_grad():
        for name, sharding in wanted.items():
            layout.relocate(getattr(module, name), sharding, mesh.device)
    layout.keep_on_load(module, wanted, mesh.device)


def distribute_module(module, device_mesh: DeviceMesh | None = None, partition_fn=None, input_fn=None, output_fn=None):
    """Lay out a module's parameters over a mesh; returns the module.

    Args:
        device_mesh: default: all local devices of the parameters' type.
        partition_fn: ``partition_fn(name, submodule, mesh)`` is called for every submodule and may register
            distributed parameters; those it leaves are replicated.
        input_fn: ``input_fn(module, inputs, mesh)`` gives the inputs to use.
        output_fn: ``output_fn(module, outputs, mesh)`` gives the outputs to return.
    """
    mesh = device_mesh or all_local(next((p.device.type for p in module.parameters()), "cpu"))
    if partition_fn is not None:
        for name, submodule in module.named_modules():
            partition_fn(name, submodule, mesh)
    for m in module.modules():
        if isinstance(mesh, RankMesh):
            from .parallel.ranked import share_parameters

            share_parameters(m, mesh, dict.fromkeys((*m._parameters, *m._buffers)), "distribute_module")
            continue
        own = {**m._parameters, **m._buffers}
        left = {name: None for name, t in own.items() if t is not None and layout.mesh_of(t._value()) is None}
        lay_out_parameters(m, mesh, left, "distribute_module")
    if input_fn is not None:
        module.register_forward_pre_hook(lambda m, inputs: input_fn(m, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(lambda m, inputs, outputs: output_fn(m, outputs, mesh))
    return module
