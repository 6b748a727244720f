"""Calls of the ops that read and write by index."""

from .table import S, T, rows

M = T(3, 4)
INTS = T(3, 4, dtype="int64", low=-5, high=6)
MASK = T(3, 4, dtype="bool")
SQUARE = T(3, 4, dtype="int64", low=0, high=3)  # indices along dimension 0
WIDE = T(3, 2, dtype="int64", low=0, high=4)  # indices along dimension 1
VECTOR = T(5, dtype="int64", low=0, high=3)
PAIR = T(values=[0, 2], dtype="int64")
REFUSED = {"gradcheck": False, "why": "PyTorch has a gradient only where src has the shape of index"}
TWICE = T(values=[1, 1, 0], dtype="int64")


def I(*values, dtype="int64"):  # noqa: E743
    return T(values=list(values), dtype=dtype)


# --- reading -------------------------------------------------------------------------------------------------------

rows(
    "torch.gather",
    S(M, 0, SQUARE), S(M, 1, WIDE), S(M, 1, T(2, 6, dtype="int64", high=4)), S(T(), 0, T(values=0, dtype="int64")),
    S(T(2, 3, 4), -1, T(2, 3, 1, dtype="int64", high=4)), S(INTS, 1, WIDE), S(T(5), 0, T(0, dtype="int64")),
    S(M, 0, T(1, 1, dtype="int32", high=3)),
)  # fmt: skip
rows(
    "torch.take_along_dim",
    S(M, T(3, 1, dtype="int64", low=-4, high=4), 1), S(M, T(2, 4, dtype="int64", high=3), 0), S(M, I(0, 11, 3)),
    S(T(1, 4), T(3, 2, dtype="int64", high=4), 1),
)  # fmt: skip
rows("torch.take", S(M, T(2, 3, dtype="int64", low=-12, high=12)), S(M, T(values=3, dtype="int64")), S(INTS, I(0, 0)))
rows(
    "torch.index_select",
    S(M, 0, VECTOR), S(M, 1, PAIR), S(T(2, 3, 4), -2, TWICE), S(M, 0, T(values=1, dtype="int64")),
    S(M, 0, T(0, dtype="int64")), S(INTS, 1, T(3, dtype="int32", high=4)), S(T(), 0, I(0)),
)  # fmt: skip
rows(
    "torch.where",
    S(MASK, M, M), S(MASK, M, T()), S(T(3, 1, dtype="bool"), T(4), T(3, 1)), S(MASK, 1.0, M), S(MASK, INTS, M),
    S(MASK, INTS, 2), S(MASK, 1, 2.5), S(MASK, INTS, 0.5),
)  # fmt: skip
rows("torch.nonzero_static", S(I(1, 0, 2), size=4), S(MASK, size=3, fill_value=7), S(MASK, size=0))
rows(
    "torch.nn.functional.one_hot",
    S(T(4, dtype="int64", high=3), 5), S(T(2, 2, dtype="int64", high=2), num_classes=2),
    S(T(values=1, dtype="int64"), 3),
)  # fmt: skip

# --- masks ---------------------------------------------------------------------------------------------------------

rows(
    "torch.masked_fill",
    S(M, MASK, 2.5), S(M, MASK, T()), S(M, T(4, dtype="bool"), 0), S(INTS, MASK, 7), S(INTS, MASK, 1.5),
    S(T(4), MASK, -1.0), S(MASK, MASK, True), S(T(2, 3, dtype="complex64"), T(3, dtype="bool"), 1j),
)  # fmt: skip
rows(
    "torch.masked_scatter",
    S(M, MASK, T(12)), S(M, T(4, dtype="bool"), T(3, 4)), S(T(4), MASK, T(20)), S(INTS, MASK, T(12, dtype="int64")),
)  # fmt: skip

# --- writing -------------------------------------------------------------------------------------------------------

