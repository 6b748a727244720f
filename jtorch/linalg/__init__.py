"""Linear algebra: the ops exported in the ``linalg`` namespace."""

from ..tensor import export as _export

globals().update(_export.functions("linalg"))
LinAlgError = RuntimeError
