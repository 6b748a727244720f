"""Linear algebra: the ops exported in the ``linalg`` namespace, and the functions of ``torch`` for matrices."""

from ..ops.registry import OPS as _OPS
from ..return_types import named as _named
from ..tensor import export as _export
from . import lu as _lu
from . import tolerances as _tolerances
from .checked import LinAlgError

for _name in ("linalg_lu_solve", "linalg_vander"):
    _export.composite("linalg", name=_name.removeprefix("linalg_"))(_export.function(_OPS[_name]))
_export.composite("linalg", name="matmul")(_export.function(_OPS["matmul"]))


@_export.composite("linalg")
def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """A view of the diagonals of matrices."""
    return _export.function(_OPS["diagonal"])(A, offset, dim1, dim2)


@_export.composite("linalg", out=True)
def slogdet(A):
    """``(sign, logabsdet)``: the sign of the determinant and the logarithm of its absolute value."""
    return _named("linalg_slogdet", ("sign", "logabsdet"))(*_export.function(_OPS["slogdet"])(A))


globals().update(_export.functions("linalg"))