rows(
    "torch.scatter",
    S(T(5), 0, I(3, 0), T(2)), S(M, 1, T(values=[[0, 2], [3, 1], [2, 0]], dtype="int64"), T(3, 2)),
    S(T(5), 0, I(3, 0), T(3), **REFUSED), S(M, 0, T(1, 3, dtype="int64", high=3), T(2, 4), **REFUSED),
    S(M, 1, WIDE, 2.5), S(INTS, 1, WIDE, 3), S(M, 1, WIDE, value=1.5), S(M, 0, T(0, 4, dtype="int64"), M, **REFUSED),
    S(T(), 0, T(values=0, dtype="int64"), T()), S(INTS, 1, WIDE, T(3, 2, dtype="int64"), reduce="add"),
    S(T(3, 4, grad=False), 1, WIDE, T(3, 2, grad=False), reduce="multiply"),
)  # fmt: skip
rows(
    "torch.scatter_add",
    S(M, 1, WIDE, T(3, 2)), S(M, 0, SQUARE, M), S(M, 1, WIDE, M, **REFUSED),
    S(T(4), 0, T(7, dtype="int64", high=4), T(7)), S(INTS, 0, SQUARE, INTS),
)  # fmt: skip
rows(
    "torch.scatter_reduce",
    *(
        S(x, 1, WIDE, src, how, include_self=own)
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
        for x, src in ((M, T(3, 2)), (INTS, T(3, 2, dtype="int64", low=-3, high=4)))
    ),
    S(T(values=[0.0, 2.0, 0.0]), 0, I(0, 1, 1, 2), T(values=[3.0, 0.0, 4.0, 0.0]), "prod"),
    S(T(values=[1.0, 2.0]), 0, I(0, 0, 1), T(values=[1.0, 1.0, 0.5]), "amax", gradcheck=False, why="ties"),
    S(INTS, 1, WIDE, T(3, 2, dtype="int64"), "max"), S(T(4, grad=False), 0, I(0, 0, 3), T(3, grad=False), "min"),
)  # fmt: skip
rows(
    "torch.index_add",
    S(M, 0, TWICE, T(3, 4)), S(M, 1, PAIR, T(3, 2), alpha=0.5), S(INTS, 0, PAIR, T(2, 4, dtype="int64"), alpha=3),
    S(T(3), 0, T(5, dtype="int32", high=3), T(5)),
)  # fmt: skip
rows("torch.index_copy", S(M, 0, PAIR, T(2, 4)), S(M, -1, PAIR, T(3, 2)), S(INTS, 0, PAIR, T(2, 4, dtype="int64")))
rows(
    "torch.index_fill",
    S(M, 0, PAIR, 2.5), S(M, 1, I(-1, 0), -1), S(M, 0, PAIR, T()), S(INTS, 1, PAIR, 2.7),
    S(T(3, dtype="bool"), 0, I(1), True),
)  # fmt: skip
rows(
    "torch.index_reduce",
    *(
        S(x, 0, TWICE, src, how, include_self=own)
        for how in ("prod", "mean", "amax", "amin")
        for own in (True, False)
        for x, src in ((M, T(3, 4)), (INTS, T(3, 4, dtype="int64", low=-3, high=4)))
    ),
    S(M, 1, PAIR, T(3, 2), "amax"),
)
rows("torch.select_scatter", S(M, T(4), 0, 1), S(M, T(3), 1, -1), S(INTS, T(4, dtype="int64"), 0, 2))
rows(
    "torch.slice_scatter",
    S(M, T(2, 4), 0, 1), S(M, T(3, 2), 1, 0, 4, 2), S(M, T(3, 2), 1, -2), S(M, T(0, 4), 0, 3), S(M, M),
    S(M, T(1, 4), 0, 0, 1, 5),
)  # fmt: skip
rows("torch.diagonal_scatter", S(M, T(3)), S(M, T(3), 1), S(M, T(1), -2), S(T(2, 3, 4), T(3, 2), 0, 0, 2))
# PyTorch's gradient of input is that of the elements written over, where it should be that of the others: not compared
OTHERS = T(3, 4, grad=False)
rows("torch.as_strided_scatter", S(OTHERS, T(2, 2), (2, 2), (1, 2)), S(OTHERS, T(3), (3,), (2,), 1))
