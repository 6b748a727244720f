"""Sequences of different lengths: padded, and packed (only the positions that exist, step by step).

A program is compiled for each shape, and packed rows have another number in nearly every batch. So what is packed here
stays a padded grid with lengths, which are data, until somebody asks for the rows; recurrent layers take the grid.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

import jtorch

from ... import devices
from ...ops.registry import OPS
from ...tensor import Tensor
from ...tensor.dispatch import dispatch, wrap
from ...tensor.random import host_mask
from ...trace import capture
from ...trace.value import put
from ..functional.dropout import dropout, keep_scale

_DROPOUT = OPS["_dropout"]


def _at_hand(t: Tensor) -> np.ndarray | None:
    """The values, if they are in the host's memory already, no gradient is asked of them, and nothing is replayed."""
    if t.requires_grad or capture.current() is not None:
        return None
    return t._seen("sequences of different lengths")


def _on_cpu(array: np.ndarray) -> Tensor:
    return wrap(put(array, devices.CPU))


def _rounded(steps: int) -> int:
    """A number of steps that many batches share: the next 2ⁿ or 3·2ⁿ."""
    power = 1 << max(steps - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and steps <= power * 3 // 4 else power


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

    def outside(self, steps: int, device, dims: int) -> Tensor:
        """The mask ``(steps, B, 1, ...)``, of ``dims`` dimensions, of the positions that do not exist."""
        mask = np.arange(steps)[:, None] >= self._lengths
        return jtorch.from_numpy(mask).to(device).view(steps, self.batch, *(1,) * (dims - 2))

    def pad(self, data):
        """Packed rows ``(N, *)`` as ``(T, B, *)``; any values lie outside."""
        index = jtorch.from_numpy(self._rows).to(data.device)
        return data.index_select(0, index).view(self.steps, self.batch, *data.shape[1:])

    def pack(self, padded):
        """The rows of ``(T, B, *)``, or of a longer grid, that exist: ``(N, *)``."""
        index = jtorch.from_numpy(self._positions).to(padded.device)
        return padded.reshape(padded.shape[0] * self.batch, *padded.shape[2:]).index_select(0, index)

    def dropout(self, padded, p: float):
        """Dropout of a grid in training. On the CPU the draws are those for packed rows, as PyTorch's are."""
        if padded.device is not devices.CPU or not 0 < p < 1:
            return dropout(padded, p)
        mask = host_mask(padded, 1.0 - p, shape=(len(self._positions), *padded.shape[2:]))
        drawn = _at_hand(mask)
        if drawn is None:
            return self._grid(dropout(self.pack(padded), p), padded.shape[0])
        grid = np.zeros(tuple(padded.shape), bool)
        grid.reshape(-1, *padded.shape[2:])[self._positions] = drawn
        return dispatch(_DROPOUT, (padded, _on_cpu(grid), keep_scale(p, padded.dtype)), ())

    def _grid(self, data, steps: int):
        """Packed rows as ``(steps, B, *)``, with as many or more steps."""
        out = self.pad(data)
        if steps == self.steps:
            return out
        return jtorch.cat([out, out.new_zeros(steps - self.steps, *out.shape[1:])])


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

    _grid = None  # (T, B, *) in the order of the sorted sequences, with any number of steps that is enough
    _rows = None  # what was computed from it

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

    @classmethod
    def _of_grid(cls, grid, batch_sizes, sorted_indices, unsorted_indices=None):
        """The sequence whose rows are those of a grid that exist."""
        made = cls(None, batch_sizes, sorted_indices, unsorted_indices)
        made._grid = grid
        return made

    @property
    def data(self):
        """The rows that exist, ``(N, *)``."""
        if self._grid is None:
            return tuple.__getitem__(self, 0)
        if self._rows is None:
            self._rows = Packing.of(self.batch_sizes).pack(self._grid)
        return self._rows

    # As a tuple it holds ``data``, which may not be computed yet.

    def __iter__(self):
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __getitem__(self, index):
        return tuple(self)[index]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({fields})"

    def __reduce__(self):
        return type(self), tuple(self)

    def _contents(self) -> Tensor:
        """The grid where there is one, else the rows."""
        return self.data if self._grid is None else self._grid

    def to(self, *args, **kwargs):
        """The sequence with ``data`` converted; see ``Tensor.to``."""
        contents = self._contents()
        moved = contents.to(*args, **kwargs)
        if moved is contents:
            return self
        options = {k: v for k, v in kwargs.items() if k in ("device", "non_blocking")}
        device = options.pop("device", moved.device)
        orders = (None if i is None else i.to(device, **options) for i in (self.sorted_indices, self.unsorted_indices))
        return (type(self) if self._grid is None else self._of_grid)(moved, self.batch_sizes, *orders)

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

    def short(self):
        return self.to(dtype=jtorch.int16)

    def char(self):
        return self.to(dtype=jtorch.int8)

    def byte(self):
        return self.to(dtype=jtorch.uint8)

    def pin_memory(self):
        """Self: XLA stages host memory by itself."""
        return self

    @property
    def is_cuda(self) -> bool:
        return self._contents().is_cuda

    def is_pinned(self) -> bool:
        return self._contents().is_pinned()


def invert_permutation(permutation):
    """The permutation that undoes ``permutation`` (None: None)."""
    if permutation is None:
        return None
    order = _at_hand(permutation)
    if order is not None:
        return _on_cpu(np.argsort(order))
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
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if lengths.size != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {lengths.size} (batch_size={input.shape[1]})"
        )
    if lengths.size and lengths.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    order = _order(lengths, enforce_sorted)
    longest = int(lengths.max(initial=0))
    if longest > input.shape[0]:
        raise RuntimeError(
            f"Expected all lengths to be at most the number of steps, {input.shape[0]}, but the longest is {longest}"
        )
    sorted_indices = None
    if order is not None:
        lengths = lengths[order]
        sorted_indices = jtorch.from_numpy(order).to(input.device)
        input = input.index_select(1, sorted_indices)
    sizes = _sizes(lengths)
    # what lies outside must not matter, even where it is NaN
    grid = input.masked_fill(Packing.of(sizes).outside(input.shape[0], input.device, input.dim()), 0)
    return PackedSequence._of_grid(grid, sizes, sorted_indices)


