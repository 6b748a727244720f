"""Every setting in one place. Environment variables are read once, at import; the attributes may be changed later.

==========================  ===========================================================================================
``JTORCH_LOGS``             comma-separated topics to print on stderr: ``flushes``, ``recompiles``, ``graph_breaks``
``JTORCH_CACHE_DIR``        folder of the persistent compilation cache; empty turns it off
``JTORCH_KEEP_PROGRAMS``   ``0``: keep compiled programs in JAX's cache only (see ``trace/kept.py``)
``JTORCH_MAX_TRACE``        a trace is flushed when it holds this many calls
``JTORCH_MAX_WHOLE``        a longer program that repeats itself is compiled in pieces (see ``max_whole``)
``JTORCH_MAX_EXECUTABLES``  compiled programs kept in memory (least recently used goes first)
``JTORCH_QUICK_COMPILE``    ``1``: programs compile several times sooner and run slower (see ``quick_compile``)
``JTORCH_INTERPRET``        ``0``: compile programs however small they are (see ``interpret``)
``JTORCH_KEEP_MEMORY``      ``0``: leave the C library's allocator as it is (read in ``trace/allocator.py``)
``JTORCH_KEEP_AWAKE``       ``0``: let processors sleep on crowded virtual machines too (see ``trace/awake.py``)
==========================  ===========================================================================================
"""

from __future__ import annotations

import os

logs: set[str] = {topic.strip() for topic in os.environ.get("JTORCH_LOGS", "").split(",") if topic.strip()}
max_trace: int = int(os.environ.get("JTORCH_MAX_TRACE", "4000"))
#: A program of more calls that repeats itself (many equal layers) is compiled in pieces, equal ones once: it compiles
#: several times sooner, and is not fused across the cuts. Programs already compiled stay as they are.
max_whole: int = int(os.environ.get("JTORCH_MAX_WHOLE", "1000"))
max_executables: int = int(os.environ.get("JTORCH_MAX_EXECUTABLES", "512"))
cache_dir: str = os.environ.get(
    "JTORCH_CACHE_DIR",
    os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "jtorch", "xla"),
)
#: Keep, in the cache folder, what later processes need in order to run a known program without tracing it.
keep_programs: bool = os.environ.get("JTORCH_KEEP_PROGRAMS", "1") not in ("", "0")
#: Compile for programs that run once or twice (tests over many shapes): what is recorded and computed is the same,
#: XLA's CPU backend spends less on the code. Programs already compiled stay as they are.
quick_compile: bool = os.environ.get("JTORCH_QUICK_COMPILE", "") not in ("", "0")
#: Run small programs by NumPy until they have run so often that compiling them pays (see ``trace/host.py``).
interpret: bool = os.environ.get("JTORCH_INTERPRET", "1") not in ("", "0")
#: Keep the processors of a virtual machine awake while programs run, if its host is seen to take them away.
keep_awake: bool = os.environ.get("JTORCH_KEEP_AWAKE", "1") not in ("", "0")
#: Training steps compute the same however often they have run (``use_deterministic_algorithms``).
deterministic: bool = False
#: float32 matrix products: "highest" (full float32), "high" or "medium"; processors without AMX know only the first
float32_matmul_precision: str = "highest"
#: Called when a setting changes that recorded calls were traced under.
on_change: list = []


def set_float32_matmul_precision(precision: str) -> None:
    """Set the precision of float32 products; what was traced under another one is forgotten."""
    global float32_matmul_precision
    if precision != float32_matmul_precision:
        float32_matmul_precision = precision
        for callback in on_change:
            callback()


def fills_unwritten() -> bool:
    """Whether deterministic mode fills what was not written: replaced by ``utils/deterministic.py``, which is asked."""
    return True
