"""Calls of the sorting, searching and counting ops."""

from .table import S, T, rows

M = T(3, 4)
NAN, INF = float("nan"), float("inf")
INTS = T(3, 5, dtype="int64", low=-3, high=4)
SPECIAL = T(values=[1.0, NAN, -INF, 0.0, INF, NAN, -2.0, -0.0, 1.0], grad=False)
HALF = T(values=[1.5, -2.0, 0.25, 1.5, 0.0], dtype="float16", grad=False)

rows(
    "torch.sort",
    S(M), S(M, 0), S(M, -1, True), S(SPECIAL, stable=True), S(SPECIAL, dim=0, descending=True, stable=True), S(T()),
    S(INTS, stable=True), S(INTS, dim=1, descending=True, stable=True), S(T(2, 3, 4), 1), S(T(0, 3), 0), S(T(2, 0)),
    S(T(7, dtype="bool"), stable=True), S(T(9, dtype="uint8", high=4), stable=True), S(HALF, stable=True),
    S(T(9, dtype="int32", low=-(2**31), high=2**31 - 1)), S(T(9, dtype="float64")),
    S(T(9, dtype="float64"), descending=True),
    S(T(9, dtype="int8", low=-128, high=127), descending=True, stable=True),
)  # fmt: skip
rows(
    "torch.argsort",
    S(M), S(M, 0, True), S(INTS, stable=True), S(SPECIAL, dim=0, descending=True, stable=True), S(T()),
)  # fmt: skip
rows("torch.msort", S(M), S(T(5)), S(T(3, 2, 2)))
rows(
    "torch.topk",
    S(M, 2), S(M, 2, 0), S(M, 1, -1, False), S(T(40), 4), S(T(40), 3, 0, False), S(T(2, 40), 5, dim=1),
    S(M, 4, 1, True, True), S(T(), 1), S(M, 0), S(T(values=[3, 1, 2, 5], dtype="int64"), 2),
    S(T(values=[3, 1, 2, 5], dtype="int32"), 3, largest=False),
    S(T(2, 30, 2), 3, 1), S(T(values=[1.0, NAN, INF, -1.0], grad=False), 2),
    S(T(values=[1.0, NAN, INF, -1.0] + [2.0 + i for i in range(20)], grad=False), 2),
    S(T(values=[1.0, NAN, INF, -1.0] + [2.0 + i for i in range(20)], grad=False), 2, largest=False),
)  # fmt: skip
EDGES = T(values=[-1.0, 0.0, 0.5, 1.5], grad=False)
MANY = T(values=[i / 10 for i in range(-20, 20)], grad=False)
rows(
    "torch.bucketize",
    S(M, EDGES), S(M, EDGES, right=True), S(M, EDGES, out_int32=True), S(0.5, EDGES), S(M, MANY),
    S(T(values=[0.5, -1.0, 9.0], grad=False), EDGES), S(T(values=[0.5, -1.0, 9.0], grad=False), EDGES, right=True),
    S(T(4, dtype="int64"), T(values=[1, 2, 4], dtype="int64")),
)  # fmt: skip
rows(
    "torch.searchsorted",
    S(EDGES, M), S(EDGES, M, right=True), S(EDGES, T(values=0.5, grad=False), side="right"), S(EDGES, 0.5), S(MANY, M),
    S(T(values=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], grad=False), T(values=[[2.0, 9.0], [1.0, 5.0]], grad=False)),
    S(T(values=[3, 1, 2], dtype="int64"), T(4, dtype="int64"), sorter=T(values=[1, 2, 0], dtype="int64")),
    S(EDGES, M, out_int32=True),
)  # fmt: skip
rows(
    "torch.histc",
    S(M), S(M, 5), S(M, 4, -1, 1), S(M, bins=3, min=0, max=2), S(T(values=[2.0, 2.0], grad=False), 3), S(T(0), 2),
)  # fmt: skip
