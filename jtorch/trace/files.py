"""Private folders, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def private_folder(folder: str) -> bool:
    """Make a folder private (mode 0700), and make it if need be; False if that cannot be, or it is somebody else's."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
        if status.st_uid != os.getuid():
            return False
        if status.st_mode & 0o077:
            os.chmod(folder, 0o700)
    except OSError:
        return False
    return True


def replace(path: Path, data: bytes) -> None:
    """Write a file (mode 0600) in place of another, at once.

    Raises:
        OSError: it could not be written; then nothing has changed.
    """
    handle, new = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
