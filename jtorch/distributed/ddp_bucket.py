"""What a communication hook of ``DistributedDataParallel`` is given."""

from __future__ import annotations


class GradBucket:
    """The gradients of some parameters, one after the other in one dimension."""

    def __init__(self, index: int, buffer, parameters: list, last: bool):
        self._index, self._buffer, self._parameters, self._last = index, buffer, parameters, last

    def index(self) -> int:
        """The bucket's number."""
        return self._index

    def buffer(self):
        """All gradients in one dimension."""
        return self._buffer

    def set_buffer(self, tensor) -> None:
        """Replace :meth:`buffer`."""
        self._buffer = tensor

    def gradients(self) -> list:
        """The gradients by themselves."""
        sizes = [p.numel() for p in self._parameters]
        pieces = self._buffer[: sum(sizes)].split(sizes)
        return [t.view(p.shape) for t, p in zip(pieces, self._parameters, strict=True)]

    def parameters(self) -> list:
        """The parameters they belong to."""
        return self._parameters

    def is_last(self) -> bool:
        """Whether no bucket comes after this one."""
        return self._last
