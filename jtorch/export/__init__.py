"""``torch.export``: programs that run without the Python source of their model.

Read in this order: ``dims`` (sizes left open), ``structure`` (how arguments are nested), ``program`` (recording),
``archive`` (files).
"""

from .archive import load, save
from .dims import Dim, dims
from .program import ExportedModule, ExportedProgram, ExportGraphSignature, export

__all__ = [
    "Dim", "ExportGraphSignature", "ExportedModule", "ExportedProgram", "dims", "export", "load", "save",
]  # fmt: skip
