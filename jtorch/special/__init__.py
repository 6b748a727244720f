"""Special functions: the ops exported in the ``special`` namespace."""

from ..tensor import export as _export

globals().update(_export.functions("special"))
