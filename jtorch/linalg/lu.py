"""LU factors taken apart."""

from __future__ import annotations

from .. import dtypes
from ..ops.registry import OPS
from ..return_types import named
from ..tensor.creation import filled
from ..tensor.export import composite, function

_Lu = named("linalg_lu", ("P", "L", "U"))
_LuUnpack = named("lu_unpack", ("P", "L", "U"))


@composite("linalg", out=True)
def lu(A, *, pivot=True):
    """``A = P L U``: a permutation, a unit lower and an upper triangular matrix.

    Raises:
        RuntimeError: ``pivot=False``.
    """
    factors, pivots = function(OPS["_lu_factor"])(A, pivot=pivot)
    return _Lu(function(OPS["_lu_permutation"])(factors, pivots), *function(OPS["_lu_triangles"])(factors))


def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """``(P, L, U)`` from what :func:`jtorch.linalg.lu_factor` returns; what is not asked for is empty.

    Raises:
        RuntimeError: the pivots are not int32.
    """
    if unpack_pivots and LU_pivots.dtype is not dtypes.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype, got "
            f"{LU_pivots.dtype}. It takes the output of torch.linalg.lu_factor"
        )
    P = (
        function(OPS["_lu_permutation"])(LU_data, LU_pivots)
        if unpack_pivots
        else (filled((0,), 0, LU_data.dtype, LU_data.device))
    )
    L, U = function(OPS["_lu_triangles"])(LU_data, unpack_data)
    return _LuUnpack(P, L, U)
