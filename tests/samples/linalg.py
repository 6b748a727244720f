"""Rows for factorizations, and for solving and inverting with them."""

import numpy as np

from .table import S, T, rows

SQUARE = T(3, 3, values=[[2.0, 1.0, 0.5], [0.3, 3.0, -1.0], [1.0, 0.2, 1.5]])
BATCH = T(2, 3, 3, values=[np.eye(3) + 0.3 * np.arange(9).reshape(3, 3), [[2.0, -1, 0], [0.5, 3, 1], [1, 1, 4]]])
POSITIVE = T(3, 3, values=[[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
HERMITIAN = T(2, 2, values=[[3.0, 1 + 1j], [1 - 1j, 2.0]], dtype="complex64", grad=False)
COMPLEX = T(3, 3, dtype="complex64")
LU = T(3, 3, values=[[3.0, 0.5, 1.0], [0.4, 2.0, -1.0], [-0.2, 0.7, 1.5]])
PIVOTS = T(3, values=[2, 3, 3], dtype="int32")

rows("torch.linalg.lu_factor", S(SQUARE), S(BATCH), S(T(4, 3)), S(T(3, 4)), S(COMPLEX))
rows("torch.linalg.lu_factor_ex", S(SQUARE), S(T(2, 2, values=[[0.0, 0.0], [0.0, 0.0]], grad=False)))
rows("torch.linalg.lu", S(SQUARE), S(T(4, 3)), S(T(3, 4)), S(BATCH))
rows("torch.lu", S(SQUARE), S(BATCH, get_infos=True))
rows("torch.lu_unpack", S(LU, PIVOTS), S(LU, PIVOTS, unpack_pivots=False),
     S(T(3, 3, grad=False), PIVOTS, unpack_data=False),     S(T(3, 2), T(2, values=[3, 2], dtype="int32")))  # fmt: skip
rows("torch.linalg.lu_solve", S(LU, PIVOTS, T(3, 2)), S(LU, PIVOTS, T(2, 3), left=False),
     S(LU, PIVOTS, T(3, 2), adjoint=True), S(LU, PIVOTS, T(2, 3, 2)),
     S(LU, PIVOTS, T(2, 3), left=False, adjoint=True))  # fmt: skip
rows("torch.lu_solve", S(T(3, 2), LU, PIVOTS))
ONE_HALF = "one triangle is read, and both share the gradient"
rows("torch.linalg.cholesky_ex", S(POSITIVE, gradcheck=False, why=ONE_HALF),
     S(POSITIVE, upper=True, gradcheck=False, why=ONE_HALF), S(HERMITIAN))  # fmt: skip
rows("torch.linalg.inv_ex", S(SQUARE), S(BATCH))
rows("torch.linalg.solve_ex", S(SQUARE, T(3, 2)), S(SQUARE, T(3)), S(SQUARE, T(2, 3), left=False))
rows("torch.linalg.ldl_factor", S(T(3, 3, values=[[0.0, 2.0, 1.0], [2.0, 1.0, 3.0], [1.0, 3.0, -2.0]], grad=False)),
     S(T(2, 2, values=[[3.0, 1 + 1j], [1 - 1j, 2.0]], dtype="complex64", grad=False), hermitian=True))  # fmt: skip
rows("torch.linalg.ldl_factor_ex", S(T(2, 2, 2, values=[[[1.0, 2.0], [2.0, 1.0]]] * 2, grad=False)))
rows("torch.linalg.ldl_solve", S(T(3, 3, values=[[0.5, 0, 0], [2.0, 1.0, 0], [0.3, -0.2, 2.0]], grad=False),
                                 T(3, values=[1, 2, 3], dtype="int32"), T(3, 2, grad=False)))  # fmt: skip
rows("torch.geqrf", S(T(4, 3, grad=False)), S(T(2, 3, 4, grad=False)))
rows("torch.linalg.householder_product", S(T(4, 3), T(3)), S(T(4, 3), T(2)), S(T(2, 3, 3), T(2, 3)),
     S(T(3, 2, dtype="complex64"), T(2, dtype="complex64")))  # fmt: skip
rows("torch.orgqr", S(T(4, 3), T(3)))
rows("torch.ormqr", S(T(4, 3), T(3), T(4, 2)), S(T(4, 3), T(3), T(2, 4), left=False),
     S(T(4, 2), T(2), T(4, 2), transpose=True), S(T(4, 3), T(3), T(2, 4), left=False, transpose=True))  # fmt: skip
rows("torch.linalg.tensorinv", S(T(2, 3, 6), ind=2), S(T(6, 2, 3), ind=1))
rows("torch.linalg.tensorsolve", S(T(2, 3, 6), T(2, 3)), S(T(6, 4, 4, 6, values=np.random.default_rng(0).normal(
     size=(2, 3, 6))), T(2, 3)))  # fmt: skip
rows("torch.linalg.vander", S(T(4)), S(T(2, 3), N=2), S(T(3, dtype="int64"), N=4))
rows("torch.linalg.diagonal", S(T(2, 3, 4)), S(T(2, 3, 4), offset=1, dim1=0, dim2=1))
rows("torch.linalg.matmul", S(T(2, 3), T(3, 2)))
rows("torch.nuclear_norm", S(T(3, 2)), S(T(2, 3, 2), dim=(0, 2), keepdim=True))
rows("torch.frobenius_norm", S(T(3, 2), dim=(0, 1)), S(T(3, 2), dim=1, keepdim=True))
