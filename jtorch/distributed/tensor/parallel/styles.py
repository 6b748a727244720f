"""How one module takes part in tensor parallelism.

A style lays out the parameters and constrains inputs and outputs with forward hooks; the module's own code does not
change, and the shapes it sees are global ones. XLA inserts the communication. In a job of several processes the hooks
communicate (``ranked.py``), and with ``use_local_output`` modules see this rank's parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from .... import nn
from ....tensor import Tensor
from ... import layout
from ...device_mesh import DeviceMesh
from ...rank_mesh import RankMesh
from ..modules import lay_out_parameters
from ..placements import Placement, Replicate, Shard, normalized, sharding_for


class ParallelStyle(ABC):
    """Subclasses lay out a module and return it."""

    src_data_rank: int | None = 0

    @abstractmethod
    def _apply(self, module, device_mesh: DeviceMesh): ...


def _constrain(x, mesh: DeviceMesh, placement: Placement | None, what: str):
    """A tensor laid out as wanted along the mesh; other dimensions of a larger mesh are XLA's choice."""
    if placement is None or not isinstance(x, Tensor):
        return x
    sharding = sharding_for(mesh, normalized(placement, mesh, x.dim(), what), x.dim(), free=True)
    layout.check_even(x.shape, sharding, what)
    return layout.lay_out(x, sharding)


def _first(args, fn):
    return (fn(args[0]), *args[1:]) if args else args


class _LinearStyle(ParallelStyle):
    _input: Placement
    _output: Placement

    def __init__(self, *, input_layouts=None, output_layouts=None, use_local_output: bool = True):
        self.input_layouts = (input_layouts or self._input,)
        self.output_layouts = (output_layouts or self._output,)
        self.use_local_output = use_local_output

    def _parameters(self, module) -> dict[str, Placement]:
        raise NotImplementedError

    def _apply(self, module, device_mesh: DeviceMesh):
        name = type(self).__name__
        if isinstance(device_mesh, RankMesh):
            from .ranked import linear_style

            inner = self._input if isinstance(module, nn.Linear) else Replicate()
            linear_style(self, module, device_mesh, self._parameters(module), inner)
            return module
        wanted = {p: placement for p, placement in self._parameters(module).items() if getattr(module, p) is not None}
        lay_out_parameters(module, device_mesh, wanted, name)
        inner = self._input if isinstance(module, nn.Linear) else Replicate()
        given, result = self.input_layouts[0], self.output_layouts[0]

        def enter(m, args):
            args = _first(args, lambda x: _constrain(x, device_mesh, given, name)) if given != inner else args
            return _first(args, lambda x: _constrain(x, device_mesh, inner, name))

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(lambda m, args, out: _constrain(out, device_mesh, result, name))
        return module


class ColwiseParallel(_LinearStyle):
    """Cut the outputs of a ``Linear`` (rows of its weight, and its bias) or the columns of an ``Embedding``.

    Args:
        input_layouts: how the input lies (default ``Replicate()``).
        output_layouts: how the output is to lie (default ``Shard(-1)``).
        use_local_output: (in several processes) give this rank's part, not a DTensor.

    Raises:
        NotImplementedError: another kind of module.
        RuntimeError: the devices cannot share a dimension evenly.
    """

    _input, _output = Replicate(), Shard(-1)

    def _parameters(self, module):
        if isinstance(module, nn.Linear):
            return {"weight": Shard(0), "bias": Shard(0)}
        if isinstance(module, nn.Embedding):
            return {"weight": Shard(1)}
        raise NotImplementedError("ColwiseParallel currently only support nn.Linear and nn.Embedding!")


class RowwiseParallel(_LinearStyle):
    """Cut the inputs of a ``Linear`` (columns of its weight) or the rows of an ``Embedding``; the terms are summed.

    Args:
        input_layouts: how the input lies (default ``Shard(-1)``; for an ``Embedding`` give ``Replicate()``).
        output_layouts: how the output is to lie (default ``Replicate()``).
        use_local_output: (in several processes) give this rank's part, not a DTensor.

    Raises:
        NotImplementedError: another kind of module.
        RuntimeError: the devices cannot share a dimension evenly.
    """

    _input, _output = Shard(-1), Replicate()

    def _parameters(self, module):
        if isinstance(module, nn.Linear):
            return {"weight": Shard(1), "bias": Replicate()}
        if isinstance(module, nn.Embedding):
            return {"weight": Shard(0)}
        raise NotImplementedError("RowwiseParallel currently only support nn.Linear and nn.Embedding!")


class SequenceParallel(ParallelStyle):
    """Replicate the parameters of a norm or dropout and cut its input along the sequence.

    Args:
        sequence_dim: the tensor dimension that is cut.
        use_local_output: (in several processes) give this rank's part, not a DTensor.
    """

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False):
        self.sequence_dim, self.use_local_output = sequence_dim, use_local_output

    def _apply(self, module, device_mesh: DeviceMesh):
        if isinstance(device_mesh, RankMesh):
            from .ranked import sequence_style

            sequence_style(self, module, device_mesh, Shard(self.sequence_dim))
            return module
        for m in module.modules():
            own = {name: Replicate() for name, p in m._parameters.items() if p is not None}
            lay_out_parameters(m, device_mesh, own, "SequenceParallel")
        cut = Shard(self.sequence_dim)
        module.register_forward_pre_hook(
            lambda m, args: _first(args, lambda x: _constrain(x, device_mesh, cut, "SequenceParallel"))
        )
        module.register_forward_hook(lambda m, args, out: _constrain(out, device_mesh, cut, "SequenceParallel"))
        return module


