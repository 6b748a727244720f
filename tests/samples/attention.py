"""Samples of the layers that are matrix products: linear maps, look-ups, attention."""

from .table import S, T, rows

NN = "torch.nn.functional."

rows(
    NN + "linear",
    S(T(2, 3), T(4, 3), T(4)),
    S(T(2, 5, 3), T(4, 3), T(4)),
    S(T(3), T(4, 3)),
    S(T(1, 3), T(4, 3), T(4)),
    S(T(2, 3), T(3)),
    S(T(0, 3), T(4, 3), T(4)),
)
rows(NN + "bilinear", S(T(2, 3), T(2, 4), T(5, 3, 4), T(5)), S(T(2, 2, 3), T(2, 2, 1), T(2, 3, 1)))
rows(
    NN + "embedding",
    S(T(3, dtype="int64"), T(5, 2)),
    S(T(2, 3, dtype="int64"), T(5, 2), padding_idx=1),
    S(T(2, 3, dtype="int32"), T(5, 2)),
    S(T(dtype="int64"), T(5, 2)),
    S(T(7, dtype="int64"), T(5, 2), scale_grad_by_freq=True, gradcheck=False, why="the gradient is rescaled"),
)
rows(
    NN + "scaled_dot_product_attention",
    S(T(2, 3, 4), T(2, 5, 4), T(2, 5, 2)),
    S(T(2, 2, 3, 4), T(2, 2, 3, 4), T(2, 2, 3, 4), is_causal=True),
    S(T(2, 2, 3, 4), T(2, 2, 5, 4), T(2, 2, 5, 4), attn_mask=T(3, 5)),
    S(T(2, 2, 3, 4), T(2, 2, 5, 4), T(2, 2, 5, 4), attn_mask=T(2, 1, 3, 5, dtype="bool")),
    S(T(2, 2, 3, 4), T(2, 2, 3, 4), T(2, 2, 3, 4), attn_mask=T(2, 1, 1, 3)),
    S(T(2, 2, 3, 4), T(2, 2, 3, 4), T(2, 2, 3, 4), scale=0.3),
    S(T(1, 4, 3, 2), T(1, 2, 3, 2), T(1, 2, 3, 2), enable_gqa=True),
    S(T(3, 4), T(5, 4), T(5, 4)),
)
