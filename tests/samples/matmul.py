"""Samples of the matrix products and of linear algebra."""

from .table import S, T, rows

INTS = T(3, 4, dtype="int64", low=-4, high=5)
COMPLEX = T(2, 3, dtype="complex64")
SQUARE = T(values=[[4.0, 1.0, 0.5], [1.5, 3.0, -1.0], [0.2, -0.7, 5.0]])
PAIR = T(values=[[[4.0, 1.0], [1.5, 3.0]], [[2.0, -0.5], [0.3, 1.0]]])
POSITIVE = T(values=[[4.0, 1.0, 0.5], [1.0, 3.0, -0.5], [0.5, -0.5, 5.0]])

# --- products --------------------------------------------------------------------------------------------------------

rows(
    "torch.matmul",
    S(T(3), T(3)),
    S(T(2, 3), T(3)),
    S(T(3), T(3, 4)),
    S(T(2, 3), T(3, 4)),
    S(T(2, 2, 3), T(3, 4)),
    S(T(2, 5, 3), T(3)),
    S(T(3), T(2, 3, 4)),
    S(T(5, 3), T(2, 3, 4)),
    S(T(2, 1, 5, 3), T(4, 3, 2)),
    S(T(1, 3), T(3, 4)),
    S(T(0, 3), T(3, 4)),
    S(T(2, 0), T(0, 4)),
    S(INTS, T(4, 2, dtype="int64")),
    S(COMPLEX, T(3, 2, dtype="complex64")),
)
rows(
    "torch.mm",
    S(T(2, 3), T(3, 4)),
    S(T(1, 3), T(3, 4)),
    S(T(2, 3), T(3, 1)),
    S(INTS, T(4, 2, dtype="int64")),
    S(COMPLEX, T(3, 2, dtype="complex64")),
)
rows("torch._int_mm", S(T(2, 3, dtype="int8", low=-9, high=9), T(3, 4, dtype="int8", low=-9, high=9)))
rows("torch.bmm", S(T(2, 3, 4), T(2, 4, 5)), S(T(1, 1, 4), T(1, 4, 1)), S(T(0, 2, 3), T(0, 3, 2)))
rows("torch.mv", S(T(3, 4), T(4)), S(T(0, 4), T(4)))
rows(
    "torch.dot",
    S(T(4), T(4)),
    S(T(0), T(0)),
    S(T(3, dtype="int64"), T(3, dtype="int64")),
    S(T(3, dtype="complex64"), T(3, dtype="complex64")),
)
rows("torch.vdot", S(T(4), T(4)), S(T(3, dtype="complex64"), T(3, dtype="complex64")))
rows("torch.inner", S(T(3), T(3)), S(T(2, 3), T(4, 3)), S(T(2, 3), T()))
for name in ("outer", "ger"):
    rows(f"torch.{name}", S(T(3), T(4)), S(T(2, dtype="int64"), T(3)))
rows("torch.linalg.vecdot", S(T(2, 3), T(3)), S(T(2, 3), T(2, 3), dim=0), S(COMPLEX, COMPLEX))
rows("torch.linalg.multi_dot", S([T(2, 3), T(3, 4), T(4, 2)]), S([T(3), T(3, 4), T(4)]))

SCALED = {"beta": 0.5, "alpha": 2.0}
rows(
    "torch.addmm",
    S(T(4), T(2, 3), T(3, 4)),
    S(T(2, 4), T(2, 3), T(3, 4), **SCALED),
    S(T(2, 1), T(2, 3), T(3, 4)),
    S(T(values=[float("nan")] * 4, grad=False), T(2, 3), T(3, 4), beta=0),
)
rows("torch.addmv", S(T(2), T(2, 3), T(3)), S(T(1), T(2, 3), T(3), **SCALED))
rows("torch.addbmm", S(T(3, 5), T(2, 3, 4), T(2, 4, 5)), S(T(5), T(2, 3, 4), T(2, 4, 5), **SCALED))
rows("torch.baddbmm", S(T(2, 3, 5), T(2, 3, 4), T(2, 4, 5)), S(T(3, 5), T(2, 3, 4), T(2, 4, 5), **SCALED))
rows("torch.addr", S(T(3, 4), T(3), T(4)), S(T(4), T(3), T(4), **SCALED))

rows(
    "torch.einsum",
    S("ij,jk->ik", T(2, 3), T(3, 4)),
    S("bij,bjk->bik", T(2, 3, 4), T(2, 4, 2)),
    S("i,j", T(3), T(4)),
    S("ii->i", T(3, 3)),
    S("ii", T(3, 3)),
    S("...ij,...jk -> ...ik", T(2, 3, 4), T(4, 2)),
    S("ijk->kij", T(2, 3, 4)),
    S("ij->", T(2, 3)),
    S("bn,anm,bm->ba", T(2, 3), T(4, 3, 5), T(2, 5)),
    S("bhqd,bhkd->bhqk", T(2, 2, 3, 4), T(2, 2, 5, 4)),
    S("ij,jk->ik", T(2, 1), T(4, 5)),
    S("ba", T(2, 3)),
)
rows(
    "torch.tensordot",
    S(T(2, 3, 4), T(3, 4, 5)),
    S(T(2, 3), T(3, 2), 1),
    S(T(2, 3), T(2, 3), ((0,), (0,))),
    S(T(3, 4, 5), T(4, 3, 2), ((1, 0), (0, 1))),
    S(T(2), T(3), 0),
)
rows("torch.kron", S(T(2, 3), T(2, 2)), S(T(2), T(3, 2)), S(INTS, T(2)), S(T(), T(2)))
rows("torch.cross", S(T(2, 3), T(2, 3)), S(T(3, 2), T(3, 2)), S(T(3, 3), T(3, 3), 1), S(T(4, 3), T(1, 3), dim=-1))
rows("torch.linalg.cross", S(T(2, 3), T(2, 3)), S(T(3, 2), T(3, 2), dim=0), S(T(4, 1, 3), T(1, 2, 3)))
rows("torch.trace", S(T(3, 4)), S(INTS), S(T(0, 0)))

