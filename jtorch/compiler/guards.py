"""Guards: that everything a function's Python code could have read is as it was.

What ran is known (:mod:`.watch`). What it could read is found from there: the globals its code names, the closures and
defaults of the functions that ran, its arguments, and everything these lead to through containers and attributes.
Containers are compared by the identities of their elements, which costs some tens of nanoseconds an element; tensors
by storage, shape, flags and history, not by content, because content is read only on the device.
"""

from __future__ import annotations

import collections
import dis
import enum
import functools
import logging
import operator
import re
import sys
import threading
import types

import numpy as np

from .. import config, devices, dtypes
from ..amp import autocast_mode
from ..nn.functional import attention
from ..nn.modules import hooks as module_hooks
from ..nn.utils import parametrize
from ..optim import optimizer as optimizers
from ..size import Size
from ..tape import engine, modes
from ..tensor import Tensor, overriding
from ..tensor import dispatch as _dispatch
from ..tensor import layout as _layout
from ..tensor.random import Generator
from .quick import PLAIN, Quick
from .state import Compiled
from .watch import Watch, origin_of, pure_builtin

_IMMUTABLE = (
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented), dtypes.dtype,
    devices.device, Size, np.dtype, np.generic, property, types.CodeType, enum.Enum, types.GenericAlias,
    _layout.layout, _layout.memory_format, re.Pattern,
)  # fmt: skip
_MISSING = object()
#: what a program can learn of a tensor that is not guarded
_PEEKS = {"grad_fn", "_version", "data_ptr", "output_nr", "_base", "_is_view", "untyped_storage", "storage", "_cdata"}
_LIMIT = 50_000
#: so often other objects may stand for equal values before a container is always compared the long way
_RESTLESS = 4
_PURE_LIBRARIES = frozenset(
    """jtorch jax numpy math cmath operator itertools functools collections typing dataclasses enum copy string re
    types contextlib abc numbers builtins optax inspect statistics heapq bisect textwrap torch einops
    __future__ warnings""".split()
)
_LIBRARY_CLASSES = ("jtorch", "torch", "jax", "jaxlib", "numpy", "builtins", "collections", "typing", "abc", "enum")


class Unguardable(Exception):
    """Something the function can read, of which nobody can tell whether it changed."""


def ambient() -> tuple | None:
    """Everything about the library's own state that what is recorded depends on; None while it cannot be told."""
    for interceptor in _dispatch.interceptors:
        if interceptor is not autocast_mode._cast_operands and not (
            interceptor is overriding.intercept and overriding.idle()
        ):
            return None
    if parametrize._cache_depth:
        return None
    casts = autocast_mode._state
    keys = [tuple(casts.enabled.items()), tuple(casts.dtype.items()), attention.allowed_backends.get()]
    distribution = sys.modules.get("jtorch.distributions.distribution")
    if distribution is not None:
        keys.append(distribution.Distribution._validate_args)
    cuda = sys.modules.get("jtorch.cuda")
    if cuda is not None:
        keys.append(cuda._current)
    hooks = (
        module_hooks.global_forward_pre_hooks, module_hooks.global_forward_hooks,
        module_hooks.global_backward_pre_hooks, module_hooks.global_backward_hooks,
        *module_hooks.registration_hooks.values(),
        optimizers._every_step_pre_hooks, optimizers._every_step_post_hooks,
    )  # fmt: skip
    if any(hooks):
        return None
    return (
        modes.state.grad, modes.state.inference, dtypes.get_default_dtype(), devices.get_default_device(),
        config.float32_matmul_precision, engine.anomaly.enabled, config.deterministic, *keys,
    )  # fmt: skip


def tensor_key(t: Tensor) -> tuple | None:
    """What must be the same about a tensor given as an argument; None of a sparse or nested one, which has no key."""
    if t._handler is not None:
        return None
    value = t._value()
    plain = t._lens is None and t._strides is None
    return (
        t.__class__, value.aval, value.device, value.sharding is None, t._requires_grad, t._edge is None,
        t._root is None, t._lens is None, plain or t.stride(), _grad_kind(t), t._inference, t._hooks is None,
        t._post_accumulate_hooks is None,
    )  # fmt: skip


