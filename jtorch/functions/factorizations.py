"""LU and low-rank factorizations under the names that only ``torch`` and Tensor have, and names that are gone."""

from __future__ import annotations

from ..linalg.checked import lu_factor_ex
from ..linalg.lu import lu_unpack
from ..ops.registry import OPS
from ..tensor.dispatch import write_out
from ..tensor.export import composite, function

composite("torch", out=True)(lu_unpack)


@composite("torch", method=True)
def lu(A, pivot=True, get_infos=False, out=None):
    """Of old: ``(LU, pivots)``, with ``get_infos`` also ``info``, as :func:`jtorch.linalg.lu_factor_ex` gives them."""
    result = tuple(lu_factor_ex(A, pivot=pivot))
    result = result if get_infos else result[:2]
    return result if out is None else write_out("lu", (A,), result, out)


@composite("torch", method=True, out=True)
def lu_solve(b, LU_data, LU_pivots):
    """The x with ``A x = b``, given A's LU factorization."""
    return function(OPS["linalg_lu_solve"])(LU_data, LU_pivots, b)


@composite("torch")
def lobpcg(
    A, k=None, B=None, X=None, n=None, iK=None, niter=None, tol=None, largest=None, method=None, tracker=None,
    ortho_iparams=None, ortho_fparams=None, ortho_bparams=None,
):  # fmt: skip
    """The ``k`` largest (``largest=False``: smallest) eigenvalues and vectors of ``A x = e B x``, ``A`` symmetric.

    Found by the full decomposition, which is exact and needs no starting vectors or preconditioner: ``X`` gives only
    the number of pairs, and ``iK``, ``niter``, ``tol``, ``method`` and the ``ortho`` parameters have no effect.
    """
    if k is None:
        k = 1 if X is None else X.shape[-1]
    eigh = function(OPS["eigh"])
    if B is None:
        values, vectors = eigh(A)
    else:
        L = function(OPS["cholesky"])(B)
        half = function(OPS["solve_triangular"])(L, A, upper=False)
        values, vectors = eigh(function(OPS["solve_triangular"])(L, half.mH, upper=False))
        vectors = function(OPS["solve_triangular"])(L.mH, vectors, upper=True)
    if largest is False:
        return values[..., :k], vectors[..., :k]
    return values.flip(-1)[..., :k], vectors.flip(-1)[..., :k]


@composite("torch", out=True)
def nuclear_norm(input, dim=None, keepdim=False):
    """The sum of the singular values of matrices: of the whole one, ``nuclear_norm(x, keepdim)``, or over two dims."""
    if isinstance(dim, bool):
        dim, keepdim = None, dim
    if dim is None:
        if input.dim() != 2:
            raise RuntimeError(
                f"Expected a tensor with 2 dimensions, but got a tensor with {input.dim()} dimension(s) instead."
            )
        dim = (0, 1)
    return function(OPS["matrix_norm"])(input, "nuc", tuple(dim), keepdim)


@composite("torch", out=True)
def frobenius_norm(input, dim=(), keepdim=False):
    """The square root of the sum of squares over ``dim`` (all dims by default)."""
    dims = (dim if isinstance(dim, int) else tuple(dim)) if isinstance(dim, int) or dim else None
    return function(OPS["vector_norm"])(input, 2, dims, keepdim)


def _removed(name: str, instead: str, method: bool) -> None:
    def gone(*args, **kwargs):
        raise RuntimeError(
            f"This function was deprecated since version 1.9 and is now removed. `torch.{name}` became `{instead}`, "
            "whose arguments or results differ."
        )

    doc = f"Removed: use ``{instead}``.\n\nRaises:\n    RuntimeError: always."
    composite("torch", method=method, name=name, doc=doc)(gone)


_removed("eig", "torch.linalg.eig", True)
_removed("symeig", "torch.linalg.eigh", True)
_removed("lstsq", "torch.linalg.lstsq", True)
_removed("solve", "torch.linalg.solve", True)
_removed("matrix_rank", "torch.linalg.matrix_rank", False)