def _order(lengths: np.ndarray, enforce_sorted: bool) -> np.ndarray | None:
    """The order, longest first, that sequences must be brought into; None for their own.

    Raises:
        RuntimeError: they should have been in it.
    """
    if not enforce_sorted:
        return np.argsort(-lengths, kind="stable")
    if (np.diff(lengths) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
            "you do not need ONNX exportability."
        )
    return None


def _sizes(lengths: np.ndarray) -> Tensor:
    """How many of the sorted sequences have each step."""
    return jtorch.from_numpy((np.arange(lengths.max(initial=0))[:, None] < lengths).sum(1).astype(np.int64))


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
    steps = packing.steps if total_length is None else total_length
    out = packing.pad(sequence.data) if sequence._grid is None else sequence._grid
    if out.shape[0] < steps:
        out = jtorch.cat([out, out.new_zeros(steps - out.shape[0], *out.shape[1:])])
    out = out[:steps].masked_fill(packing.outside(steps, out.device, out.dim()), padding_value)
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
    for s in sequences:
        if s.shape[1:] != sequences[0].shape[1:]:
            raise RuntimeError(
                f"pad_sequence: sizes after the first must be equal, got {tuple(s.shape)} and "
                f"{tuple(sequences[0].shape)}"
            )
    arrays = [_at_hand(s) for s in sequences]
    if all(a is not None and a.dtype == arrays[0].dtype for a in arrays):  # no program for each set of lengths
        grid = _padded(arrays, longest, padding_value, padding_side)
        return _on_cpu(np.ascontiguousarray(grid.swapaxes(0, 1)) if batch_first else grid)
    padded = []
    for s in sequences:
        missing = longest - s.shape[0]
        if missing:
            fill = jtorch.full((missing, *s.shape[1:]), padding_value, dtype=s.dtype, device=s.device)
            s = jtorch.cat([fill, s] if padding_side == "left" else [s, fill])
        padded.append(s)
    return jtorch.stack(padded, 0 if batch_first else 1)


def _padded(arrays: list, steps: int, value: float, side: str = "right") -> np.ndarray:
    """Arrays ``(T_i, *)`` as one ``(steps, B, *)``."""
    grid = np.full((steps, len(arrays), *arrays[0].shape[1:]), value, arrays[0].dtype)
    for i, a in enumerate(arrays):
        grid[slice(steps - len(a), None) if side == "left" else slice(len(a)), i] = a
    return grid


def unpad_sequence(padded_sequences, lengths, batch_first: bool = False) -> list:
    """The tensors ``(T_i, *)`` of a padded batch."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[:n] for s, n in zip(padded_sequences.unbind(0), _listed(lengths), strict=True)]


def _listed(lengths) -> list:
    return lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)


def pack_sequence(sequences, enforce_sorted: bool = True) -> PackedSequence:
    """Tensors ``(T_i, *)`` as one packed sequence."""
    lengths = np.array([s.shape[0] for s in sequences], np.int64)
    arrays = [_at_hand(s) for s in sequences]
    alike = {(None if a is None else a.dtype, tuple(s.shape[1:])) for a, s in zip(arrays, sequences, strict=True)}
    if len(alike) != 1 or arrays[0] is None or not lengths.all():
        return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)
    order = _order(lengths, enforce_sorted)
    if order is not None:
        lengths, arrays = lengths[order], [arrays[i] for i in order]
    grid = _on_cpu(_padded(arrays, _rounded(int(lengths[0])), 0))
    return PackedSequence._of_grid(grid, _sizes(lengths), None if order is None else _on_cpu(order))


def unpack_sequence(packed_sequences: PackedSequence) -> list:
    """The tensors ``(T_i, *)`` of a packed sequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
