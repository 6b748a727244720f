"""What autocast does to each operation, by device type: PyTorch's lists, over this library's op names.

Lower: run in the autocast dtype, for speed. Full: run in float32, for range. Widest: run in the widest of the
operands' types. Every other operation runs in the types it is given.

Source: https://docs.pytorch.org/docs/2.13/amp.html, "Autocast Op Reference".
"""

from __future__ import annotations

_PRODUCTS = (
    "addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm "
    "vecdot _einsum _sdpa _lstm_layer"
)
_LOSSES = (
    "cosine_embedding_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss "
    "multilabel_margin_loss multi_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss "
    "triplet_margin_loss binary_cross_entropy_with_logits cross_entropy"
)

_CUDA = {
    "lower": f"{_PRODUCTS} addmv addr mv multi_dot prelu _rnn_layer _gru_layer _rnn_cell _lstm_cell "
    "_gru_cell _linear_cross_entropy",
    "full": f"{_LOSSES} acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus "
    "layer_norm group_norm norm cosine_similarity dist pdist cdist renorm logsumexp interpolate prod _softmax _softmin "
    "_log_softmax cumprod cumsum linalg_norm vector_norm matrix_norm sum",
    "widest": "addcdiv addcmul atan2 bilinear cross linalg_cross dot vdot grid_sample index_put tensordot scatter_add "
    "cat stack",
    "refuse": "binary_cross_entropy",
}

_CPU = {
    "lower": f"{_PRODUCTS} _linear_cross_entropy prelu tensordot multi_dot _rnn_layer _gru_layer _rnn_cell _lstm_cell "
    "_gru_cell",
    "full": f"{_LOSSES} pad avg_pool3d adaptive_max_pool3d "
    "binary_cross_entropy grid_sample prod _quantile _nanquantile _stft cdist trace "
    "view_as_complex cholesky cholesky_solve inverse _cholesky_ex _inv_ex _solve_ex orgqr ormqr pinverse "
    "max_pool3d adaptive_avg_pool3d ctc_loss "
    "fft_fft fft_ifft fft_fft2 fft_ifft2 fft_fftn fft_ifftn fft_rfft fft_irfft fft_rfft2 fft_irfft2 fft_rfftn "
    "fft_irfftn fft_hfft fft_ihfft cond eigh eigvals eigvalsh householder_product lstsq _matrix_rank "
    "qr svd svdvals solve tensorinv tensorsolve _pinv inv det slogdet",
    "widest": "stack cat index_copy",
    "refuse": "",
}

#: where a policy of the CPU's is that of one way to call the operation: the attribute that tells, and its values
ONLY = {"pad": ("mode", ("reflect", "replicate")), "max_pool3d": ("return_indices", (False,))}

#: operands that keep their types on the CPU, where only the products of these are of lower precision: their states
KEPT = {"_gru_layer": 1, "_gru_cell": 1, "_lstm_cell": 2}


def _table(lists: dict[str, str]) -> dict[str, str]:
    return {name: policy for policy, names in lists.items() for name in names.split()}


_cpu, _accelerator = _table(_CPU), _table(_CUDA)


def table(device_type: str) -> dict[str, str]:
    """``{op name: policy}`` on a type of device; accelerators share the GPU's lists."""
    return _cpu if device_type == "cpu" else _accelerator


def of(device_type: str, op, statics: tuple) -> str | None:
    """The policy of an operation with these attributes on a type of device."""
    found = table(device_type).get(op.name)
    if found is not None and op.name in ONLY:
        attribute, values = ONLY[op.name]
        return found if statics[op.static_names.index(attribute)] in values else None
    return found
