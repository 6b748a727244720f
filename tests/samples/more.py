"""Rows for copies of views, segment reductions, parts of floats, and other functions that few programs use."""

from .table import S, T, rows

X = T(2, 3)
rows("torch.alias_copy", S(X))
rows("torch.as_strided_copy", S(T(2, 4), (2, 2), (1, 3), 1))
rows("torch.detach_copy", S(T(2, 3, grad=False)))
rows("torch.diagonal_copy", S(T(3, 4)), S(T(2, 3, 4), offset=1, dim1=0, dim2=2))
rows("torch.expand_copy", S(T(2, 1), (2, 3)))
rows("torch.narrow_copy", S(T(3, 4), 1, 1, 2))
rows("torch.permute_copy", S(T(2, 3, 4), (2, 0, 1)))
rows("torch.select_copy", S(X, 1, -1))
rows("torch.slice_copy", S(T(3, 4), 1, 0, 4, 2))
rows("torch.split_copy", S(T(5), 2))
rows("torch.split_with_sizes_copy", S(T(5), [2, 3]))
rows("torch.squeeze_copy", S(T(2, 1, 3)), S(T(1, 2), dim=0))
rows("torch.t_copy", S(X))
rows("torch.transpose_copy", S(X, 0, 1))
rows("torch.unbind_copy", S(X), S(X, dim=1))
rows("torch.unfold_copy", S(T(7), 0, 3, 2))
rows("torch.unsqueeze_copy", S(X, 1))
rows("torch.view_copy", S(X, (3, 2)))
rows("torch.view_as_real_copy", S(T(2, dtype="complex64")))
rows("torch.view_as_complex_copy", S(T(3, 2, grad=False)))
rows("torch.unsafe_chunk", S(T(5), 2))
rows("torch.unsafe_split", S(T(5, 2), 2, dim=0))
rows("torch.unsafe_split_with_sizes", S(T(5), [1, 4]))
rows("torch._chunk_cat", S([T(3, 2, grad=False), T(4, 5, grad=False)], 0, 2))

rows("torch.frexp", S(T(6)), S(T(3, values=[0.0, 8.0, -0.3]), gradcheck=False))
rows("torch.put", S(T(2, 3), T(2, values=[0, -1], dtype="int64"), T(2)),
     S(T(2, 3), T(3, values=[1, 1, 4], dtype="int64"), T(3), accumulate=True))  # fmt: skip
LENGTHS = T(4, values=[1, 3, 0, 2], dtype="int64")
EMPTY = "the derivative through an empty segment's infinity is no difference quotient"
for _kind in ("sum", "mean", "max", "min", "prod", "amax", "amin"):
    rows_ = [
        S(T(6, 2), _kind, lengths=T(3, values=[1, 3, 2], dtype="int64")),
        S(T(2, 4), _kind, lengths=T(2, 2, values=[[1, 3], [2, 2]], dtype="int64"), axis=1),
        S(T(6), _kind, offsets=T(3, values=[0, 2, 6], dtype="int64"), initial=1),
        S(T(6), _kind, lengths=LENGTHS, gradcheck=False, why=EMPTY),
    ]
    if _kind == "sum":
        rows("torch.segment_reduce", *rows_)
    else:
        from .table import TABLE

        TABLE["torch.segment_reduce"] += rows_
POINTS = T(20, 2, low=0, high=4, grad=False)
rows("torch.histogramdd", S(POINTS, bins=[3, 4]), S(POINTS, bins=2, range=[0.0, 2.0, 1.0, 3.0], density=True),
     S(POINTS, bins=[3, 2], weight=T(20, low=0, high=1, grad=False)))  # fmt: skip
rows("torch._safe_softmax", S(T(2, 3), 1))
MASK = T(3, 2, values=[[True, False], [True, True], [False, True]], dtype="bool")
AT = [T(3, 1, values=[[0], [1], [9]], dtype="int64"), T(1, 2, values=[[1, 2]], dtype="int64")]
rows("torch._unsafe_masked_index", S(T(2, 3), MASK, AT, 7.0))
rows("torch._unsafe_masked_index_put_accumulate", S(T(2, 3), MASK, AT, T(3, 2)))

# --- names of nn.functional that torch exports in another form -------------------------------------------------------

