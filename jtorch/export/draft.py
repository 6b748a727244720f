"""``torch.export.draft_export``: a program in any case where one can be made, and a report of what stood in the way."""

from __future__ import annotations

import dataclasses
import enum

from ..nn.modules.module import Module
from ..utils import _pytree
from .dims import Dim, ShapesCollection, UserError
from .program import ExportedProgram
from .recording import export


class FailureType(enum.IntEnum):
    """What stands in the way of ``export``."""

    CONSTRAINT_VIOLATION_ERROR = 2

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass
class FailureReport:
    """One of them: its kind, ``export``'s error, and what was done instead."""

    failure_type: FailureType
    data: dict

    def __str__(self) -> str:
        return f"{self.failure_type}: {self.data['error']}\n    Instead: {self.data['instead']}"


class DraftExportReport:
    """What :func:`draft_export` found; ``print`` shows it."""

    def __init__(self, failures: list[FailureReport]):
        self.failures = failures

    def successful(self) -> bool:
        """Whether ``export`` makes the same program without complaint."""
        return not self.failures

    def __repr__(self) -> str:
        return f"DraftExportReport({self.failures})"

    def __str__(self) -> str:
        if self.successful():
            return "No issues were found: torch.export.export() makes this program."
        several = "\n".join(f"{i}. {failure}" for i, failure in enumerate(self.failures, 1))
        return f"{len(self.failures)} issue(s) found; torch.export.export() raises here.\n{several}"


def draft_export(
    mod: Module, args: tuple, kwargs: dict | None = None, *, dynamic_shapes=None, preserve_module_call_signature=(),
    strict: bool = False, prefer_deferred_runtime_asserts_over_guards: bool = False,
) -> ExportedProgram:  # fmt: skip
    """As :func:`.program.export`; where ``dynamic_shapes`` asks for open sizes that cannot be, those are that can.

    The result has a :class:`DraftExportReport` as ``_report``. What reads values of tensors has no program at any
    sizes, and is refused here too.

    Raises:
        RuntimeError: as ``export``, for other reasons than sizes.
    """

    def exported(shapes) -> ExportedProgram:
        return export(
            mod, args, kwargs, dynamic_shapes=shapes, preserve_module_call_signature=preserve_module_call_signature
        )

    failures = []
    try:
        made = exported(dynamic_shapes)
    except UserError as error:
        if dynamic_shapes is None or isinstance(dynamic_shapes, ShapesCollection):
            raise
        made = exported(_pytree.tree_map(_hint, dynamic_shapes))
        shapes = {i["name"]: i["shape"] for i in made.inputs}
        done = f"the program was made for these shapes: {shapes}"
        failures.append(FailureReport(FailureType.CONSTRAINT_VIOLATION_ERROR, {"error": str(error), "instead": done}))
    made._report = DraftExportReport(failures)
    return made


def _hint(d):
    """An open size that need not be."""
    if isinstance(d, Dim):
        return Dim.AUTO(min=d.min, max=d.max)
    return Dim.AUTO if d is Dim.DYNAMIC else d


__all__ = ["DraftExportReport", "FailureReport", "FailureType", "draft_export"]
