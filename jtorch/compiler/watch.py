"""Which code a function runs: a profile hook that is on while a function is being learnt.

It answers three questions: which of the program's own code objects run (what they can read must be guarded), which
names they and the library use (attributes under other names cannot have been read), and whether anything runs whose
result does not follow from what can be guarded (clocks, files, random generators, printing).
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
import sysconfig
import types
from collections import defaultdict

from ..errors import _OURS
from ..trace import capture as watching_trace

_STDLIB = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_SITE = tuple(os.path.realpath(sysconfig.get_path(k)) + os.sep for k in ("purelib", "platlib") if sysconfig.get_path(k))
#: installed packages whose functions depend on their arguments only
_TRUSTED = ("jax", "jaxlib", "numpy", "optax", "ml_dtypes", "scipy", "typing_extensions", "absl", "opt_einsum", "chex",
            "_distutils_hack")  # fmt: skip
#: parts of the standard library whose functions depend on their arguments only
_PURE_STDLIB = frozenset(
    """abc bisect cmath collections contextlib copy copyreg dataclasses enum fractions functools heapq inspect itertools
    keyword math numbers operator re reprlib string textwrap types typing weakref _collections_abc _weakrefset
    __future__ statistics decimal _pydecimal ast""".split()
)
#: parts of jtorch that deal with the world outside: what they return or do is not repeated by a replay
_WORLDLY = ("serialization", "distributed", "profiler", "hub", "multiprocessing", "shim", "interop")
_WORLDLY_FILES = tuple(os.path.join(_OURS, p) for p in _WORLDLY) + tuple(
    os.path.join(_OURS, "utils", p) for p in ("data", "tensorboard", "benchmark")
)

_PURE_BUILTINS = frozenset(
    getattr(builtins, n)
    for n in """abs all any ascii bin callable chr delattr divmod format getattr hasattr hex isinstance issubclass iter
    len max min next oct ord pow repr round setattr sorted sum""".split()
)
_REFLECTIVE = frozenset(getattr(builtins, n) for n in ("getattr", "hasattr", "setattr", "delattr"))
_PURE_MODULES = frozenset(
    ("math", "cmath", "_operator", "operator", "itertools", "_functools", "functools", "_collections", "_abc",
     "_bisect", "_heapq", "_struct", "_statistics")
)  # fmt: skip
_PLAIN_TYPES = (
    list, dict, tuple, str, bytes, bytearray, set, frozenset, int, float, complex, bool, range, slice, type(None),
    types.MappingProxyType, types.CodeType,
)  # fmt: skip


def pure_builtin(f) -> bool:
    """Whether a function written in C gives the same result for the same arguments, and does nothing else."""
    try:
        if f in _PURE_BUILTINS:
            return True
    except TypeError:
        return False
    owner = getattr(f, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        if isinstance(owner, type):
            return owner.__module__ in ("builtins", "collections", "_collections")
        return isinstance(owner, _PLAIN_TYPES) or type(owner).__module__ in ("collections", "_collections")
    return getattr(f, "__module__", None) in _PURE_MODULES


def origin(filename: str) -> str:
    """Whose a file is: ``"jtorch"``, ``"trusted"``, ``"stdlib"`` or ``"user"``."""
    if filename.startswith(_OURS) or filename.startswith("<jtorch"):
        return "jtorch"
    if filename.startswith("<frozen"):
        return "stdlib"
    if filename.startswith("<"):
        return "user"
    filename = os.path.realpath(filename)
    for root in _SITE:
        if filename.startswith(root):
            package = filename[len(root) :].split(os.sep, 1)[0].removesuffix(".py")
            if package.startswith("__editable__"):  # setuptools' finder of packages installed in place
                return "trusted"
            return "trusted" if package in _TRUSTED else "user"
    return "stdlib" if filename.startswith(_STDLIB) else "user"


_origins: dict[str, str] = {}


def origin_of(filename: str) -> str:
    found = _origins.get(filename)
    if found is None:
        found = _origins[filename] = origin(filename)
    return found


def _third_party(filename: str) -> bool:
    return os.path.realpath(filename).startswith(_SITE)


def _called_by_trusted(frame) -> bool:
    caller = frame.f_back
    return caller is not None and origin_of(caller.f_code.co_filename) == "trusted"


def stdlib_is_pure(filename: str) -> bool:
    """Whether a file of the standard library is among those that only compute."""
    if filename.startswith("<frozen"):
        name = filename[len("<frozen ") :].rstrip(">")
    else:
        name = os.path.realpath(filename)[len(_STDLIB) :].split(os.sep, 1)[0].removesuffix(".py")
    return name.split(".", 1)[0] in _PURE_STDLIB


_UNSET = object()


def _contents(f: types.FunctionType) -> list:
    """What the free variables of a function hold."""
    contents = []
    for cell in f.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(_UNSET)
    return contents


class Watch:
    """A profile function.

    Attributes:
        codes: the program's own code objects that ran, with the globals they ran in.
        enclosed: per such code, what its free variables held when it was called, by their ids.
        names: attribute names and string constants of all code that ran, the library's included.
        reflective: whether the program looked attributes up by computed names.
        refusal: what ran that a replay could not repeat, or None.
    """

    pauses = True  # where the library does what is not the program's (see :func:`.capture.unprofiled`)

    def __init__(self):
        self.codes: dict[types.CodeType, dict] = {}
        self.enclosed: defaultdict[types.CodeType, dict[tuple[int, ...], tuple]] = defaultdict(dict)
        self.names: set[str] = set()
        self.reflective = False
        self.refusal: str | None = None
        self._seen: set[types.CodeType] = set()

    def __call__(self, frame, event, arg):
        if event == "call":
            code = frame.f_code
            if code in self._seen:
                if code in self.codes:
                    self._after_reading(code, frame)
                    self._enclose(code, frame)
                return
            whose = origin_of(code.co_filename)
            if whose == "user" and code.co_filename.startswith("<"):  # generated code is its module's
                package = str(frame.f_globals.get("__name__")).split(".", 1)[0]
                pure = package in _TRUSTED or package.startswith("namedtuple_")  # what makes a named tuple
                whose = "jtorch" if package == "jtorch" else "trusted" if pure else "user"
            if whose == "stdlib":
                caller = frame.f_back
                if caller is not None and caller.f_code in self.codes and not stdlib_is_pure(code.co_filename):
                    self._refuse(f"{code.co_qualname}() of {os.path.basename(code.co_filename)} is called", caller)
                return
            if whose == "user" and _third_party(code.co_filename) and _called_by_trusted(frame):
                return
            self._seen.add(code)
            if whose == "user":
                self._after_reading(code, frame)
                self._enclose(code, frame)
                self.codes[code] = frame.f_globals
                self._learn(code)
            elif whose == "jtorch":
                if code.co_filename.startswith(_WORLDLY_FILES):
                    self._refuse(f"jtorch's {code.co_qualname}() is called", frame.f_back)
                self._learn(code)
        elif event == "c_call" and frame.f_code in self.codes:
            if arg in _REFLECTIVE:
                self.reflective = True
            elif not pure_builtin(arg):
                name = getattr(arg, "__qualname__", repr(arg))
                self._refuse(f"{name}() is called, whose effect or result cannot be known beforehand", frame)

    def _after_reading(self, code, frame) -> None:
        log = watching_trace.state.log
        if log is not None and log.ended:
            self._refuse(f"{code.co_qualname}() runs after a number was read", frame.f_back)

    def _enclose(self, code, frame) -> None:
        if code.co_freevars:
            held = tuple([frame.f_locals.get(name, _UNSET) for name in code.co_freevars])
            self.enclosed[code][tuple(map(id, held))] = held

    def functions(self) -> list[types.FunctionType]:
        """The program's functions that ran.

        A frame tells its code but not its function. Of several functions made by one definition (a training step for
        each of two models, what a decorator returns) those ran whose variables hold what the code was seen to hold;
        where one that ran is not to be found any more, all of them may have.
        """
        by_code = defaultdict(lambda: defaultdict(list))
        for f in gc.get_referrers(*self.codes) if self.codes else ():
            if isinstance(f, types.FunctionType):
                by_code[f.__code__][tuple(map(id, _contents(f)))].append(f)
        found = []
        for code, made in by_code.items():
            ran = self.enclosed.get(code, made)
            found += [f for held, functions in made.items() if held in ran or not ran.keys() <= made.keys()
                      for f in functions]  # fmt: skip
        self.enclosed.clear()  # no longer than needed: it holds tensors
        return found

    def _learn(self, code) -> None:
        self.names.update(code.co_names)
        self.names.update(c for c in code.co_consts if isinstance(c, str))

    def _refuse(self, why: str, frame) -> None:
        if self.refusal is None:
            where = "" if frame is None else f", at {frame.f_code.co_filename}:{frame.f_lineno}"
            self.refusal = why + where
            log = watching_trace.state.log
            if log is not None and log.refusal is None:
                log.drop(self.refusal)

    def __enter__(self):
        self._before = sys.getprofile()
        if self._before is not None:
            self.refusal = "another profile function is active"
        else:
            self._collects = gc.isenabled()
            gc.disable()  # whose finalizers and callbacks would seem to be called by the function
            sys.setprofile(self)
        return self

    def __exit__(self, *exc):
        if self._before is None:
            sys.setprofile(None)
            if self._collects:
                gc.enable()
