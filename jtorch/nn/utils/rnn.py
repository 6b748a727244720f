"""Sequences of different lengths: padded, and packed (only the positions that exist, step by step)."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

import jtorch

from ...tensor import Tensor


class Packing:
    """How packed rows lie in a padded ``(T, B)`` grid. ``sizes[t]`` sequences are longer than ``t``."""

    _cache: dict[tuple[int, ...], Packing] = {}

    def __init__(self, sizes: tuple[int, ...]):
        self.steps, self.batch = len(sizes), sizes[0] if sizes else 0
        counts = np.asarray(sizes, np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        column = np.arange(self.batch)
        inside = column < counts[:, None]
        rows = np.where(inside, starts[:, None] + column, 0)
        self._inside, self._rows = inside, rows.reshape(-1)
        self._positions = np.flatnonzero(inside.reshape(-1))
        self._lengths = inside.sum(0).astype(np.int64)

    @classmethod
    def of(cls, batch_sizes) -> Packing:
        """The packing of a PackedSequence's ``batch_sizes``."""
        sizes = tuple(batch_sizes.tolist())
        found = cls._cache.get(sizes)
        if found is None:
            if len(cls._cache) > 256:
                cls._cache.clear()
            found = cls._cache[sizes] = cls(sizes)
        return found

    def lengths(self, device) -> Tensor:
        """The length of each sequence ``(B,)``, as a tensor."""
        return jtorch.from_numpy(self._lengths).to(device)

    def pad(self, data, padding_value: float | None = None):
        """Packed rows ``(N, *)`` as ``(T, B, *)``; what lies outside is ``padding_value``, or anything if None."""
        index = jtorch.from_numpy(self._rows).to(data.device)
        out = data.index_select(0, index).view(self.steps, self.batch, *data.shape[1:])
        if padding_value is None:
            return out
        outside = jtorch.from_numpy(~self._inside).to(data.device)
        return out.masked_fill(outside.view(self.steps, self.batch, *(1,) * (data.dim() - 1)), padding_value)

    def pack(self, padded):
        """The rows of ``(T, B, *)`` that exist, ``(N, *)``."""
        index = jtorch.from_numpy(self._positions).to(padded.device)
        return padded.reshape(self.steps * self.batch, *padded.shape[2:]).index_select(0, index)


_Fields = namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])
_Fields.__annotations__ = {
    "data": Tensor, "batch_sizes": Tensor, "sorted_indices": Tensor | None, "unsorted_indices": Tensor | None,
}  # fmt: skip


