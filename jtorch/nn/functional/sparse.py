"""Lookups: embeddings and one-hot vectors."""

from __future__ import annotations

import jtorch

from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from ...tensor.export import function

_EMBEDDING, _BAG = OPS["_embedding"], OPS["_embedding_bag"]
_one_hot = function(OPS["one_hot"])


def _refuse_sparse(sparse: bool) -> None:
    if sparse:
        raise NotImplementedError(
            "sparse=True: sparse gradients are not supported; leave it out (the dense gradient has the same values)"
        )


def _renormalise(weight, index, max_norm: float, norm_type: float) -> None:
    """Scale the rows of ``weight`` that ``index`` names, where their norm is above ``max_norm``; in place."""
    with jtorch.no_grad():
        index = index.reshape(-1)
        rows = weight.detach().index_select(0, index)
        norm = rows.norm(norm_type, 1, keepdim=True)
        scaled = rows * jtorch.where(norm > max_norm, max_norm / (norm + 1e-7), jtorch.ones_like(norm))
        weight.index_copy_(0, index, scaled)


def embedding(
    input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False
):  # fmt: skip
    """The rows of ``weight`` ``(V, D)`` at the indices ``input``: ``(*) -> (*, D)``.

    Args:
        padding_idx: this row gets no gradient.
        max_norm: rows that are looked up are first scaled down to this norm, in place.
        scale_grad_by_freq: divide a row's gradient by how often it occurs in ``input``.

    Raises:
        IndexError: an index is outside ``[0, V)``.
        NotImplementedError: ``sparse=True``.
    """
    _refuse_sparse(sparse)
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    return dispatch(_EMBEDDING, (input, weight), (padding_idx, bool(scale_grad_by_freq)))


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """Sums, means or maxima of bags of rows of ``weight``.

    ``(B, N)``, or ``(N,)`` with ``offsets`` ``(B,)``, to ``(B, D)``.

    Raises:
        ValueError: offsets given for 2-d input or missing for 1-d input, or an unknown ``mode``.
        NotImplementedError: ``sparse=True``, or per-sample weights with a mode other than ``"sum"``.
    """
    _refuse_sparse(sparse)
    if weight.dtype is jtorch.int64 and input.is_floating_point():
        raise TypeError("Argument order of nn.functional.embedding_bag is (input, weight): input must hold the indices")
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    statics = (mode, bool(scale_grad_by_freq), bool(include_last_offset), padding_idx)
    return dispatch(_BAG, (input, weight, offsets, per_sample_weights), statics)


def one_hot(tensor, num_classes=-1):
    """A new last dimension with 1 at the index and 0 elsewhere: ``(*) -> (*, num_classes)``, int64.

    With ``num_classes=-1`` it is the largest index plus one, which has to be read.

    Raises:
        RuntimeError: a class is out of range, the dtype is not int64, or there is nothing to infer the classes from.
    """
    if num_classes == -1:
        if tensor.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max().item()) + 1
    return _one_hot(tensor, num_classes)
