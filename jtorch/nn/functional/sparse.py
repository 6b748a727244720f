"""Lookups: embeddings and one-hot vectors."""

from __future__ import annotations

import warnings

import numpy as np

import jtorch

from ...ops.registry import OPS
from ...tape.node import Node
from ...tape.sparse import SparseGrad
from ...tensor.dispatch import dispatch, wrap
from ...tensor.export import function

_EMBEDDING, _BAG = OPS["_embedding"], OPS["_embedding_bag"]
_one_hot = function(OPS["one_hot"])


class _SparseEmbedding(Node):
    """Look-ups whose gradient names the rows that were looked up."""

    __slots__ = ("index", "shape", "padding_idx")

    def __init__(self, rows, index, weight, padding_idx):
        super().__init__([weight._history()], (rows._value().aval,), rows.device)
        self.index, self.shape, self.padding_idx = index, weight._value().aval, padding_idx

    def name(self) -> str:
        return "EmbeddingBackward0"

    def apply(self, grads, create_graph):
        if create_graph:
            raise RuntimeError(
                "embedding(sparse=True): a sparse gradient cannot be differentiated again (create_graph=True); leave "
                "out sparse=True"
            )
        index = self.index.reshape(-1)
        values = wrap(grads[0]).reshape((index.shape[0], self.shape.shape[1]))
        if self.padding_idx is not None:
            kept = np.flatnonzero(index._host("padding_idx of a sparse embedding") != self.padding_idx)
            kept = jtorch.tensor(kept, device=index.device)
            index, values = index[kept], values[kept]
        places = index.to(jtorch.int64).reshape((1, -1))
        return [SparseGrad(places._value(), values._value(), self.shape)]


def _sparse_lookup(input, weight, padding_idx):
    """The rows, with a sparse gradient where ``weight`` is a leaf that requires one."""
    rows = dispatch(_EMBEDDING, (input, weight.detach()), (None, False))
    if jtorch.is_grad_enabled() and weight.requires_grad:
        rows._edge = _SparseEmbedding(rows, wrap(input._value()), weight, padding_idx), 0
    return rows


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
        sparse: the gradient of ``weight``, where that is a leaf, is a sparse tensor of the rows that were looked up.

    Raises:
        IndexError: an index is outside ``[0, V)``.
        RuntimeError: ``sparse=True`` with ``scale_grad_by_freq``.
    """
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    if sparse and weight.is_leaf and weight.requires_grad:
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        return _sparse_lookup(input, weight, None if padding_idx is None else padding_idx % weight.shape[0])
    return dispatch(_EMBEDDING, (input, weight), (padding_idx, bool(scale_grad_by_freq)))


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """Sums, means or maxima of bags of rows of ``weight``.

    ``(B, N)``, or ``(N,)`` with ``offsets`` ``(B,)``, to ``(B, D)``.

    Raises:
        ValueError: offsets given for 2-d input or missing for 1-d input, or an unknown ``mode``.
        NotImplementedError: per-sample weights with a mode other than ``"sum"``, or ``sparse=True`` with
            ``padding_idx``, ``scale_grad_by_freq`` or the mode ``"max"``.
    """
    if weight.dtype is jtorch.int64 and input.is_floating_point():
        warnings.warn(
            "embedding_bag(weight, input) is the deprecated order of its arguments: write embedding_bag(input, weight)",
            stacklevel=2,
        )
        weight, input = input, weight
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    if sparse and weight.is_leaf and weight.requires_grad:
        if padding_idx is not None or scale_grad_by_freq or mode == "max":
            raise NotImplementedError(
                "embedding_bag(sparse=True) takes no padding_idx, scale_grad_by_freq or mode='max'; leave out "
                "sparse=True"
            )
        # the bags of rows that were looked up one by one
        weight = _sparse_lookup(input.reshape(-1), weight, None)
        input = jtorch.arange(input.numel(), dtype=input.dtype, device=input.device).reshape(tuple(input.shape))
    statics = (mode, bool(scale_grad_by_freq), bool(include_last_offset), padding_idx)
    return dispatch(_BAG, (input, weight, offsets, per_sample_weights), statics)


def one_hot(input, num_classes=-1):
    """A new last dimension with 1 at the index and 0 elsewhere: ``(*) -> (*, num_classes)``, int64.

    With ``num_classes=-1`` it is the largest index plus one, which has to be read.

    Raises:
        RuntimeError: a class is out of range, the dtype is not int64, or there is nothing to infer the classes from.
    """
    if num_classes == -1:
        if input.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(input.max().item()) + 1
    return _one_hot(input, num_classes)