SIGNS = T(4, values=[1.0, -1.0, 1.0, -1.0], grad=False)
PROBABILITIES = T(2, 3, low=0.1, high=0.9)
rows("torch.binary_cross_entropy_with_logits", S(T(4), T(4, low=0, high=1, grad=False)),
     S(T(4), T(4, low=0, high=1, grad=False), reduction=0))  # fmt: skip
rows("torch.cosine_embedding_loss", S(T(4, 3), T(4, 3), SIGNS, 0.1, 2))
rows("torch.hinge_embedding_loss", S(T(4), SIGNS, reduction=0))
rows("torch.margin_ranking_loss", S(T(4), T(4), SIGNS, 0.5))
rows("torch.triplet_margin_loss", S(T(4, 3), T(4, 3), T(4, 3)))
rows("torch.poisson_nll_loss", S(T(4), T(4, low=0.5, high=3, grad=False), True, False, 1e-8, 1))
rows("torch.kl_div", S(T(2, 3), PROBABILITIES), S(T(2, 3), PROBABILITIES, reduction=2))
rows("torch.ctc_loss", S(T(5, 2, 3), T(2, 2, dtype="int64", low=1, high=3), T(2, values=[5, 4], dtype="int64"),
                         T(2, values=[2, 1], dtype="int64"), gradcheck=False,
                         why="the gradient supposes normalised probabilities"))  # fmt: skip
rows("torch.embedding_renorm_", S(T(4, 3, grad=False), T(2, dtype="int64", high=4), 1.0, 2.0))
rows("torch.grid_sampler_2d", S(T(1, 2, 3, 3), T(1, 2, 2, 2, low=-0.9, high=0.9), 0, 1, False))
rows("torch.affine_grid_generator", S(T(1, 2, 3), [1, 1, 2, 3], False))
rows("torch.constant_pad_nd", S(T(2, 3), [1, 0, 2, 1], 1.5), S(T(3, 4), [-1, 1]))
rows("torch.conv_tbc", S(T(5, 2, 3), T(3, 3, 4), T(4), 1))
rows("torch.convolution", S(T(1, 2, 5), T(4, 1, 3), T(4), [1], [1], [1], False, [0], 2),
     S(T(1, 2, 3, 3), T(2, 3, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [1, 0], 1))  # fmt: skip
STATISTICS = "the statistics carry no gradient"
rows("torch.native_layer_norm", S(T(2, 3), [3], T(3), T(3), 1e-5, gradcheck=False, why=STATISTICS))
rows("torch.native_group_norm", S(T(2, 4, 3), T(4), T(4), 2, 4, 3, 2, 1e-5))
RUNNING = T(3, grad=False), T(3, low=1, high=2, grad=False)
rows("torch.native_batch_norm", S(T(4, 3), T(3), T(3), *RUNNING, False, 0.1, 1e-5),
     S(T(4, 3, 2), T(3), T(3), None, None, True, 0.1, 1e-5, gradcheck=False, why=STATISTICS))  # fmt: skip
W = [T(8, 3), T(8, 2), T(8), T(8)]
rows("torch.lstm", S(T(4, 2, 3), [T(1, 2, 2), T(1, 2, 2)], W, True, 1, 0.0, False, False, False))
rows("torch.gru", S(T(2, 4, 3), T(2, 2, 2), [T(6, 3), T(6, 2), T(6, 3), T(6, 2)], False, 1, 0.0, False, True, True))
rows("torch.rnn_tanh", S(T(4, 2, 3), T(1, 2, 2), [T(2, 3), T(2, 2), T(2), T(2)], True, 1, 0.0, False, False, False))
rows("torch.rnn_relu", S(T(5, 3), T(3, values=[2, 2, 1], dtype="int64"), T(1, 2, 2), [T(2, 3), T(2, 2), T(2), T(2)],
                         True, 1, 0.0, False, False))  # fmt: skip
rows("torch.lstm_cell", S(T(2, 3), [T(2, 2), T(2, 2)], *W))
rows("torch.gru_cell", S(T(2, 3), T(2, 2), T(6, 3), T(6, 2)))
rows("torch.rnn_tanh_cell", S(T(2, 3), T(2, 2), T(2, 3), T(2, 2), T(2), T(2)))
rows("torch.rnn_relu_cell", S(T(2, 3), T(2, 2), T(2, 3), T(2, 2), T(2), T(2)))
