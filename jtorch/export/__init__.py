"""``torch.export``: programs that run without the Python source of their model.

Read in this order: ``dims`` (sizes left open), ``structure`` (how arguments are nested), ``signature`` (inputs and
results by name), ``program`` (recording), ``graph`` (what was recorded, as an FX graph), ``archive`` (files).
"""

from ..utils._pytree import register_dataclass
from .archive import load, save
from .dims import Dim, ShapesCollection, dims
from .program import ExportedModule, ExportedProgram, export
from .signature import ExportGraphSignature

__all__ = [
    "Dim", "ExportGraphSignature", "ExportedModule", "ExportedProgram", "ShapesCollection", "dims", "export", "load",
    "register_dataclass", "save",
]  # fmt: skip