def _listed(layouts) -> tuple:
    return layouts if isinstance(layouts, tuple) else (layouts,)


class PrepareModuleInput(ParallelStyle):
    """Lay out a module's inputs.

    Args:
        input_layouts: how the positional inputs lie (a placement, or a tuple with None where nothing is to be done).
        desired_input_layouts: how the module is to get them.
        input_kwarg_layouts, desired_input_kwarg_layouts: the same for keyword inputs, by name.
        use_local_output: (in several processes) give this rank's part, not a DTensor.

    Raises:
        ValueError: the lengths or names differ.
    """

    def __init__(
        self, *, input_layouts=None, desired_input_layouts=None, input_kwarg_layouts=None,
        desired_input_kwarg_layouts=None, use_local_output: bool = False,
    ):  # fmt: skip
        self.given, self.desired = _listed(input_layouts), _listed(desired_input_layouts)
        self.given_kwargs, self.desired_kwargs = input_kwarg_layouts or {}, desired_input_kwarg_layouts or {}
        if len(self.given) != len(self.desired) or set(self.given_kwargs) != set(self.desired_kwargs):
            raise ValueError("input_layouts and desired_input_layouts should have same length (and names)!")
        self.use_local_output = use_local_output

    def _apply(self, module, device_mesh: DeviceMesh):
        local = self.use_local_output

        def prepare(x, given, desired):
            if given is None:
                return x
            if isinstance(device_mesh, RankMesh):
                from .ranked import arriving

                return arriving(x, device_mesh, given, desired, local)
            return _constrain(_constrain(x, device_mesh, given, "PrepareModuleInput"), device_mesh, desired,
                              "PrepareModuleInput")  # fmt: skip

        def enter(m, args, kwargs):
            n = len(self.given)
            args = tuple(prepare(x, g, d) for x, g, d in zip(args, self.given, self.desired, strict=False)) + args[n:]
            changed = {
                k: prepare(v, self.given_kwargs[k], self.desired_kwargs[k]) if k in self.given_kwargs else v
                for k, v in kwargs.items()
            }
            return args, changed

        module.register_forward_pre_hook(enter, with_kwargs=True)
        return module


class PrepareModuleOutput(ParallelStyle):
    """Lay out a module's outputs.

    Args:
        output_layouts: how they lie (a placement, or a tuple with None where nothing is to be done).
        desired_output_layouts: how they are to lie.
        use_local_output: (in several processes) give this rank's part, not a DTensor.

    Raises:
        ValueError: the lengths differ.
    """

    def __init__(self, *, output_layouts, desired_output_layouts, use_local_output: bool = True):
        self.given, self.desired = _listed(output_layouts), _listed(desired_output_layouts)
        if len(self.given) != len(self.desired):
            raise ValueError("output_layouts and desired_output_layouts should have same length!")
        self.use_local_output = use_local_output

    def _prepare(self, x, mesh: DeviceMesh, given, desired):
        if isinstance(mesh, RankMesh):
            from .ranked import arriving

            return arriving(x, mesh, given, desired, self.use_local_output)
        return _constrain(x, mesh, desired, "PrepareModuleOutput")

    def _apply(self, module, device_mesh: DeviceMesh):
        def leave(m, args, out):
            single = isinstance(out, Tensor)
            outs = (out,) if single else tuple(out)
            if len(outs) != len(self.desired):
                raise ValueError(f"module outputs and output_layouts should have same length: {len(outs)} and "
                                 f"{len(self.desired)}")  # fmt: skip
            outs = tuple(
                x if g is None else self._prepare(x, device_mesh, g, d)
                for x, g, d in zip(outs, self.given, self.desired, strict=True)
            )
            return outs[0] if single else outs

        module.register_forward_hook(leave)
        return module


class PrepareModuleInputOutput(ParallelStyle):
    """:class:`PrepareModuleInput` and :class:`PrepareModuleOutput` at once.

    Args:
        use_local_input, use_local_output: (in several processes) give this rank's parts, not DTensors.
    """

    def __init__(
        self, *, input_layouts=None, desired_input_layouts=None, input_kwarg_layouts=None,
        desired_input_kwarg_layouts=None, use_local_input: bool = False, output_layouts, desired_output_layouts,
        use_local_output: bool = True,
    ):  # fmt: skip
        self.prepare_module_input = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts, desired_input_kwarg_layouts=desired_input_kwarg_layouts,
            use_local_output=use_local_input,
        )  # fmt: skip
        self.prepare_module_output = PrepareModuleOutput(
            output_layouts=output_layouts, desired_output_layouts=desired_output_layouts,
            use_local_output=use_local_output,
        )  # fmt: skip

    def _apply(self, module, device_mesh: DeviceMesh):
        self.prepare_module_input._apply(module, device_mesh)
        return self.prepare_module_output._apply(module, device_mesh)
