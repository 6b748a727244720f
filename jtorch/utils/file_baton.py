"""``torch.utils.file_baton``: one of several processes does a thing, the others wait for it."""

from __future__ import annotations

import os
import time
import warnings


class FileBaton:
    """A lock that is a file: held while ``lock_file_path`` exists.

    Args:
        wait_seconds: how often a waiting process looks.
        warn_after_seconds: after how long it says once what it waits for (default: never).
    """

    def __init__(self, lock_file_path, wait_seconds: float = 0.1, warn_after_seconds: float | None = None):
        self.lock_file_path, self.wait_seconds = lock_file_path, wait_seconds
        self.warn_after_seconds, self.fd = warn_after_seconds, None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it; whether that was so."""
        try:
            self.fd = os.open(self.lock_file_path, os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        return True

    def wait(self) -> None:
        """Wait until the holder has released the lock."""
        start, warned = time.monotonic(), self.warn_after_seconds is None
        while os.path.exists(self.lock_file_path):
            time.sleep(self.wait_seconds)
            if not warned and time.monotonic() - start > self.warn_after_seconds:
                warned = True
                warnings.warn(
                    f"waited {self.warn_after_seconds} s for {self.lock_file_path}; delete it if no process holds it",
                    stacklevel=2,
                )

    def release(self) -> None:
        """Give the lock back."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        os.remove(self.lock_file_path)
