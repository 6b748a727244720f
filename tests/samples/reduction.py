"""Samples of the reductions, norms, order statistics and running reductions."""

from .table import S, T, rows

NAN, INF = float("nan"), float("inf")
INTS = T(3, 4, dtype="int64", low=-4, high=5)
BOOLS = T(3, 4, dtype="bool")
COMPLEX = T(2, 3, dtype="complex64")
HOLES = T(values=[[1.0, NAN, 3.0, -2.0], [NAN, NAN, 0.5, 7.0]], grad=False)
TIES = T(values=[[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])


def tied(*args, **kwargs):
    return S(*args, gradcheck=False, why="finite differences do not see how ties share a gradient", **kwargs)


# --- sums, means, products -------------------------------------------------------------------------------------------

for name in ("sum", "nansum"):
    rows(
        f"torch.{name}",
        S(T(3, 4)),
        S(T()),
        S(T(3, 4), 0),
        S(T(2, 3, 4), (0, -1), True),
        S(T(3, 4), dim=1, keepdim=True),
        S(INTS),
        S(BOOLS, 1),
        S(T(3, dtype="uint8")),
        S(INTS, dtype="float64"),
        S(T(0, 3), 0),
        S(T(0, 3)),
        S(T(3, 4), ()),
    )
rows(
    "torch.mean",
    S(T(3, 4)),
    S(T()),
    S(T(3, 4), 0),
    S(T(2, 3, 4), (0, -1), True),
    S(INTS, dtype="float32"),
    S(T(0)),
    S(COMPLEX, 0),
)
rows("torch.nanmean", S(T(3, 4), 1), S(HOLES), S(HOLES, 0), S(HOLES, 1, True))
rows(
    "torch.prod",
    S(T(3, 4)),
    S(T(3, 4), 1),
    S(T(3, 4), 0, True),
    S(INTS, 1),
    S(BOOLS),
    S(T(values=[[0.0, 2.0], [0.0, 0.0]])),
    S(T(), 0),
)
rows("torch.count_nonzero", S(INTS), S(INTS, 0), S(T(2, 3, 4), (0, 2)), S(BOOLS, 1))

# --- extremes and truth ----------------------------------------------------------------------------------------------

for name in ("amax", "amin"):
    rows(
        f"torch.{name}",
        S(T(3, 4), 1),
        S(T(3, 4)),
        S(T(2, 3, 4), (0, 2), True),
        S(INTS, 0),
        S(BOOLS, 0),
        S(HOLES, 1),
        tied(TIES, 1),
        S(T(), 0),
    )
rows("torch.aminmax", S(T(3, 4)), S(T(3, 4), dim=1), S(INTS, dim=0, keepdim=True))
for name in ("max", "min"):
    rows(
        f"torch.{name}",
        S(T(3, 4)),
        S(T(3, 4), 1),
        S(T(2, 3, 4), 1, True),
        S(T(3, 4), dim=-1, keepdim=True),
        S(INTS),
        S(INTS, 0),
        S(BOOLS, 1),
        S(HOLES, 1),
        tied(TIES),
        tied(TIES, 1),
        S(T(3, 4), T(4)),
        S(T(), 0),
    )
for name in ("argmax", "argmin"):
    rows(
        f"torch.{name}",
        S(T(3, 4)),
        S(T(3, 4), 1),
        S(T(2, 3, 4), -2, True),
        S(INTS, 0),
        S(HOLES, 1),
        S(T(2, 3), keepdim=True),
        S(T()),
    )
for name in ("all", "any"):
    rows(
        f"torch.{name}",
        S(BOOLS),
        S(BOOLS, 1),
        S(INTS, 0, True),
        S(T(2, 3, 4, dtype="int64"), (0, 2)),
        S(T(3, dtype="uint8")),
        S(T(0, 3), 0),
    )

# --- spread ----------------------------------------------------------------------------------------------------------

SPREAD = (
    S(T(3, 4)),
    S(T(3, 4), 1),
    S(T(2, 3, 4), (0, 2), keepdim=True),
    S(T(3, 4), 0, correction=0),
    S(T(3, 4), unbiased=False),
    S(T(3, 4), False),
    S(T(3, 4), 1, False, True),
    S(T(5, 2), 0, correction=2),
    S(COMPLEX, 1),
)
for name in ("var", "std", "var_mean", "std_mean"):
    rows(f"torch.{name}", *SPREAD)

# --- norms -----------------------------------------------------------------------------------------------------------

rows(
    "torch.norm",
    S(T(3, 4)),
    S(T(3, 4), 1),
    S(T(3, 4), 2, 1),
    S(T(3, 4), 3, 0, True),
    S(T(3, 4), INF),
    S(T(3, 4), -INF, 1),
    S(T(3, 4), 0),
    S(T(3, 4), p="fro", dim=(0, 1)),
    S(T(3, 4), "nuc"),
    S(T(2, 3, 4), 2.5, (0, 1)),
    S(COMPLEX),
    S(COMPLEX, 1, 0),
    tied(T(values=[0.0, 0.0])),
    tied(T(values=[0.0, 1.0]), 0.5),
    tied(T(values=[0.0, 0.0]), 3),
)
rows(
    "torch.linalg.vector_norm",
    S(T(3, 4)),
    S(T(3, 4), 1, 0),
    S(T(2, 3, 4), INF, (0, 2), True),
    S(T(3, 4), 3.5),
    S(T(3), dtype="float64"),
)
rows(
    "torch.linalg.matrix_norm",
    S(T(3, 4)),
    *(S(T(3, 4), p) for p in ("nuc", 1, -1, 2, -2, INF, -INF)),
    S(T(2, 3, 4), 1, (0, 2), True),
    S(T(2, 3, 4), "nuc", (2, 0), True),
)
rows(
    "torch.linalg.norm",
    S(T(3, 4)),
    S(T(2, 3, 4)),
    S(T(3, 4), 2),
    S(T(5), 3),
    S(T(3, 4), 1, 1),
    S(T(2, 3, 4), "fro", (0, 1)),
    S(T(2, 3, 4), dim=1),
)
rows("torch.dist", S(T(3, 4), T(4)), S(T(3), T(3), 1), S(T(3), T(3), INF))
rows("torch.renorm", S(T(3, 4), 2, 0, 1.0), S(T(3, 4), 1, 1, 0.5))

# --- log-sum-exp, order statistics -----------------------------------------------------------------------------------

rows(
    "torch.logsumexp",
    S(T(3, 4), 1),
    S(T(2, 3, 4), (0, 2), True),
    S(INTS, 0),
    S(T(values=[[-INF, -INF], [INF, 1.0]], grad=False), 1),
    S(T(), 0),
)
for name in ("median", "nanmedian"):
    rows(
        f"torch.{name}",
        S(T(3, 4)),
        S(T(5)),
        S(T(3, 4), 1),
        S(T(3, 5), 0, True),
        S(HOLES),
        S(HOLES, 0),
        S(T(5, dtype="int64", values=[4, 1, 3, 9, 7])),
    )
rows("torch.kthvalue", S(T(3, 5), 2), S(T(3, 5), 3, 0, True), S(T(), 1))
rows(
    "torch.mode",
    S(T(3, 4)),
    S(T(values=[2, 1, 1, 3, 3], dtype="int64")),
    S(T(values=[5, 3, 3, 5, 3, 5, 1], dtype="int64")),
    S(INTS, 0, True),
)
for name in ("quantile", "nanquantile"):
    rows(
        f"torch.{name}",
        S(T(5), 0.4),
        S(T(3, 5), 0.25, 1),
        S(T(3, 5), T(values=[0.0, 0.3, 1.0], grad=False), 0),
        S(T(3, 5), T(values=[0.1, 0.6], grad=False), 1, True),
        S(HOLES, 0.5, 1),
        S(T(3, 4), 0.5, keepdim=True),
        *(S(T(6), 0.37, interpolation=i) for i in ("lower", "higher", "nearest", "midpoint")),
    )

# --- running reductions ----------------------------------------------------------------------------------------------

rows(
    "torch.cumsum",
    S(T(3, 4), 1),
    S(T(3, 4), 0),
    S(T(4, 70), 0),
    S(T(2, 3, 4), -2),
    S(INTS, 1),
    S(BOOLS, 0),
    S(T(), 0),
    S(INTS, 0, dtype="float64"),
    S(T(0, 3), 0),
)
rows("torch.cumprod", S(T(3, 4), 1), S(T(3, 4), 0), S(INTS, 1), S(T(values=[2.0, 0.0, 3.0, 0.0, 1.0]), 0), S(T(), 0))
rows("torch.logcumsumexp", S(T(3, 4), 1), S(T(3, 4), 0), S(T(values=[-INF, 0.0, 1.0], grad=False), 0))
for name in ("cummax", "cummin"):
    rows(f"torch.{name}", S(T(3, 5), 1), S(T(3, 5), 0), S(HOLES, 1), S(INTS, 1), S(T(), 0))
rows(
    "torch.diff",
    S(T(3, 4)),
    S(T(3, 4), 2, 0),
    S(BOOLS),
    S(INTS, 1, 0),
    S(T(3, 4), prepend=T(3, 1), append=T(3, 2)),
    S(T(2), 3),
)
