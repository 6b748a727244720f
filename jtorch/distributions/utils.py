"""Small helpers that the families share."""

from __future__ import annotations

import functools
import numbers

import jtorch

euler_constant = 0.57721566490153286060


def broadcast_all(*values):
    """The values as Tensors of one common shape; numbers take the dtype and device of the first Tensor.

    Raises:
        ValueError: a value is neither a number nor a Tensor.
    """
    if not all(isinstance(v, (jtorch.Tensor, numbers.Number)) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__."
        )
    like = next((v for v in values if isinstance(v, jtorch.Tensor)), None)
    options = {"dtype": jtorch.get_default_dtype()} if like is None else {"dtype": like.dtype, "device": like.device}
    tensors = [v if isinstance(v, jtorch.Tensor) else jtorch.tensor(v, **options) for v in values]
    return tuple(jtorch.broadcast_tensors(*tensors))


def all_numbers(*values) -> bool:
    """Whether every value is a Python number, which makes a distribution without batch dimensions."""
    return all(isinstance(v, numbers.Number) for v in values)


def _standard_normal(shape, dtype, device):
    """Standard normal numbers."""
    return jtorch.empty(shape, dtype=dtype, device=device).normal_()


def standard_uniform(shape, like):
    """Uniform numbers in [0, 1) with the dtype and device of ``like``."""
    return jtorch.rand(shape, dtype=like.dtype, device=like.device)


def _sum_rightmost(value, dim: int):
    """Sum out the ``dim`` rightmost dimensions."""
    return value if dim == 0 else value.reshape(tuple(value.shape[:-dim]) + (-1,)).sum(-1)


def clamp_probs(probs):
    """Probabilities kept ``eps`` away from 0 and 1."""
    eps = jtorch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits, is_binary: bool = False):
    """Sigmoid of binary logits; softmax over the last dimension otherwise."""
    return jtorch.sigmoid(logits) if is_binary else jtorch.softmax(logits, dim=-1)


def probs_to_logits(probs, is_binary: bool = False):
    """Log-odds of binary probabilities; log-probabilities otherwise."""
    clamped = clamp_probs(probs)
    return jtorch.log(clamped) - jtorch.log1p(-clamped) if is_binary else jtorch.log(clamped)


class lazy_property:  # noqa: N801 (PyTorch's name)
    """An attribute computed on first use, with gradients on, and then kept on the instance."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with jtorch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def _tril_mask(n: int, diag: int, device):
    i = jtorch.arange(n, device=device)
    return i < i.view(-1, 1) + (diag + 1)


def tril_matrix_to_vec(mat, diag: int = 0):
    """The entries on and below diagonal ``diag`` of (..., D, D) matrices, row by row.

    Raises:
        ValueError: ``diag`` is outside the matrix.
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    return mat[..., _tril_mask(n, diag, mat.device)]


def vec_to_tril_matrix(vec, diag: int = 0):
    """The inverse of :func:`tril_matrix_to_vec`; entries above the diagonal are zero.

    Raises:
        ValueError: the length fits no square matrix.
    """
    length = vec.shape[-1]
    n = max(1, -diag, diag + 1)
    while (count := sum(min(n, max(0, i + 1 + diag)) for i in range(n))) < length:
        n += 1
    if count != length:
        raise ValueError(
            f"The size of last dimension is {length} which cannot be expressed as "
            "the lower triangular part of a square D x D matrix."
        )
    mat = vec.new_zeros(tuple(vec.shape[:-1]) + (n, n))
    mat[..., _tril_mask(n, diag, vec.device)] = vec
    return mat
