"""Programs a script is known to start with are loaded while its Python code still reads data and builds networks.

Loading what is kept (:mod:`.kept`) takes one thread some tenths of a second, and the first step waits for it. A script
runs the same first programs each time, so their names are noted under its path, and another process begins to load
them on a thread of its own as soon as it uses a device. What it has not asked for among its first programs is dropped.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from . import files

#: programs noted for a script, and bytes of them
_FIRST, _MOST = 8, 64 << 20


class Ahead:
    """The first programs of this process's script.

    Args:
        folder: where programs are kept, by name.
        note: the file that names those of this script, or None.
        load: makes a program of its name, or None.
    """

    def __init__(self, folder: Path, note: Path | None, load):
        self._load = load
        self._lock = threading.Lock()
        self._file = note
        self._known = _names(self._file)
        self._used: list[str] = []
        self._asked = 0
        self._loading: dict[str, Future] = {}
        if self._known:
            pool = ThreadPoolExecutor(1, "jtorch-load")
            total = 0
            for name in self._known:
                try:
                    total += (folder / name).stat().st_size
                except OSError:
                    continue
                if total <= _MOST:
                    self._loading[name] = pool.submit(load, name)
            pool.shutdown(wait=False)

    def take(self, name: str):
        """The program of a name, from the thread if that has begun with it, or None if it is not kept."""
        with self._lock:
            begun = self._loading.pop(name, None)
            self._asked += 1
            if self._asked > 4 * _FIRST:
                self._drop()
        if begun is None or begun.cancel():
            return self._load(name)
        return begun.result()

    def used(self, name: str) -> None:
        """Note a program that is kept, for the next process."""
        with self._lock:
            if self._file is None or len(self._used) == _FIRST or name in self._used:
                return
            self._used.append(name)
            if self._known[: len(self._used)] != self._used:
                self._known = self._used.copy()
                with contextlib.suppress(OSError):  # a full disk: the next process loads them when it needs them
                    files.replace(self._file, "\n".join(self._known).encode())

    def _drop(self) -> None:
        for future in self._loading.values():
            future.cancel()
        self._loading.clear()


def _names(file: Path | None) -> list[str]:
    try:
        return [] if file is None else [n for n in file.read_text().split() if n.isalnum()][:_FIRST]
    except OSError:
        return []