class PackedSequence(_Fields):
    """Sequences of a batch, step by step: ``data`` holds first all first elements, then all second ones, and so on.

    Attributes:
        batch_sizes: how many sequences have each step (int64, on the CPU).
        sorted_indices: where the sorted sequences were in the batch, or None.
        unsorted_indices: the inverse.
    """

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise ValueError("PackedSequence expects (data, batch_sizes), or the two in one tuple")
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequence in nn.utils.rnn."
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __getnewargs__(self):
        return tuple(self)

    def to(self, *args, **kwargs):
        """The sequence with ``data`` converted; see ``Tensor.to``."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        options = {k: v for k, v in kwargs.items() if k in ("device", "non_blocking")}
        device = options.pop("device", data.device)
        moved = (None if i is None else i.to(device, **options) for i in (self.sorted_indices, self.unsorted_indices))
        return type(self)(data, self.batch_sizes, *moved)

    def cpu(self):
        return self.to(device="cpu")

    def cuda(self, device=None):
        return self.to(device="cuda" if device is None else device)

    def double(self):
        return self.to(dtype=jtorch.float64)

    def float(self):
        return self.to(dtype=jtorch.float32)

    def half(self):
        return self.to(dtype=jtorch.float16)

    def long(self):
        return self.to(dtype=jtorch.int64)

    def int(self):
        return self.to(dtype=jtorch.int32)

    def pin_memory(self):
        """Self: XLA stages host memory by itself."""
        return self

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        return self.data.is_pinned()


def invert_permutation(permutation):
    """The permutation that undoes ``permutation`` (None: None)."""
    if permutation is None:
        return None
    out = jtorch.empty_like(permutation)
    return out.scatter_(
        0, permutation, jtorch.arange(permutation.numel(), dtype=permutation.dtype, device=permutation.device)
    )


def pack_padded_sequence(input, lengths, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """A padded batch ``(T, B, *)`` without its padding.

    Args:
        lengths: of each sequence; a CPU tensor or a list.
        batch_first: ``input`` is ``(B, T, *)``.
        enforce_sorted: the sequences come longest first; without it they are sorted.

    Raises:
        RuntimeError: a length is 0, the lengths are not sorted, or their number is not the batch's.
    """
    if isinstance(lengths, Tensor):
        if lengths.device.type != "cpu":
            raise RuntimeError(
                f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D {lengths.device} "
                f"{lengths.dtype.legacy_name} tensor"
            )
        lengths = lengths.tolist()
    lengths = np.asarray(lengths, np.int64)
    if batch_first:
        input = input.transpose(0, 1)
    if lengths.size != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {lengths.size} (batch_size={input.shape[1]})"
        )
    if lengths.size and lengths.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    sorted_indices = None
    if enforce_sorted:
        if (np.diff(lengths) > 0).any():
            raise RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
                "you do not need ONNX exportability."
            )
    else:
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        sorted_indices = jtorch.from_numpy(order).to(input.device)
        input = input.index_select(1, sorted_indices)
    if lengths.size and lengths[0] > input.shape[0]:
        raise RuntimeError(
            f"Expected all lengths to be at most the number of steps, {input.shape[0]}, but the longest is {lengths[0]}"
        )
    sizes = (np.arange(lengths[0])[:, None] < lengths).sum(1).astype(np.int64)
    batch_sizes = jtorch.from_numpy(sizes)
    data = Packing.of(batch_sizes).pack(input[: len(sizes)])
    return PackedSequence(data, batch_sizes, sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
):
    """The padded batch ``(T, B, *)`` of a packed one, and the lengths of its sequences.

    Args:
        batch_first: return ``(B, T, *)``.
        total_length: pad to this length.

    Raises:
        ValueError: ``total_length`` is less than the longest sequence.
    """
    packing = Packing.of(sequence.batch_sizes)
    if total_length is not None and total_length < packing.steps:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {packing.steps}"
        )
    out = packing.pad(sequence.data, padding_value)
    if total_length is not None and total_length > packing.steps:
        shape = (total_length - packing.steps, *out.shape[1:])
        out = jtorch.cat([out, jtorch.full(shape, padding_value, dtype=out.dtype, device=out.device)])
    lengths = packing.lengths("cpu")
    if sequence.unsorted_indices is not None:
        out = out.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (out.transpose(0, 1) if batch_first else out), lengths


def pad_sequence(sequences, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"):
    """Tensors ``(T_i, *)`` as one ``(max T, B, *)`` (``(B, max T, *)`` with ``batch_first``).

    Raises:
        RuntimeError: no tensors, trailing sizes that differ, or another ``padding_side``.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, (list, tuple)):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if not len(sequences):
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        if s.shape[1:] != sequences[0].shape[1:]:
            raise RuntimeError(
                f"pad_sequence: sizes after the first must be equal, got {tuple(s.shape)} and "
                f"{tuple(sequences[0].shape)}"
            )
        missing = longest - s.shape[0]
        if missing:
            fill = jtorch.full((missing, *s.shape[1:]), padding_value, dtype=s.dtype, device=s.device)
            s = jtorch.cat([fill, s] if padding_side == "left" else [s, fill])
        padded.append(s)
    return jtorch.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first: bool = False) -> list:
    """The tensors ``(T_i, *)`` of a padded batch."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[:n] for s, n in zip(padded_sequences.unbind(0), _listed(lengths), strict=True)]


def _listed(lengths) -> list:
    return lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)


def pack_sequence(sequences, enforce_sorted: bool = True) -> PackedSequence:
    """Tensors ``(T_i, *)`` as one packed sequence."""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list:
    """The tensors ``(T_i, *)`` of a packed sequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
