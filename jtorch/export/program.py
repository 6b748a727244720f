"""``ExportedProgram``: StableHLO (a ``jax.export.Exported``) with its parameters beside it, and the module it makes."""

from __future__ import annotations

import jax

from ..functions.arrays import jax_function
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from . import structure
from .dims import Derived, Dim, ValueRanges, parsed
from .draws import Drawn
from .graph import Built


class ExportedProgram:
    """A program that needs no Python source: made by :func:`export` or :func:`load`.

    Attributes:
        state_dict: parameters and buffers by name.
        graph_signature: an :class:`ExportGraphSignature`.
        range_constraints: per open size, by the name of its Dim, the sizes it was exported for.
        example_inputs: what it was made with, ``(args, kwargs)``; None of one that was loaded.
        exported: the ``jax.export.Exported``: ``exported.call(state, *inputs)`` on jax arrays.
        platforms: what the program runs on.
    """

    def __init__(
        self, exported, state: dict, aliases: dict, signature, in_form, out_form, inputs, ranges=None, draws=None
    ):
        self.exported, self.state_dict, self.aliases = exported, state, aliases
        self.graph_signature = signature
        self.in_form, self.out_form = in_form, out_form
        self.draws: list[Drawn] = draws or []  #: random numbers that a call draws
        #: per input its name, dtype and shape (ints and names of Dims)
        self.inputs: list[dict] = inputs
        self.range_constraints: dict[str, ValueRanges] = ranges or {}
        self.example_inputs: tuple | None = None

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(self.exported.platforms)

    def module(self, check_guards: bool = True) -> ExportedModule:
        """The program as a module, whose parameters and buffers are its ``state_dict``; inputs are checked."""
        return ExportedModule(self)

    def named_parameters(self):
        """Yield ``(name, parameter)``."""
        return ((n, self.state_dict[n]) for n in self.graph_signature.parameters)

    def parameters(self):
        return (p for _, p in self.named_parameters())

    def named_buffers(self):
        """Yield ``(name, buffer)``."""
        return ((n, self.state_dict[n]) for n in self.graph_signature.buffers)

    def buffers(self):
        return (b for _, b in self.named_buffers())

    def __call__(self, *args, **kwargs):
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` instead."
        )

    def stablehlo(self) -> str:
        """The program's text."""
        return self.exported.mlir_module()

    @property
    def graph_module(self):
        """The operations the program was made from, as a :class:`jtorch.fx.GraphModule` of all of its inputs.

        Raises:
            RuntimeError: the program was loaded from a file, which holds StableHLO only.
        """
        return self._built().module

    @property
    def graph(self):
        """The :class:`jtorch.fx.Graph` of :attr:`graph_module`."""
        return self._built().module.graph

    @property
    def constants(self) -> dict[str, Tensor]:
        """Tensors that the module made of Python values, by their names in the graph signature."""
        return {n.removeprefix("c_"): t for n, t in self._built().constants.items()}

    tensor_constants = constants

    def _built(self) -> Built:
        if self.graph_signature.graph is None:
            raise RuntimeError(
                "a program that was loaded has no FX graph: its file holds StableHLO, see stablehlo() and exported"
            )
        return self.graph_signature.graph()

    def run_decompositions(self, decomp_table=None, decompose_custom_triton_ops=False):
        """This program, for an empty table: its operations are functional, and none is taken apart.

        Raises:
            NotImplementedError: with a table of decompositions, or the default one: the program that runs is StableHLO,
                which has no ATen operations to take apart.
        """
        if decomp_table is not None and not decomp_table:
            return self
        raise NotImplementedError(
            "run_decompositions(): the program that runs is StableHLO, whose operations are smaller than ATen's core "
            "already: see stablehlo(). The operations it was made from are in `graph`; an empty table leaves them as "
            "they are"
        )

    def validate(self) -> None:
        """Check the graph, if there is one; see :meth:`jtorch.fx.Graph.lint`."""
        if self.graph_signature.graph is not None:
            self.graph.lint()

    def __str__(self) -> str:
        if self.graph_signature.graph is None:
            return f"{self!r}\n\nGraph signature:\n{self.graph_signature}"
        text = self.graph_module.print_readable(print_output=False)
        indented = "\n".join(f"    {line}".rstrip() for line in text.rstrip().split("\n"))
        return (
            f"ExportedProgram:\n{indented}\n\nGraph signature:\n{self.graph_signature}\n"
            f"Range constraints: {self.range_constraints}\n"
        )

    def __repr__(self) -> str:
        shapes = ", ".join(f"{i['name']}: {i['dtype']}[{', '.join(map(str, i['shape']))}]" for i in self.inputs)
        return f"ExportedProgram({shapes}) for {', '.join(self.platforms)}, {len(self.state_dict)} tensors of state"


class ExportedModule(Module):
    """An exported program as a module. Its code is fixed: ``train()`` and ``eval()`` do not change what it computes."""

    _misfit: type[Exception] = AssertionError  #: what is raised of a shape or a value that does not fit

    def __init__(self, program: ExportedProgram):
        super().__init__()
        self.training = False
        self.__dict__["_program"] = program
        register_state(self, program)
        names = tuple(program.state_dict)
        differentiable = _differentiable(program.exported)

        def run(*arrays):
            return differentiable.call(dict(zip(names, arrays[: len(names)], strict=True)), *arrays[len(names) :])

        run.__name__ = "exported_program"
        self.__dict__["_run"] = jax_function(run)

    def forward(self, *args, **kwargs):
        """Run the program.

        Raises:
            TypeError, ValueError: the arguments are not nested as the example inputs were, or a dtype does not fit.
            AssertionError: a shape does not fit, or a value that is no tensor is not the example's.
        """
        program = self._program
        tensors = structure.match_call(program.in_form, args, kwargs, self._misfit)
        sizes = check(program.inputs, tensors, program.range_constraints, self._misfit)
        state = [self.get_parameter_or_buffer(n) for n in program.state_dict]
        drawn = [(d.used, d.numbers(sizes)) for d in program.draws]
        results = self._run(*state, *tensors, *(numbers for used, numbers in drawn if used))
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        signature = program.graph_signature
        written = [*map(self.get_parameter_or_buffer, signature.changed), *(tensors[i] for i in signature.mutated)]
        count = len(results) - len(written)
        for t, new in zip(written, results[count:], strict=True):
            t.detach().copy_(new.detach())
        return structure.build(program.out_form, results[:count], sizes)

    def get_parameter_or_buffer(self, name: str) -> Tensor:
        """The tensor of this dotted name."""
        path, _, key = name.rpartition(".")
        owner = self.get_submodule(path)
        return owner._parameters[key] if key in owner._parameters else owner._buffers[key]

    def train(self, mode: bool = True):
        """Refused by PyTorch as well: what an exported program computes is fixed.

        Raises:
            NotImplementedError: ``mode`` is true.
        """
        if mode:
            raise NotImplementedError("Calling train() is not supported yet: an exported program's code is fixed.")
        return self

    def eval(self):
        return self

    def extra_repr(self) -> str:
        return repr(self._program)

    def __deepcopy__(self, memo):
        import copy

        program = copy.copy(self._program)
        program.state_dict = {n: copy.deepcopy(self.get_parameter_or_buffer(n), memo) for n in program.state_dict}
        return ExportedModule(program)


class _differentiable:
    """An exported program, whose missing derivative is asked for in words that help."""

    def __init__(self, exported):
        self.call = exported.call if exported.has_vjp() else jax.custom_vjp(exported.call)
        if not exported.has_vjp():
            self.call.defvjp(lambda *args: (exported.call(*args), None), self._missing)

    @staticmethod
    def _missing(residuals, cotangents):
        raise RuntimeError(
            "this program was written without its derivative: save it with parameters, or example inputs, that require "
            "gradients"
        )


def register_state(module: Module, program: ExportedProgram) -> None:
    """Give ``module`` the parameters and buffers of a program, by all their names."""
    transient = program.graph_signature.transient
    for name, t in program.state_dict.items():
        _register(module, name, t, name not in transient)
    for name, original in program.aliases.items():
        _register(module, name, program.state_dict[original], original not in transient)


def _register(module: Module, name: str, t: Tensor, persistent: bool) -> None:
    *path, key = name.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, Module())
        module = module._modules[part]
    if isinstance(t, Parameter):
        module.register_parameter(key, t)
    else:
        module.register_buffer(key, t, persistent)


def check(inputs: list[dict], tensors: list, ranges: dict[str, ValueRanges], misfit: type[Exception]) -> dict:
    """The open sizes by name, of tensors that fit the inputs."""
    sizes: dict[str, int] = {}
    for spec, t in zip(inputs, tensors, strict=True):
        name, dims = spec["name"], spec["shape"]
        if str(t.dtype) != spec["dtype"]:
            raise TypeError(f"{name}: the program takes {spec['dtype']}, got {t.dtype}")
        fits = [
            _fits(parsed(d), n, sizes, ranges) if isinstance(d, str) else d == n
            for d, n in zip(dims, t.shape, strict=False)
        ]
        if len(dims) != len(t.shape) or not all(fits):
            wrong = f"{name}.dim() == {len(dims)}"
            if len(dims) == len(t.shape):
                i = fits.index(False)
                wrong = f"{name}.size()[{i}] == {dims[i]}"
            within = "".join(f", {n} in {ranges[n]}" for n in sizes if n in ranges)
            raise misfit(
                f"Guard failed: {wrong}: the program takes shape [{', '.join(map(str, dims))}]{within}, got "
                f"{list(t.shape)}; sizes are left open by dynamic_shapes when exporting"
            )
    return sizes


def _fits(d: Dim, size: int, sizes: dict[str, int], ranges: dict[str, ValueRanges]) -> bool:
    """Whether a size lies in its range and is as the sizes seen so far have it, which it joins."""
    if isinstance(d, Derived):
        d, size = d.root, d.root_of(size)
    if size is None or sizes.setdefault(d.__name__, size) != size:
        return False
    return d.__name__ not in ranges or size in ranges[d.__name__]


__all__ = ["ExportedModule", "ExportedProgram", "check", "register_state"]
