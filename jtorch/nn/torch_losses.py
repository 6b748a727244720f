"""Losses, look-ups, grids and convolutions as ``torch.*`` exports them: with numbers for reductions and modes."""

from __future__ import annotations

import jtorch

from . import functional as F
from ._reduction import NAMES


#: PyTorch's declarations say that the default is the mean, but what its functions do without the argument is 0.
def _reduction(code: int) -> str:
    if not isinstance(code, int):
        raise TypeError(f"argument 'reduction' must be int, not {type(code).__name__}")
    if code not in (0, 1, 2):
        raise RuntimeError(f"{code} is not a valid value for reduction: 0 is none, 1 mean and 2 sum")
    return NAMES[code]


def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, reduction=0):
    """``nn.functional.binary_cross_entropy_with_logits``, the reduction as a number."""
    return F.binary_cross_entropy_with_logits(
        input, target, weight, reduction=_reduction(reduction), pos_weight=pos_weight
    )


def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction=0):
    """``nn.functional.cosine_embedding_loss``, the reduction as a number."""
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def hinge_embedding_loss(input, target, margin=1.0, reduction=0):
    """``nn.functional.hinge_embedding_loss``, the reduction as a number."""
    return F.hinge_embedding_loss(input, target, margin, reduction=_reduction(reduction))


def margin_ranking_loss(input1, input2, target, margin=0.0, reduction=0):
    """``nn.functional.margin_ranking_loss``, the reduction as a number."""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=0):
    """``nn.functional.triplet_margin_loss``, the reduction as a number."""
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=_reduction(reduction))


def poisson_nll_loss(input, target, log_input, full, eps, reduction):
    """``nn.functional.poisson_nll_loss``, the reduction as a number."""
    return F.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_reduction(reduction))


def kl_div(input, target, reduction=0, *, log_target=False):
    """``nn.functional.kl_div``, the reduction as a number (1 divides by the number of elements)."""
    if reduction == 1:
        return F.kl_div(input, target, reduction="sum", log_target=log_target) / max(input.numel(), 1)
    return F.kl_div(input, target, reduction=_reduction(reduction), log_target=log_target)


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction=0, zero_infinity=False):
    """``nn.functional.ctc_loss``, the reduction as a number."""
    return F.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _reduction(reduction), zero_infinity
    )  # fmt: skip


def embedding_bag(
    weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False, per_sample_weights=None,
    include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """``nn.functional.embedding_bag`` with the table first and the mode as a number (0 sum, 1 mean, 2 max).

    Returns:
        The bags, and three index tensors (which bag each index falls in, the bags' sizes, and for max which index was
        taken); the last is empty here.
    """
    bags = F.embedding_bag(
        indices, weight, offsets, scale_grad_by_freq=scale_grad_by_freq, mode=("sum", "mean", "max")[mode],
        sparse=sparse, per_sample_weights=per_sample_weights, include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )  # fmt: skip
    position = jtorch.arange(indices.shape[0], dtype=offsets.dtype, device=offsets.device)
    starts = offsets[:-1] if include_last_offset else offsets
    bag = jtorch.searchsorted(starts.contiguous(), position, right=True) - 1
    sizes = jtorch.diff(jtorch.cat([starts, starts.new_tensor([indices.shape[0]])]))
    return bags, bag.to(offsets.dtype), sizes, jtorch.empty(0, dtype=offsets.dtype)


def embedding_renorm_(weight, indices, max_norm, norm_type):
    """Scale the rows of ``weight`` at ``indices`` down to ``max_norm``, in place."""
    from .functional.sparse import _renormalise

    _renormalise(weight, indices, max_norm, norm_type)
    return weight


_INTERPOLATION, _PADDING = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    """``nn.functional.grid_sample``, the modes as numbers."""
    return F.grid_sample(input, grid, _INTERPOLATION[interpolation_mode], _PADDING[padding_mode], align_corners)


def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    """:func:`grid_sampler` of images."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    """:func:`grid_sampler` of volumes."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def affine_grid_generator(theta, size, align_corners):
    """``nn.functional.affine_grid``."""
    return F.affine_grid(theta, size, align_corners)


def constant_pad_nd(input, pad, value=0):
    """``nn.functional.pad`` with a constant."""
    return F.pad(input, pad, "constant", value)


def conv_tbc(input, weight, bias, pad=0):
    """A 1-d convolution over ``(T, B, C)`` with a weight ``(K, C, C_out)``."""
    out = F.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return out.permute(2, 0, 1)


def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """The convolution, plain or transposed, of as many dimensions as ``stride`` has entries for (or the input)."""
    n = input.dim() - 2
    if transposed:
        f = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return f(input, weight, bias, tuple(stride), tuple(padding), tuple(output_padding), groups, tuple(dilation))
    f = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return f(input, weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups)


def alpha_dropout_(input, p, train):
    """In-place form of :func:`alpha_dropout`."""
    return F.alpha_dropout(input, p, train, inplace=True)


def feature_dropout_(input, p, train):
    """Dropout of whole channels, in place."""
    return input.copy_(jtorch.feature_dropout(input, p, train))


def feature_alpha_dropout_(input, p, train):
    """In-place form of :func:`feature_alpha_dropout`."""
    return F.feature_alpha_dropout(input, p, train, inplace=True)


FUNCTIONS = {
    f.__name__: f
    for f in (
        binary_cross_entropy_with_logits, cosine_embedding_loss, hinge_embedding_loss, margin_ranking_loss,
        triplet_margin_loss, poisson_nll_loss, kl_div, ctc_loss, embedding_bag, embedding_renorm_, grid_sampler,
        grid_sampler_2d, grid_sampler_3d, affine_grid_generator, constant_pad_nd, conv_tbc, convolution,
        alpha_dropout_, feature_dropout_, feature_alpha_dropout_,
    )
}  # fmt: skip