class Static:
    """A tensor the function finds by itself: the same object each time, its content read afresh."""

    __slots__ = ("tensor", "storage", "aval", "device", "attributes", "grad")

    def __init__(self, t: Tensor):
        self.tensor, self.storage = t, t._storage
        value = t._storage.value
        self.aval, self.device = value.aval, value.device
        self.attributes = _attributes(t)
        self.grad = _grad_kind(t)

    def holds(self) -> bool:
        t, value = self.tensor, self.storage.value
        return (
            t._storage is self.storage
            and value.aval is self.aval
            and value.device is self.device
            and all(map(operator.is_, _attributes(t), self.attributes))
            and (t._grad is None if self.grad is None else _grad_kind(t) == self.grad)
        )


_attributes = operator.attrgetter(*PLAIN)


def _grad_kind(t: Tensor):
    """None without a gradient, else whether it is a plain one."""
    g = t._grad
    return None if g is None else g._lens is None and g._edge is None and g._strides is None and not g._requires_grad


class Guards:
    """What is known about one way through a function.

    Args:
        watch: what ran.
        leaves: the arguments, flattened.
        roots: objects that are reached anyhow (the function and what it is bound to).
        excused: ``(id of a parameter group, name)`` pairs of numbers that may change freely.
    """

    def __init__(self, watch: Watch, arguments: Arguments, leaves: list, roots, excused: set):
        self.watch, self.arguments, self.excused = watch, arguments, excused
        self.ambient = ambient()
        self.statics: list[Static] = []
        self._containers: list[list] = []  # [how to list the ids, the ids, the objects, path, container, replaced]
        self._empty: list = []
        self._empty_paths: list[str] = []
        self._sets: list[tuple] = []
        self._kinds: list[tuple] = []  # numbers that may change, but not become something else
        self._arrays: list[tuple] = []
        self._typed: list = []
        self._types: tuple = ()
        self._cells: list = []
        self._seen: dict[int, object] = {}
        self._classes: set[type] = set()
        self._named = {n for code in watch.codes for n in code.co_names}  # by the program itself
        if self.ambient is None:
            raise Unguardable("hooks of all modules or optimizers, or a mode that intercepts operations, are active")
        peeks = _PEEKS & self._named
        if peeks:
            raise Unguardable(f"it looks at {peeks.pop()} of tensors")
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                self._visit(leaf, f"argument {i}")
            elif leaf._hooks or leaf._post_accumulate_hooks:
                raise Unguardable(f"argument {i} has gradient hooks")
        for root in roots:
            self._visit(root, getattr(root, "__name__", type(root).__name__))
        functions = watch.functions()
        for code, namespace in watch.codes.items():
            names, modules = _global_names(code)
            if names:
                self._subset(namespace, names, f"a global of {code.co_name}()")
            for name in modules:
                self._module(__import__("sys").modules.get(name), name)
        for f in functions:
            self._function(f)
        self._types = tuple(map(type, self._typed))
        self._quick: Quick | None = None
        self._listings = 0  # how often that was made

    # --- finding

    def _function(self, f) -> None:
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            self._cells.append(cell)
            try:
                content = cell.cell_contents
            except ValueError:
                content = _MISSING
            self._keep(_cell_ids, cell, (content,), f"the variable {name!r} of {f.__name__}()")
            self._visit(content, name)
        self._keep(_PARTS, f, _PARTS.objects(f), f"the defaults or code of {f.__name__}()")
        for value in (f.__defaults__, f.__kwdefaults__):
            self._visit(value, f"a default of {f.__name__}()")

    def _keep(self, ids, container, objects: tuple, path: str) -> None:
        if len(self._containers) > _LIMIT:
            raise Unguardable(f"it reaches more than {_LIMIT} containers")
        self._containers.append([ids, tuple(map(id, objects)), objects, path, container, 0])

    def _subset(self, namespace: dict, names: tuple, path: str) -> None:
        objects = tuple([namespace.get(n, _MISSING) for n in names])
        self._keep(_Subset(names), namespace, objects, path)
        for name, x in zip(names, objects, strict=True):
            self._visit(x, name)

    def _visit(self, x, path: str) -> None:
        if x is _MISSING or isinstance(x, _IMMUTABLE) or id(x) in self._seen:
            return
        self._seen[id(x)] = x
        kind = type(x)
        if isinstance(x, Tensor):
            self._tensor(x, path)
        elif isinstance(x, Compiled):
            self._visit(x._fn, path)
        elif isinstance(x, type):
            self._class(x, path)
        elif isinstance(x, types.FunctionType):
            # its identity is guarded where it was found, and what it reads if it ran
            if origin_of(x.__code__.co_filename) == "user":
                names = tuple(sorted(self.watch.names & x.__dict__.keys()))
                lister = _Attributes(names)
                self._keep(lister, x.__dict__, lister.objects(x.__dict__), path)
                for name in names:
                    self._visit(x.__dict__[name], f"{path}.{name}")
        elif isinstance(x, types.MethodType):
            self._visit(x.__self__, f"{path}.__self__")
        elif isinstance(x, types.ModuleType):
            self._module(x, path)
        elif isinstance(x, (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)):
            if not pure_builtin(x) and not origin_of_callable(x):
                raise Unguardable(f"{path} is {x!r}, whose result is not known beforehand")
        elif isinstance(x, functools.partial):
            for part in (x.func, *x.args, *x.keywords.values()):
                self._visit(part, f"{path}.func")
        elif isinstance(x, (staticmethod, classmethod, functools.cached_property, functools.partialmethod)):
            pass
        elif isinstance(x, tuple):
            for i, y in enumerate(x):
                self._visit(y, f"{path}[{i}]")
        elif isinstance(x, dict):
            self._dict(x, path)
            self._own_attributes(x, path)
        elif isinstance(x, (list, collections.deque)):
            self._own_attributes(x, path)
            self._keep(_sequence_ids, x, tuple(x), path)
            for i, y in enumerate(x):
                self._visit(y, f"{path}[{i}]")
        elif isinstance(x, (set, frozenset)):
            if not all(isinstance(y, _IMMUTABLE) for y in x):
                raise Unguardable(f"{path} is a set of objects")
            if kind is not frozenset:
                self._sets.append((x, frozenset(x), path))
        elif isinstance(x, np.ndarray):
            if x.nbytes > 4096 or x.dtype.hasobject:
                raise Unguardable(f"{path} is a large NumPy array: pass it as a tensor")
            self._arrays.append((x, x.tobytes(), x.shape, path))
        elif isinstance(x, Generator):
            pass  # draws from it are repeated
        elif isinstance(x, logging.Logger):
            pass  # when its methods run, they are seen
        elif getattr(x, "__wrapped__", None) is not None and callable(x) and not hasattr(x, "__dict__"):
            pass  # a decorator written in C (lru_cache)
        elif hasattr(x, "__dict__") and isinstance(x.__dict__, dict) and _is_python_class(kind):
            self._instance(x, path)
        elif callable(x) and origin_of_callable(x):
            pass
        else:
            raise Unguardable(f"{path} is a {kind.__module__}.{kind.__qualname__}, whose state cannot be compared")

    def _own_attributes(self, x, path: str) -> None:
        """Of a container whose class is the program's own."""
        if _of_user(type(x)):
            self._instance(x, path)

    def _dict(self, x: dict, path: str) -> None:
        if not x:
            self._empty.append(x)
            self._empty_paths.append(path)
            return
        mine = [name for name in x if (id(x), name) in self.excused]
        if mine:
            self._kinds.append((x, tuple(mine), _kinds(x, mine), path))
            names = tuple(name for name in x if name not in mine)
            self._subset(x, names, path)
            self._keep(_key_ids, x, tuple(x), path)
            return
        self._keep(_dict_ids, x, (*x, *x.values()), path)
        for key, y in x.items():
            self._visit(key, f"a key of {path}")
            self._visit(y, f"{path}[{key!r}]" if isinstance(key, (str, int)) else f"an entry of {path}")

    def _instance(self, x, path: str) -> None:
        self._typed.append(x)
        own = x.__dict__
        names = tuple(own) if self.watch.reflective else tuple(sorted(self.watch.names & own.keys()))
        lister = _Attributes(names)  # an attribute that is new could hide one of the class
        self._keep(lister, own, lister.objects(own), path)
        for name in names:
            self._visit(own[name], f"{path}.{name}")
        for cls in type(x).__mro__:
            for slot in _slots(cls):
                self._visit(getattr(x, slot, _MISSING), f"{path}.{slot}")
                self._keep(_Slot(slot), x, (getattr(x, slot, _MISSING),), f"{path}.{slot}")
        self._class(type(x), f"type({path})")

    def _settable(self, cls) -> set:
        """Names the program uses that the class defines: an attribute of the instance could come to hide them."""
        return {n for n in self.watch.names if hasattr(cls, n) and not n.startswith("__")} if _of_user(cls) else set()

    def _class(self, cls, path: str) -> None:
        for c in cls.__mro__:
            if c in self._classes or not c.__flags__ & 1 << 9:  # only classes made by Python code can change
                continue
            self._classes.add(c)
            if _of_user(c):
                names = tuple(sorted(n for n in vars(c) if n in self.watch.names or n == "__call__"))
            else:
                names = tuple(n for n in ("forward", "__call__", "step") if n in vars(c))
            if names:
                objects = tuple([vars(c).get(n, _MISSING) for n in names])
                self._keep(_Subset(names), vars(c), objects, f"class {c.__name__}")
                for name, y in zip(names, objects, strict=True):
                    if not isinstance(y, (types.GetSetDescriptorType, types.MemberDescriptorType)):
                        self._visit(y, f"{c.__name__}.{name}")

    def _module(self, module, path: str) -> None:
        """Of a library, the names the program uses are guarded; of its own modules, what they hold as well."""
        if module is None:
            return
        file = getattr(module, "__file__", None)
        if module.__name__.startswith("numpy.random"):
            raise Unguardable(f"{path} is numpy.random")
        if origin_of(file or "<frozen") == "user" and module.__name__.split(".", 1)[0] not in _PURE_LIBRARIES:
            names = tuple(sorted(n for n in vars(module) if n in self.watch.names))
            self._subset(vars(module), names, f"module {module.__name__}")
            return
        names = tuple(sorted(n for n in self._named if n in vars(module)))
        objects = tuple([vars(module)[n] for n in names])
        self._keep(_Subset(names), vars(module), objects, f"module {module.__name__}")
        known = module.__name__.split(".", 1)[0] in _PURE_LIBRARIES
        for name, x in zip(names, objects, strict=True):
            # classes and functions in Python are watched when they run; those in C must be known to be pure
            if isinstance(x, types.ModuleType) or not known and not isinstance(x, (type, types.FunctionType)):
                self._visit(x, f"{path}.{name}")

    def _tensor(self, t: Tensor, path: str) -> None:
        if t._grad is not None:
            self._seen[id(t._grad)] = t._grad
        extra = {n for n in t.__dict__ if not n.startswith("_") and n in self.watch.names}
        if extra:
            self._subset(t.__dict__, tuple(sorted(extra)), path)
        for hooks in (t._hooks, t._post_accumulate_hooks):
            if hooks is not None:
                self._visit(hooks, f"the hooks of {path}")
        self.statics.append(Static(t))

    # --- checking

    def match(self, args: tuple, kwargs: dict) -> list | None:
        """The flattened arguments, if these and everything else are as they were."""
        leaves = self.arguments.match(args, kwargs)
        return leaves if leaves is not None and self.changed() is None else None

    def changed(self) -> str | None:
        """What is not as it was, or None."""
        quick = self._quick
        if quick is not None and quick.holds() and self._changed_around() is None:
            return self._changed_in(quick.left)
        for static in self.statics:
            if not static.holds():
                return "a tensor it uses (its storage, requires_grad, history or grad)"
        why = self.changed_by_run()
        if why is None:
            self._quick = self._list_quickly()
        return why

    def changed_by_run(self) -> str | None:
        """As :meth:`changed`, but for the tensors: a capture looks at these itself."""
        return self._changed_around() or self._changed_in(self._containers)

    def _changed_around(self) -> str | None:
        """What is not as it was, but for tensors and containers."""
        if ambient() != self.ambient:
            return "a mode or default of the library"
        if any(self._empty):
            return next(p for c, p in zip(self._empty, self._empty_paths, strict=True) if c)
        if tuple(map(type, self._typed)) != self._types:
            return "the class of an object it uses"
        for x, names, kinds, path in self._kinds:
            if _kinds(x, names) != kinds:
                return path
        for x, before, path in self._sets:
            if x != before:
                return path
        for x, content, shape, path in self._arrays:
            if x.shape != shape or x.tobytes() != content:
                return path
        return None

    def _changed_in(self, containers: list) -> str | None:
        for entry in containers:
            ids = entry[0](entry[4])
            if ids != entry[1] and not self._equal(entry):
                return entry[3]
        return None

    def _list_quickly(self) -> Quick | None:
        """Everything as it is now; None where that has to be done again and again."""
        if self._listings == 4 * _RESTLESS:
            return None
        self._listings += 1
        quick = Quick()
        if not all([quick.tensor(s.tensor, s.storage) for s in self.statics]):
            return None  # a view, or a gradient that a recorded run has made
        for entry in self._containers:
            if entry[5] >= _RESTLESS or not _quickly(quick, entry[0], entry[4]):
                quick.left.append(entry)
        return quick

    def reads_more(self, watch: Watch) -> bool:
        """Whether the code of another run names attributes that are not guarded here."""
        more = watch.names - self.watch.names
        return watch.reflective > self.watch.reflective or any(more & x.__dict__.keys() for x in self._typed)

    def _equal(self, entry) -> bool:
        """Whether other objects stand for the same immutable values; they are the ones known from now on."""
        lister, _, objects, _, container, _ = entry
        now = lister.objects(container) if hasattr(lister, "objects") else _OBJECTS[lister](container)
        if len(now) != len(objects):
            return False
        for a, b in zip(objects, now, strict=True):
            if a is b:
                continue
            if type(a) is not type(b) or not isinstance(a, (bool, int, float, complex, str, bytes)) or a != b:
                if not (isinstance(a, types.MethodType) and isinstance(b, types.MethodType) and a == b):
                    return False
            elif isinstance(a, float) and repr(a) != repr(b):
                return False
        entry[1], entry[2] = tuple(map(id, now)), now
        entry[5] += 1
        return True


