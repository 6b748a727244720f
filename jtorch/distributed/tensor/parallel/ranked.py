"""The styles of tensor parallelism where each rank is a process: parameters become DTensors of this rank's part, and
hooks make DTensors of what comes in and ordinary tensors of what goes out.
"""

from __future__ import annotations

import jtorch

from ....nn.parameter import Parameter
from ....tensor import Tensor
from ..dtensor import is_ranked
from ..placements import Replicate, normalized
from ..ranked import distribute, from_local, laid_out


def share_parameters(module, mesh, placements: dict, what: str, src_data_rank: int | None = 0) -> None:
    """Replace a module's own parameters, and buffers, by their parts; by name (None: whole on every rank)."""
    with jtorch.no_grad():
        for name, placement in placements.items():
            t = getattr(module, name)
            if t is None or is_ranked(t):
                continue
            made = distribute(t.detach(), mesh, None if placement is None else [placement], src_data_rank, what)
            if name in module._parameters:
                module._parameters[name] = Parameter(made, t.requires_grad)
            else:
                module._buffers[name] = made


def arriving(x, mesh, given, wanted, local: bool = False):
    """A tensor that lies as ``given``, if it does not say how it lies, as ``wanted``."""
    if not isinstance(x, Tensor) or given is None:
        return x
    if not is_ranked(x):
        x = from_local(x, mesh, [given])
    if wanted is not None:
        x = laid_out(x, normalized([wanted], mesh, x.dim(), "parallelize_module"))
    return x.to_local() if local else x


def leaving(x, mesh, wanted, local: bool):
    """A result as ``wanted``, and as an ordinary tensor perhaps."""
    if not is_ranked(x):
        return x
    x = laid_out(x, normalized([wanted], mesh, x.dim(), "parallelize_module"))
    return x.to_local() if local else x


def linear_style(style, module, mesh, parameters: dict, inner) -> None:
    """Column- and row-wise parallelism."""
    share_parameters(module, mesh, parameters, type(style).__name__, style.src_data_rank)
    given, result, local = style.input_layouts[0], style.output_layouts[0], style.use_local_output
    module.register_forward_pre_hook(lambda m, args: (arriving(args[0], mesh, given, inner), *args[1:]))
    module.register_forward_hook(lambda m, args, out: leaving(out, mesh, result, local))


def sequence_style(style, module, mesh, cut) -> None:
    """Sequence parallelism."""
    for m in module.modules():
        share_parameters(m, mesh, dict.fromkeys(m._parameters, Replicate()), "SequenceParallel", style.src_data_rank)
    local = style.use_local_output
    module.register_forward_pre_hook(lambda m, args: (arriving(args[0], mesh, cut, cut), *args[1:]))
    module.register_forward_hook(lambda m, args, out: out.to_local() if local and is_ranked(out) else out)