# --- linear algebra --------------------------------------------------------------------------------------------------

for name in (
    "torch.det",
    "torch.linalg.det",
    "torch.logdet",
    "torch.slogdet",
    "torch.linalg.slogdet",
    "torch.linalg.inv",
    "torch.inverse",
):
    rows(name, S(SQUARE), S(PAIR))
rows(
    "torch.linalg.pinv",
    S(T(4, 2)),
    S(PAIR),
    S(T(2, 4), rtol=0.01),
    S(T(values=POSITIVE.values, grad=False), hermitian=True),
)
rows("torch.pinverse", S(T(4, 2)))
for name in ("torch.matrix_power", "torch.linalg.matrix_power"):
    rows(name, S(SQUARE, 3), S(PAIR, 0), S(PAIR, -2), S(SQUARE, 1))
for name in ("torch.matrix_exp", "torch.linalg.matrix_exp"):
    rows(name, S(T(3, 3, low=-0.5, high=0.5), rtol=1e-4), S(T(2, 2, 2, low=-0.5, high=0.5), rtol=1e-4))
rows(
    "torch.linalg.solve",
    S(SQUARE, T(3)),
    S(SQUARE, T(3, 2)),
    S(PAIR, T(2, 2)),
    S(PAIR, T(2, 3)),
    S(SQUARE, T(4, 3), left=False),
)
rows(
    "torch.linalg.solve_triangular",
    S(SQUARE, T(3, 2), upper=True),
    S(SQUARE, T(3, 2), upper=False, unitriangular=True),
    S(SQUARE, T(4, 3), upper=True, left=False),
)
FACTOR = [[2.0, 0.0, 0.0], [0.5, 1.5, 0.0], [0.3, -0.4, 1.2]]
FACTOR_T = [list(column) for column in zip(*FACTOR, strict=True)]
rows(
    "torch.cholesky_solve",
    S(T(3, 2), T(values=FACTOR, grad=False)),  # PyTorch's gradient also fills the triangle that is not read
    S(T(3, 2), T(values=FACTOR_T, grad=False), upper=True),
)
TRIANGLE = "one triangle is read, both share the gradient"
for name in ("torch.linalg.cholesky", "torch.cholesky"):
    rows(name, S(POSITIVE, gradcheck=False, why=TRIANGLE), S(POSITIVE, upper=True, gradcheck=False, why=TRIANGLE))
rows(
    "torch.linalg.lstsq",
    S(T(5, 2, grad=False), T(5, 3, grad=False)),
    S(T(2, 5, 2, grad=False), T(2, 5, 1, grad=False)),
    *(S(T(5, 2, grad=False), T(5, 3, grad=False), driver=d) for d in ("gels", "gelsd", "gelss")),
)
rows(
    "torch.linalg.qr",
    S(T(4, 3)),
    S(T(3, 3)),
    S(T(2, 4, 2)),
    S(T(4, 3, grad=False), "r"),
    S(T(4, 3, grad=False), mode="complete"),
)

SIGNS = "singular and eigenvectors are defined up to a sign or phase"
rows(
    "torch.linalg.svd",
    S(T(3, 3), gradcheck=False, why=SIGNS),
    S(T(4, 2), full_matrices=False, gradcheck=False, why=SIGNS),
)
rows("torch.linalg.svdvals", S(T(4, 2)), S(T(2, 3, 3)))
SYMMETRIC = T(values=[[2.0, 0.7], [0.7, 3.0]])
rows("torch.linalg.eigh", S(SYMMETRIC, gradcheck=False, why=SIGNS), S(SYMMETRIC, UPLO="U", gradcheck=False, why=SIGNS))
rows(
    "torch.linalg.eigvalsh", S(POSITIVE, gradcheck=False, why=TRIANGLE), S(POSITIVE, "U", gradcheck=False, why=TRIANGLE)
)
rows("torch.linalg.eigvals", S(SQUARE, gradcheck=False, why="the order of eigenvalues is not defined"))
rows("torch.linalg.matrix_rank", S(T(4, 2)), S(T(3, 3, values=[[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 0.0]])))
rows(
    "torch.linalg.cond",
    S(SQUARE),
    S(T(values=SQUARE.values, grad=False), 1),
    S(T(values=SQUARE.values, grad=False), "fro"),
    S(T(4, 2), -2),
)