def _kinds(d: dict, names) -> list:
    """The types of some entries; a tuple's with those of its elements."""
    kinds = list(map(type, map(d.get, names)))
    if tuple in kinds:
        kinds += [tuple(map(type, d[n])) for n, kind in zip(names, kinds, strict=True) if kind is tuple]
    return kinds


def _dict_ids(d) -> tuple:
    return (*map(id, d), *map(id, d.values()))


def _key_ids(d) -> tuple:
    return tuple(map(id, d))


def _sequence_ids(x) -> tuple:
    return tuple(map(id, x))


def _cell_ids(cell) -> tuple:
    try:
        return (id(cell.cell_contents),)
    except ValueError:
        return (id(_MISSING),)


_OBJECTS = {
    _dict_ids: lambda d: (*d, *d.values()),
    _key_ids: tuple,
    _sequence_ids: tuple,
    _cell_ids: lambda cell: (cell.cell_contents,) if _cell_ids(cell) != (id(_MISSING),) else (_MISSING,),
}


class _Subset:
    """Lists the ids of some entries of a dict."""

    def __init__(self, names: tuple):
        self.names = names
        self.missing = (_MISSING,) * len(names)

    def __call__(self, d) -> tuple:
        return tuple(map(id, map(d.get, self.names, self.missing)))

    def objects(self, d) -> tuple:
        return tuple(map(d.get, self.names, self.missing))


class _Attributes(_Subset):
    """Lists the ids of all names in an object's ``__dict__`` and of some of the entries."""

    def __call__(self, d) -> tuple:
        return (*map(id, d), *map(id, map(d.get, self.names, self.missing)))

    def objects(self, d) -> tuple:
        return (*d, *map(d.get, self.names, self.missing))


class _Slot:
    def __init__(self, name: str):
        self.name = name

    def objects(self, x) -> tuple:
        return (getattr(x, self.name, _MISSING),)

    def __call__(self, x) -> tuple:
        return tuple(map(id, self.objects(x)))


class _Parts:
    """Lists the ids of what a function consists of."""

    def objects(self, f) -> tuple:
        return f.__code__, f.__defaults__, f.__kwdefaults__

    def __call__(self, f) -> tuple:
        return tuple(map(id, self.objects(f)))


_PARTS = _Parts()
_QUICKLY = {_dict_ids: Quick.values, _key_ids: Quick.keys, _sequence_ids: Quick.sequence, _cell_ids: Quick.cell,
            _PARTS: Quick.parts}  # fmt: skip


def _quickly(quick: Quick, lister, container) -> bool:
    """Have a container compared by ``quick``; whether it can be."""
    kind = type(lister)
    if kind is _Subset:
        return quick.entries(container, lister.names)
    if kind is _Attributes:
        return quick.attributes(container, lister.names)
    compare = _QUICKLY.get(lister)
    return compare is not None and compare(quick, container)


def _slots(cls):
    slots = cls.__dict__.get("__slots__", ())
    return [s for s in ((slots,) if isinstance(slots, str) else slots) if s not in ("__dict__", "__weakref__")]


@functools.lru_cache(4096)
def _global_names(code) -> tuple[tuple, tuple]:
    """The globals a code object names, and the modules it imports."""
    names, modules = set(), set()
    for i in dis.get_instructions(code):
        if i.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
            names.add(i.argval)
        elif i.opname == "IMPORT_NAME":
            modules.add(i.argval)
    return tuple(sorted(names)), tuple(sorted(modules))


def _of_user(cls) -> bool:
    return cls.__module__.split(".", 1)[0] not in _LIBRARY_CLASSES


def _is_python_class(cls) -> bool:
    """Whether all that instances hold lies in ``__dict__`` and ``__slots__``: Python code made it and all its bases."""
    if issubclass(cls, threading.local):
        return False
    return all(c in _TRANSPARENT or _file_of(c).endswith(".py") or c.__module__ == "__main__" for c in cls.__mro__)


_TRANSPARENT = (
    object,
    dict,
    list,
    tuple,
    set,
    collections.OrderedDict,
    types.SimpleNamespace,
    BaseException,
    Exception,
)


def _file_of(cls) -> str:
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or ""


def origin_of_callable(f) -> bool:
    """Whether a callable object written in C belongs to a library whose functions only compute (ufuncs, jitted)."""
    module = getattr(f, "__module__", None) or type(f).__module__
    return module.split(".", 1)[0] in ("jax", "jaxlib", "numpy") and "random" not in module


class Arguments:
    """The pattern of a call's arguments: nesting, what tensors look like, the other values.

    Raises:
        Unguardable: one of them is a sparse or nested tensor.
    """

    def __init__(self, args: tuple, kwargs: dict):
        self.count, self.names = len(args), tuple(kwargs)
        self.nested = any(isinstance(a, (list, tuple, dict)) for a in (*args, *kwargs.values()))
        leaves, self.form = self._flatten(args, kwargs)
        self.leaves = [tensor_key(x) if isinstance(x, Tensor) else x for x in leaves]
        if None in [self.leaves[i] for i, x in enumerate(leaves) if isinstance(x, Tensor)]:
            raise Unguardable("an argument is a sparse or nested tensor")
        self.tensors = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        self.others = [(i, x) for i, x in enumerate(leaves) if not isinstance(x, Tensor)]

    def _flatten(self, args, kwargs):
        if not self.nested:
            return [*args, *kwargs.values()], None
        from ..utils import _pytree

        return _pytree.tree_flatten((args, kwargs))

    def flatten(self, args, kwargs) -> list:
        return self._flatten(args, kwargs)[0]

    def same(self, leaves: list, args: tuple, kwargs: dict) -> bool:
        """Whether the arguments still consist of these very objects."""
        now, form = self._flatten(args, kwargs)
        return form == self.form and len(now) == len(leaves) and all(map(operator.is_, now, leaves))

    def match(self, args: tuple, kwargs: dict) -> list | None:
        """The leaves, if they fit the pattern."""
        if len(args) != self.count or tuple(kwargs) != self.names:
            return None
        leaves, form = self._flatten(args, kwargs)
        if form != self.form or len(leaves) != len(self.leaves):
            return None
        for i, x in self.others:
            y = leaves[i]
            if y is not x and (
                type(y) is not type(x) or not isinstance(x, _IMMUTABLE) or y != x
                or isinstance(x, float) and repr(x) != repr(y)
            ):  # fmt: skip
                return None
        for i in self.tensors:
            t = leaves[i]
            if not isinstance(t, Tensor) or tensor_key(t) != self.leaves[i]:
                return None
        return leaves
