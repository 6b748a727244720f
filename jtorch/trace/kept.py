"""What JAX and XLA found out about calls and programs, kept for later processes.

JAX's own compilation cache is asked once a program has been traced and lowered, which takes longer than a small
network's first steps. What was recorded identifies a program just as well: a call by its operation, static attributes
and operands, a program by its calls. So two things are kept beside JAX's cache, in a folder for this version of this
package's source, of JAX, of the processor and of the threads it gives:

- facts about calls, a line each: what their results look like, which residuals their derivatives save;
- compiled programs.

Only operations of this package have such names. A call of a function from elsewhere has none, nor has a program with
one; they are traced anew. So are programs that call functions outside XLA (LAPACK's, say): JAX makes those ready when
it lowers the program.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import threading
import time
from pathlib import Path

import jax

from .. import config, devices, dtypes
from ..ops.registry import Op
from ..size import Size
from . import files
from .ahead import Ahead
from .aval import SCALAR_AVALS, Aval, aval
from .jaxapi import compiler_options, deserialize, host_threads, serialize, stands_alone, x64

#: programs that compile sooner than this many seconds are not kept
_WORTH = 0.05
#: facts are forgotten when their file is larger than this many bytes
_MOST = 8 << 20
#: folders of other versions are removed when nothing in them changed for so many seconds
_OLD = 30 * 24 * 3600
_PACKAGE = Path(__file__).parents[1]
#: where the operations are whose names say all about them
_OURS = tuple(f"{__package__.split('.')[0]}.{name}." for name in ("ops", "tape", "tensor", "functions"))

_lock = threading.RLock()
_opened: dict[str, Store] = {}
_ahead: dict[tuple, Ahead] = {}  # by cache folder and device


class Store:
    """What is kept in one folder."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.facts: dict[str, str] = {}  # the values are read when they are asked for
        if folder is None:
            return
        try:
            lines = (folder / "facts").read_text().splitlines() if (folder / "facts").exists() else []
            if sum(map(len, lines)) > _MOST:
                (folder / "facts").unlink()
                lines = []
            self.facts = dict(line.split(" ", 1) for line in lines if " " in line and line[-1] == "]")
        except (OSError, ValueError):
            self.facts = {}

    def add(self, name: str, value: list) -> None:
        line = json.dumps(value, separators=(",", ":"))
        with _lock:
            if self.facts.setdefault(name, line) is line and self.folder is not None:
                try:
                    with open(self.folder / "facts", "a", opener=_private) as file:
                        file.write(f"{name} {line}\n")
                except OSError:
                    self.folder = None


def _private(path, flags):
    return os.open(path, flags, 0o600)


def _store() -> Store | None:
    if not config.keep_programs or not config.cache_dir:
        return None
    found = _opened.get(config.cache_dir)
    if found is None:
        with _lock:
            found = _opened.get(config.cache_dir)
            if found is None:
                found = _opened[config.cache_dir] = Store(_folder(Path(config.cache_dir)))
    return found


def _folder(cache: Path) -> Path | None:
    """The folder for this version, made if need be; None where it cannot be a private one."""
    home = cache / "kept"
    version = home / _version()
    if not (files.private_folder(str(cache)) and files.private_folder(str(home))):
        return None
    new = not version.exists()
    if not files.private_folder(str(version)):
        return None
    if new:
        for other in home.iterdir():
            if other != version and time.time() - other.stat().st_mtime > _OLD:
                shutil.rmtree(other, ignore_errors=True)
    return version


