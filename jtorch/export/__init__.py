"""``torch.export``: programs that run without the Python source of their model.

Read in this order: ``dims`` (sizes left open), ``structure`` (how arguments are nested), ``signature`` (inputs and
results by name), ``calls`` (of modules), ``program`` (what an export is), ``recording`` (how it is made), ``graph``
(what was recorded, as an FX graph), ``unflatten`` (that graph as modules again), ``draft`` (with a report),
``archive`` (files).
"""

from ..utils._pytree import register_dataclass
from .archive import load, save
from .dims import Dim, ShapesCollection, dims
from .draft import draft_export
from .program import ExportedModule, ExportedProgram
from .recording import export
from .signature import ExportGraphSignature
from .unflatten import InterpreterModule, UnflattenedModule, unflatten

__all__ = [
    "Dim", "ExportGraphSignature", "ExportedModule", "ExportedProgram", "InterpreterModule", "ShapesCollection",
    "UnflattenedModule", "dims", "draft_export", "export", "load", "register_dataclass", "save", "unflatten",
]  # fmt: skip
