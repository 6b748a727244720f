"""Calls of the view and shape ops."""

from .table import S, T, rows

M = T(3, 4)
INTS = T(3, 4, dtype="int64", low=-5, high=6)
BOOLS = T(2, 3, dtype="bool")
COMPLEX = T(2, 3, dtype="complex64")

# --- views ---------------------------------------------------------------------------------------------------------

rows(
    "torch.Tensor.view",
    S(T(2, 6), 3, 4), S(T(2, 6), (4, -1)), S(T(), 1, 1), S(T(0, 3), 3, 0), S(T(4, dtype="int64"), size=(2, 2)),
)  # fmt: skip
rows("torch.reshape", S(T(2, 6), (3, 4)), S(M, (-1,)), S(BOOLS, (3, 2)), S(T(1), ()), S(COMPLEX, (6,)))
rows("torch.Tensor.reshape", S(T(2, 6), 3, -1), S(T(2, 6), [12]))
rows("torch.flatten", S(T(2, 3, 4)), S(T(2, 3, 4), 1), S(T(2, 3, 4), 0, 1), S(T()), S(T(2, 0, 3), -2))
rows("torch.ravel", S(M), S(T()))
rows("torch.unflatten", S(T(2, 6), 1, (2, 3)), S(T(2, 6), -1, (-1, 2)), S(T(4), 0, [2, 2]))
rows(
    "torch.squeeze",
    S(T(1, 3, 1)), S(T(1, 3, 1), 0), S(T(1, 3, 1), 1), S(T(1, 3, 1), (0, -1)), S(T(), 0), S(T(1, 1)),
)  # fmt: skip
rows("torch.unsqueeze", S(M, 0), S(M, -1), S(M, 1), S(T(), 0), S(INTS, 2))
rows("torch.detach", S(M), S(INTS))
rows("torch.permute", S(T(2, 3, 4), (2, 0, 1)), S(T(2, 3, 4), (-1, 1, 0)), S(T(), ()), S(BOOLS, [1, 0]))
rows("torch.Tensor.permute", S(T(2, 3, 4), 1, 2, 0))
rows("torch.transpose", S(T(2, 3, 4), 0, 2), S(T(2, 3, 4), -1, -2), S(T(), 0, -1))
rows("torch.swapaxes", S(M, 0, 1))
rows("torch.swapdims", S(M, 0, 1))
rows("torch.t", S(M), S(T(3)), S(T()))
rows("torch.movedim", S(T(2, 3, 4), 0, 2), S(T(2, 3, 4), (0, 1), (2, 0)), S(T(2, 3, 4), -1, 0))
rows("torch.moveaxis", S(T(2, 3, 4), (0, 2), (1, 0)))
rows(
    "torch.Tensor.expand",
    S(T(3, 1), 3, 4), S(T(3, 1), -1, 4), S(T(4), 2, 3, 4), S(T(), 2, 2), S(T(1, 3), (0, 3)), S(M, 3, 4),
    S(T(1, dtype="bool"), 3),
)  # fmt: skip
rows("torch.broadcast_to", S(T(3, 1), (2, 3, 4)), S(T(), (3,)))
rows("torch.select", S(M, 0, 1), S(M, -1, 3), S(T(2, 3, 4), 1, -1), S(T(1), 0, 0), S(BOOLS, 1, 2))
rows("torch.narrow", S(M, 0, 1, 2), S(M, -1, 0, 4), S(M, 1, -3, 2), S(M, 0, 3, 0), S(INTS, 1, 1, 2))
rows(
    "torch.diagonal",
    S(T(3, 3)), S(M, 1), S(M, -2), S(M, 5), S(T(2, 3, 4), 0, 1, 2), S(T(2, 3, 4), -1, -1, 0), S(T(2, 3, 4), 1, 0, -1),
)  # fmt: skip
rows(
    "torch.as_strided",
    S(M, (2, 2), (1, 2)), S(M, (3, 3), (1, 1), 2), S(M, (4, 3), (1, 4)), S(M, (2, 3), (0, 1)), S(M, (), (), 5),
    S(M, (0, 2), (1, 1)),
)  # fmt: skip
rows("torch.real", S(COMPLEX), S(M))
rows("torch.imag", S(COMPLEX))
rows("torch.view_as_real", S(COMPLEX), S(T(dtype="complex64")))
rows("torch.view_as_complex", S(T(3, 2)), S(T(2)))

# --- joining and repeating -----------------------------------------------------------------------------------------