def _version() -> str:
    """Changes whenever a call or its code might be another: with this source, JAX, the processor, the threads."""
    parts = [sys.version, platform.machine(), _processor(), f"{host_threads()} threads"]
    parts += [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "numpy", "optax")]
    for folder, _, names in sorted(os.walk(_PACKAGE)):
        for name in sorted(names):
            if name.endswith(".py"):
                status = os.stat(os.path.join(folder, name))
                parts.append(f"{os.path.relpath(folder, _PACKAGE)}/{name} {status.st_size} {status.st_mtime_ns}")
    return _digest("\n".join(parts))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return "".join(sorted({line for line in file if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        return platform.processor()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- names ---------------------------------------------------------------------------------------------------------


class Nameless(Exception):
    """Something cannot be told by its text."""


def call_name(op: Op, statics: tuple, keys: tuple, platform: str) -> str | None:
    """A name for the call, the same in every process; None where there is none, or where nothing is kept."""
    if _store() is None or not op.fn.__module__.startswith(_OURS):
        return None
    try:
        text = f"{op.name}|{_spell(statics)}|{_spell(keys)}"
    except Nameless:
        return None
    return _digest(f"{text}|{platform}|{config.float32_matmul_precision}|{dtypes.get_default_dtype()}")


def _spell(x) -> str:
    if x is None or x is Ellipsis or x.__class__ in (bool, int, float, complex, str, bytes):
        return repr(x)
    if isinstance(x, (tuple, Size)):
        return f"({','.join(map(_spell, x))})"
    if isinstance(x, Aval):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, slice):
        return f"slice{_spell((x.start, x.stop, x.step))}"
    if isinstance(x, (dtypes.dtype, devices.device)) or (isinstance(x, type) and x in SCALAR_AVALS):
        return repr(x)
    raise Nameless


# --- facts about calls ---------------------------------------------------------------------------------------------


def fact(name: str | None) -> list | None:
    """What was kept under a name."""
    store = _store() if name is not None else None
    line = None if store is None else store.facts.get(name)
    if line is None:
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def keep_fact(name: str | None, value: list) -> None:
    store = _store() if name is not None else None
    if store is not None:
        store.add(name, value)


def to_text(avals: tuple[Aval, ...]) -> list:
    return [[a.dtype.name, *a.shape] for a in avals]


def from_text(avals: list) -> tuple[Aval, ...]:
    return tuple([aval(tuple(shape), dtypes.of_name(name)) for name, *shape in avals])


# --- programs ------------------------------------------------------------------------------------------------------


def program_name(program, constants: dict, varying: tuple[int, ...], donate, device, quick: bool) -> str | None:
    """A name for a program on a device, compiled quickly or not; None where one of its calls has none."""
    store = _store()
    if store is None or store.folder is None or any(s.call.kept_as is None for s in program.steps):
        return None
    settings = [item for item in jax.config.values.items() if not item[0].endswith(("_dir", "_to"))]
    parts = (
        [(s.call.kept_as, s.operands) for s in program.steps], program.outputs, program.guards, program.checks,
        program.leaf_avals, program.n_hypers, [k.__name__ for k in program.scalar_kinds],
        [(i, x.__class__.__name__, repr(x)) for i, x in constants.items()], varying, donate,
        (device.platform, device.device_kind, device.id, jax.local_device_count(device.platform)),
        device.client.platform_version, sorted(compiler_options(device.platform, quick).items()), sorted(settings),
        [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")],
    )  # fmt: skip
    return _digest(repr(parts))


def load_ahead(device) -> Ahead | None:
    """What the script that runs begins with on a device; called once the device is used."""
    store = _store()
    if store is None or store.folder is None:
        return None
    key = config.cache_dir, device
    found = _ahead.get(key)
    if found is None:
        with _lock:
            found = _ahead.get(key)
            if found is None:
                found = _ahead[key] = Ahead(
                    store.folder, _note_of(store.folder), functools.partial(_load, store.folder, device)
                )
    return found


def _note_of(folder: Path) -> Path | None:
    """The file that names the first programs of the script that runs; None if it is none (an interactive session)."""
    script = sys.argv[0] if sys.argv else ""
    return folder / f"first-{_digest(os.path.abspath(script))}" if os.path.isfile(script) else None


def _load(folder: Path, device, name: str):
    path = folder / name
    try:
        with x64(True):
            return deserialize(path.read_bytes(), device)
    except FileNotFoundError:
        return None
    except Exception:  # of another release after all, or cut short: compile it again
        path.unlink(missing_ok=True)
        return None


def program(name: str | None, device):
    """The compiled program kept under a name, loaded onto the device, or None."""
    first = load_ahead(device) if name is not None else None
    if first is None:
        return None
    found = first.take(name)
    if found is not None:
        first.used(name)
    return found


def keep_program(name: str | None, device, lowered, compiled, seconds: float) -> None:
    """Keep a program that took so long to compile, if it stands alone."""
    if name is None or seconds < _WORTH or not stands_alone(lowered):
        return
    folder = _store().folder
    try:
        files.replace(folder / name, serialize(compiled))
        load_ahead(device).used(name)
    except Exception:  # nothing depends on it: a full disk, or a program of a kind that JAX cannot write
        return


devices.on_first_use.append(load_ahead)
