"""Files: their names, their streams, and what they hold."""

from __future__ import annotations

import fnmatch
import os
import warnings

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of
from jtorch.utils.data.datapipes.iter.samples import IterableWrapperIterDataPipe
from jtorch.utils.data.datapipes.utils.common import StreamWrapper


@functional_datapipe("list_files")
class FileListerIterDataPipe(IterDataPipe):
    """The paths of the files in ``root`` (a folder, a file, several, or a pipe of them).

    Args:
        masks: Unix-style patterns of the names to keep; empty keeps all.
        recursive: those in sub-folders too.
        abspath: absolute paths.
        non_deterministic: leave the order to the file system.
        length: what ``len()`` of the pipe is to be.
    """

    def __init__(
        self,
        root=".",
        masks="",
        recursive: bool = False,
        abspath: bool = False,
        non_deterministic: bool = False,
        length: int = -1,
    ):
        if isinstance(root, str):
            root = [root]
        self.datapipe = root if isinstance(root, IterDataPipe) else IterableWrapperIterDataPipe(root)
        self.masks = [masks] if isinstance(masks, str) and masks else list(masks)
        self.recursive, self.abspath, self.non_deterministic = recursive, abspath, non_deterministic
        self.length = length

    def _wanted(self, name: str) -> bool:
        return not self.masks or any(fnmatch.fnmatch(name, mask) for mask in self.masks)

    def _files(self, root: str):
        if self.abspath:
            root = os.path.abspath(root)
        if os.path.isfile(root):
            yield root
            return
        for path, folders, names in os.walk(root, onerror=_raise):
            if not self.recursive:
                folders.clear()
            if not self.non_deterministic:
                names.sort()
                folders.sort()
            for name in names:
                yield os.path.join(path, name)

    def __iter__(self):
        for root in self.datapipe:
            for path in self._files(root):
                if self._wanted(os.path.basename(path)):
                    yield path

    def __len__(self) -> int:
        if self.length == -1:
            raise TypeError(f"{type(self).__name__} instance doesn't have valid length")
        return self.length


def _raise(error: OSError):
    warnings.warn(f"{error.filename} : {error.strerror}", stacklevel=2)
    raise error


@functional_datapipe("open_files")
class FileOpenerIterDataPipe(IterDataPipe):
    """``(path, stream)`` of each path; ``mode`` and ``encoding`` as of :func:`open`."""

    def __init__(self, datapipe, mode: str = "r", encoding: str | None = None, length: int = -1):
        if mode not in ("b", "t", "rb", "rt", "r"):
            raise ValueError(f"Invalid mode {mode}")
        if "b" in mode and encoding is not None:
            raise ValueError("binary mode doesn't take an encoding argument")
        self.datapipe, self.encoding, self.length = datapipe, encoding, length
        self.mode = "r" + mode if mode in ("b", "t") else mode

    def __iter__(self):
        for path in self.datapipe:
            if not isinstance(path, str):
                raise TypeError(f"Expected string type for pathname, but got {type(path)}")
            yield path, StreamWrapper(open(path, self.mode, encoding=self.encoding))  # noqa: SIM115 (the reader closes it)

    def __len__(self) -> int:
        return self.length if self.length != -1 else length_of(self.datapipe, self)


@functional_datapipe("read_from_stream")
class StreamReaderIterDataPipe(IterDataPipe):
    """``(label, data)`` of each ``(label, stream)``: all of it, or ``chunk`` bytes at a time."""

    def __init__(self, datapipe, chunk: int | None = None):
        self.datapipe, self.chunk = datapipe, chunk

    def __iter__(self):
        for label, stream in self.datapipe:
            while data := stream.read(self.chunk):
                yield label, data
            stream.close()