rows(
    "torch.cat",
    S([T(2, 3), T(1, 3)]), S([T(2, 3), T(2, 1), T(2, 2)], 1), S([T(2, 3), T(2, 3)], dim=-1), S([T(0), M], 0),
    S([M, INTS]), S([BOOLS, BOOLS]), S([T(0, 3), T(2, 3)]), S([M]), S([T(2, dtype="int32"), T(2, dtype="int64")]),
)  # fmt: skip
rows("torch.concat", S([T(2, 3), T(1, 3)]))
rows("torch.concatenate", S([T(2, 3), T(1, 3)], 0))
rows("torch.stack", S([T(2, 3), T(2, 3)]), S([T(2, 3), T(2, 3)], 1), S([T(), T(), T()]), S([M, INTS], -1))
rows("torch.hstack", S([T(3), T(2)]), S([T(2, 1), T(2, 3)]), S([T(), T()]))
rows("torch.vstack", S([T(3), T(3)]), S([T(2, 3), T(3)]), S([T(), T()]))
rows("torch.row_stack", S([T(3), T(3)]))
rows("torch.dstack", S([T(3), T(3)]), S([T(2, 3), T(2, 3)]), S([T(2, 3, 1), T(2, 3, 2)]))
rows("torch.column_stack", S([T(3), T(3)]), S([T(3), T(3, 2)]), S([T(), T(1)]))
rows("torch.combinations", S(T(4)), S(T(3), 3), S(T(3), 2, True), S(T(2), 3), S(T(3, dtype="int64"), 1))
rows(
    "torch.Tensor.repeat",
    S(M, 2, 1), S(M, 2, 3, 1), S(T(), 3), S(T(2), (0,)), S(BOOLS, 1, 2), S(T(1, 3), 2, 2),
)  # fmt: skip
rows("torch.tile", S(M, (2,)), S(M, (2, 2)), S(T(3), (2, 2)), S(T(), ()))
rows(
    "torch.repeat_interleave",
    S(M, 2), S(M, 3, 0), S(M, 2, dim=-1), S(T(2, 2, dtype="int64"), 2, 1), S(M, 0, 0), S(T(), 2),
)  # fmt: skip

# --- flipping, triangles, diagonals --------------------------------------------------------------------------------

rows("torch.flip", S(M, (0,)), S(M, (0, 1)), S(T(2, 3, 4), [-1, 0]), S(INTS, (1,)), S(T(), ()))
rows("torch.Tensor.flip", S(M, 0, -1))
rows("torch.fliplr", S(M), S(T(2, 3, 2)))
rows("torch.flipud", S(M), S(T(3)))
rows(
    "torch.roll",
    S(M, 1), S(M, 1, 0), S(M, (1, -2), (0, 1)), S(M, 5, 1), S(T(5), -7, 0), S(INTS, (1, 1), (1, 1)), S(T(0, 2), 1, 0),
)  # fmt: skip
rows(
    "torch.rot90", S(M), S(M, 2), S(M, -1), S(T(2, 3, 4), 1, (1, 2)), S(T(2, 3, 4), 3, [2, 0]), S(M, 4), S(M, 0, (1, 0))
)
rows("torch.tril", S(M), S(M, 1), S(T(2, 3, 3), -1), S(INTS), S(M, diagonal=-5), S(BOOLS))
rows("torch.triu", S(M), S(M, 1), S(T(2, 3, 3), -1), S(INTS), S(M, diagonal=5))
rows("torch.diag", S(T(3)), S(T(2), 1), S(T(2), -2), S(M), S(M, 1), S(M, -1), S(T(3, dtype="int64")))
rows(
    "torch.diag_embed",
    S(T(3)), S(T(2, 3)), S(T(2, 3), 1), S(T(2, 3), -2), S(T(2, 3), 0, 0, 2), S(T(2, 3), 1, -1, 0), S(T(0)),
)  # fmt: skip
rows("torch.diagflat", S(T(2, 2)), S(T(3), 1), S(T()))
V = T(3, grad=False)  # PyTorch's own gradient fails on an in-place step
rows("torch.vander", S(V), S(V, 2), S(V, 4, True), S(T(3, dtype="int64")), S(V, 0), S(V, 1))
rows(
    "torch.trapezoid",
    S(M), S(M, dx=0.5), S(M, T(4)), S(M, M), S(M, T(3), dim=0), S(M, dim=0), S(T(1)), S(T(2, 3, 4), T(3, 4), dim=-1),
)  # fmt: skip
rows("torch.cumulative_trapezoid", S(M), S(M, dx=2.0, dim=0), S(M, T(4)), S(M, M, dim=1))
rows("torch.clone", S(M), S(INTS), S(T()))
