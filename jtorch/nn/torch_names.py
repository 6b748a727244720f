"""Functions of ``nn.functional`` that PyTorch also exports as ``torch.*``, where some have other arguments."""

from __future__ import annotations

from . import functional as F
from . import torch_losses, torch_native, torch_products, torch_recurrent


def dropout(input, p, train):
    """``nn.functional.dropout`` with positional arguments."""
    return F.dropout(input, p, train)


def dropout_(input, p, train):
    """In-place form of :func:`dropout`."""
    return F.dropout(input, p, train, inplace=True)


def alpha_dropout(input, p, train):
    """``nn.functional.alpha_dropout`` with positional arguments."""
    return F.alpha_dropout(input, p, train)


def feature_alpha_dropout(input, p, train):
    """``nn.functional.feature_alpha_dropout`` with positional arguments."""
    return F.feature_alpha_dropout(input, p, train)


def feature_dropout(input, p, train):
    """Dropout of whole channels of ``(N, C, ...)``."""
    from .functional.dropout import _apply, _check, _per_channel

    _check(p)
    return _apply(input, p, train, False, _per_channel(input, True))


def embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """``nn.functional.embedding`` with the table first; a negative ``padding_idx`` means none."""
    return F.embedding(
        indices, weight, padding_idx if padding_idx >= 0 else None, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse
    )


def batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=True):
    """``nn.functional.batch_norm`` in another order."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled=True
):  # fmt: skip
    """``nn.functional.instance_norm`` in another order."""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True):
    """``nn.functional.layer_norm``."""
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    """``nn.functional.group_norm``."""
    return F.group_norm(input, num_groups, weight, bias, eps)


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, generator=None):
    """``nn.functional.rrelu``."""
    if generator is not None:
        raise NotImplementedError("rrelu(generator=) is not supported; the default generator is used: leave it out")
    return F.rrelu(input, lower, upper, training)


_SAME = (
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "avg_pool1d", "bilinear", "celu_", "channel_shuffle", "conv1d",
    "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "max_pool1d",
    "max_pool1d_with_indices", "max_pool2d", "max_pool3d", "pixel_shuffle", "pixel_unshuffle", "relu_", "rrelu_",
    "selu_", "threshold", "threshold_",
)  # fmt: skip
_OWN = (
    dropout, dropout_, alpha_dropout, feature_alpha_dropout, feature_dropout, embedding, batch_norm, instance_norm,
    layer_norm, group_norm, rrelu,
)  # fmt: skip

#: Names to export as ``torch.*``, with their functions.
FUNCTIONS = {
    **{name: getattr(F, name) for name in _SAME}, **{f.__name__: f for f in _OWN}, **torch_losses.FUNCTIONS,
    **torch_native.FUNCTIONS, **torch_products.FUNCTIONS, **torch_recurrent.FUNCTIONS,
}  # fmt: skip
