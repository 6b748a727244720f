"""``torch.PyTorchFileReader``: the records of a file that ``save`` wrote, one by one."""

from __future__ import annotations

import jtorch

from .format import ZipReader, is_path


class PyTorchFileReader:
    """Reads records of an archive by name; tensors' bytes are ``data/0``, ``data/1``, ..., the pickle is ``data.pkl``.

    Args:
        name_or_buffer: a path, or a readable and seekable stream.

    Raises:
        RuntimeError: not such an archive, or (of the methods) there is no such record.
    """

    def __init__(self, name_or_buffer):
        stream = open(name_or_buffer, "rb") if is_path(name_or_buffer) else name_or_buffer  # noqa: SIM115 (kept open)
        self._reader = ZipReader(stream)

    def has_record(self, name: str) -> bool:
        """Whether there is such a record."""
        return name in self._reader

    def get_record(self, name: str) -> bytes:
        """A record's bytes."""
        return self._reader.read(name)

    def get_all_records(self) -> list[str]:
        """The names."""
        return self._reader.names()

    def get_storage_from_record(self, name: str, numel: int, dtype) -> jtorch.Tensor:
        """The first ``numel`` elements of a record as a tensor; with a storage class instead of a dtype, bytes."""
        kind = dtype if isinstance(dtype, jtorch.dtype) else jtorch.uint8
        data = self._reader.array(name)[: numel * kind.itemsize]
        return jtorch.from_numpy(data).view(kind)


__all__ = ["PyTorchFileReader"]
