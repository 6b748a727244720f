"""``torch.cpu``: the CPU, asked the questions one asks of an accelerator."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Mapping
from types import MappingProxyType

from ..trace.recorder import sync
from . import amp


def is_available() -> bool:
    """True: there is always a CPU."""
    return True


def device_count() -> int:
    """1, however many cores it has."""
    return 1


def current_device() -> str:
    """``"cpu"``."""
    return "cpu"


def synchronize(device=None) -> None:
    """Wait until everything recorded on this thread has run."""
    sync()


def is_initialized() -> bool:
    """True: nothing has to be started."""
    return True


def set_device(device) -> None:
    """Accepted: there is one."""


class Stream:
    """The CPU's one queue of programs."""

    def __init__(self, priority: int = -1):
        pass

    def wait_stream(self, stream) -> None:
        """Already so: programs run in the order they were started."""

    def record_event(self, event=None) -> None:
        """Accepted."""

    def wait_event(self, event) -> None:
        """Already so."""


class Event:
    """A point in the program, which is reached once all before it has run."""

    def query(self) -> bool:
        """Whether everything before has run; this waits for it, and so answers True."""
        sync()
        return True

    def record(self, stream=None) -> None:
        """Accepted."""

    def synchronize(self) -> None:
        """Wait until everything recorded has run."""
        sync()

    wait = record


_current = Stream()


def current_stream(device=None) -> Stream:
    """The stream of the innermost ``with stream(...)``."""
    return _current


class StreamContext(contextlib.AbstractContextManager):
    """``with StreamContext(s):`` makes ``s`` the current stream; None changes nothing."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        global _current
        self.before = _current
        if self.stream is not None:
            _current = self.stream

    def __exit__(self, *exc) -> None:
        global _current
        _current = self.before


def stream(stream: Stream | None) -> StreamContext:
    """A context in which ``stream`` is the current one."""
    return StreamContext(stream)


#: Extensions as PyTorch names them; Linux writes most of them without the underscores, and some otherwise.
_EXTENSIONS = (
    "sse", "sse2", "sse3", "ssse3", "sse4_1", "sse4_2", "sse4a", "avx", "avx2", "avx_vnni", "fma3", "fma4", "f16c",
    "avx512_f", "avx512_cd", "avx512_dq", "avx512_bw", "avx512_vl", "avx512_ifma", "avx512_vbmi", "avx512_vbmi2",
    "avx512_bitalg", "avx512_vpopcntdq", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_vp2intersect",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "aes", "sha", "popcnt", "lzcnt", "bmi", "bmi2", "clflush",
    "clflushopt", "clwb",
)  # fmt: skip
_FLAGS = {"sse3": "pni", "fma3": "fma", "sha": "sha_ni", "lzcnt": "abm", "bmi": "bmi1"}


@functools.cache
def get_capabilities() -> Mapping[str, bool | int | str]:
    """The processor: which extensions of its instructions it has, its ``architecture``, name and number of cores.

    Extensions have PyTorch's names (``avx512_f``); outside Linux none is known.
    """
    from ..backends.cpu import processor_flags

    flags = {flag.replace("_", "") for flag in processor_flags()}
    found = {name: _FLAGS.get(name, name).replace("_", "") in flags for name in _EXTENSIONS}
    cores = {"num_logical_cores": os.cpu_count() or 1}
    return MappingProxyType({"architecture": platform.machine(), "cpu_name": platform.processor(), **cores, **found})


__all__ = [
    "Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count", "get_capabilities",
    "is_available", "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip
