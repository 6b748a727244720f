"""Gradients of convolutions with respect to their input and their weight, as functions."""

from __future__ import annotations

import jtorch

from . import functional as F

__all__ = [f"conv{n}d_{of}" for n in (1, 2, 3) for of in ("input", "weight")]


def _pullback(conv, varied, grad_output):
    """The gradient of ``conv`` at any point of that shape: a convolution is linear in each operand."""
    point = jtorch.zeros(varied, dtype=grad_output.dtype, device=grad_output.device)
    return jtorch.func.vjp(conv, point)[1](grad_output)[0]


def _input(n: int):
    conv = getattr(F, f"conv{n}d")

    def conv_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
        return _pullback(lambda x: conv(x, weight, None, stride, padding, dilation, groups), input_size, grad_output)

    conv_input.__name__ = conv_input.__qualname__ = f"conv{n}d_input"
    conv_input.__doc__ = f"The gradient of :func:`conv{n}d` with respect to an input of ``input_size``."
    return conv_input


def _weight(n: int):
    conv = getattr(F, f"conv{n}d")

    def conv_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
        return _pullback(lambda w: conv(input, w, None, stride, padding, dilation, groups), weight_size, grad_output)

    conv_weight.__name__ = conv_weight.__qualname__ = f"conv{n}d_weight"
    conv_weight.__doc__ = f"The gradient of :func:`conv{n}d` with respect to a weight of ``weight_size``."
    return conv_weight


conv1d_input, conv2d_input, conv3d_input = map(_input, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(_weight, (1, 2, 3))
