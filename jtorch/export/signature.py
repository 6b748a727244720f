"""What the inputs and results of an exported program's graph are."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable


class InputKind(enum.Enum):
    USER_INPUT = enum.auto()
    PARAMETER = enum.auto()
    BUFFER = enum.auto()
    CONSTANT_TENSOR = enum.auto()
    CUSTOM_OBJ = enum.auto()
    TOKEN = enum.auto()


class OutputKind(enum.Enum):
    USER_OUTPUT = enum.auto()
    LOSS_OUTPUT = enum.auto()
    BUFFER_MUTATION = enum.auto()
    PARAMETER_MUTATION = enum.auto()
    GRADIENT_TO_PARAMETER = enum.auto()
    GRADIENT_TO_USER_INPUT = enum.auto()
    USER_INPUT_MUTATION = enum.auto()
    TOKEN = enum.auto()


@dataclasses.dataclass
class TensorArgument:
    """A tensor by its name in the graph."""

    name: str


@dataclasses.dataclass
class InputSpec:
    """One input of the graph; ``target`` is the name of the parameter, buffer or constant it stands for.

    ``persistent``: of a buffer, whether a module's ``state_dict`` has it (a program's has all).
    """

    kind: InputKind
    arg: TensorArgument
    target: str | None
    persistent: bool | None = None

    def __str__(self) -> str:
        return f"{self.arg.name}: {self.kind.name}{_of(self.target)}"


@dataclasses.dataclass
class OutputSpec:
    """One result of the graph; ``target`` is the name of what it is the new value of."""

    kind: OutputKind
    arg: TensorArgument
    target: str | None

    def __str__(self) -> str:
        return f"{self.arg.name}: {self.kind.name}{_of(self.target)}"


def _of(target: str | None) -> str:
    return "" if target is None else f" target={target!r}"


def flat(name: str) -> str:
    """A dotted name as one of the graph's."""
    return name.replace(".", "_")


@dataclasses.dataclass(frozen=True)
class ExportGraphSignature:
    """The program's inputs and results: first its state by name, then what the caller gives.

    Attributes:
        parameters, buffers: names of the state the program takes.
        user_inputs: names of the tensors among the arguments.
        changed: buffers whose new values are further results.
        n_outputs: tensors among the results proper.
        graph: makes the :class:`.graph.Built`, if the program was made here; None of one that was loaded, whose results
            are only numbered.
        mutated: numbers of the inputs whose new values are the last results.
        transient: buffers that a module's ``state_dict`` leaves out.
    """

    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    user_inputs: tuple[str, ...]
    changed: tuple[str, ...]
    n_outputs: int
    graph: Callable | None = dataclasses.field(default=None, compare=False, repr=False)
    mutated: tuple[int, ...] = ()
    transient: frozenset[str] = frozenset()

    @property
    def non_persistent_buffers(self) -> tuple[str, ...]:
        """Those of the buffers that a module's ``state_dict`` leaves out."""
        return tuple(n for n in self.buffers if n in self.transient)

    @property
    def user_outputs(self) -> tuple[str, ...]:
        return tuple(f"output_{i}" for i in range(self.n_outputs)) if self.graph is None else self.graph().results

    @property
    def inputs_to_parameters(self) -> dict[str, str]:
        return {f"p_{flat(n)}": n for n in self.parameters}

    @property
    def inputs_to_buffers(self) -> dict[str, str]:
        return {f"b_{flat(n)}": n for n in self.buffers}

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        return () if self.graph is None else tuple(self.graph().constants)

    @property
    def _written(self) -> list[tuple[str, str]]:
        """``(result, what it is the new value of)``: buffers, then inputs."""
        names = [*self.changed, *(self.user_inputs[i] for i in self.mutated)]
        return [(f"new_{flat(n)}", n) for n in names] if self.graph is None else self.graph().mutations

    @property
    def buffers_to_mutate(self) -> dict[str, str]:
        """``{result: buffer}``."""
        return dict(self._written[: len(self.changed)])

    @property
    def user_inputs_to_mutate(self) -> dict[str, str]:
        """``{result: input}``."""
        return dict(self._written[len(self.changed) :])

    @property
    def input_specs(self) -> list[InputSpec]:
        def specs(kind, targets: dict):
            return [
                InputSpec(kind, TensorArgument(n), t, t not in self.transient if kind is InputKind.BUFFER else None)
                for n, t in targets.items()
            ]

        return [
            *specs(InputKind.PARAMETER, self.inputs_to_parameters),
            *specs(InputKind.BUFFER, self.inputs_to_buffers),
            *specs(InputKind.CONSTANT_TENSOR, {n: n.removeprefix("c_") for n in self.lifted_tensor_constants}),
            *specs(InputKind.USER_INPUT, {flat(n): None for n in self.user_inputs}),
        ]

    @property
    def output_specs(self) -> list[OutputSpec]:
        kinds = [OutputKind.BUFFER_MUTATION] * len(self.changed) + [OutputKind.USER_INPUT_MUTATION] * len(self.mutated)
        return [
            *[OutputSpec(k, TensorArgument(n), target) for k, (n, target) in zip(kinds, self._written, strict=True)],
            *[OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n), None) for n in self.user_outputs],
        ]

    def __str__(self) -> str:
        lines = ["# inputs", *map(str, self.input_specs), "", "# outputs", *map(str, self.output_specs)]
        return "\n".join(lines) + "\n"


__all__ = [
    "ExportGraphSignature", "InputKind", "InputSpec", "OutputKind", "OutputSpec", "TensorArgument",
]  # fmt: skip
