"""A call: an op bound to static attributes and operand avals, interned.

A :class:`Call` is what a trace records. It knows the avals of its results, the jitted function that runs it and,
through :mod:`.linearize`, its derivative. The avals are ``jax.eval_shape``'s, once, or come from the derivative's
trace, where that is made anyway. Promotion happens here, inside the bound function, so that a program sees one fused
call and not a cast and a call.
"""

from __future__ import annotations

import itertools
import traceback
from contextlib import contextmanager, nullcontext

import jax
import jax.numpy as jnp

from .. import config, dtypes
from ..ops import backend
from ..ops.registry import Op
from ..ops.shapes import broadcast_shapes
from . import capture, kept
from .aval import SCALAR_AVALS, Aval, aval_of
from .jaxapi import x64

_ids = itertools.count()
_table: dict[tuple, Call] = {}
dtypes.on_default_change.append(_table.clear)
config.on_change.append(_table.clear)
#: PyTorch's word for the precision of float32 products -> JAX's
_PRECISION = {"highest": "highest", "high": "tensorfloat32", "medium": "bfloat16"}


class Call:
    """A pure function of flat arrays with known operand and result avals.

    ``fn(*arrays) -> tuple of arrays``; ``single`` tells that the op returns one array and not a tuple. ``op`` and
    ``key`` are set on calls that came from the registry; backward calls have neither.

    Args:
        out_avals: those of its results, where they are known. ``single`` is False then.

    Raises:
        Whatever ``fn`` raises for these operands, when ``out_avals`` or ``single`` is first asked for.
    """

    __slots__ = (
        "id", "name", "fn", "jitted", "in_avals", "in_kinds", "out_avals", "single", "op", "key", "platform", "check",
        "linearizations", "kept_as", "derivative", "turned", "code", "check_code", "program", "refuse_numbers",
        "grad_name", "_precision",
    )  # fmt: skip

    def __init__(
        self, name, fn, in_avals, in_kinds=None, platform="cpu", op=None, key=None, kept_as=None, out_avals=None
    ):
        self.id = next(_ids)
        self.name, self.fn, self.platform, self.op, self.key = name, fn, platform, op, key
        self.in_avals = tuple(in_avals)
        #: per operand, the Python type of a number that varies, ``Hyper``, or None for an array
        self.in_kinds = tuple(in_kinds) if in_kinds is not None else (None,) * len(self.in_avals)
        #: ``check(*arrays)``: whether an index is out of range, or None; traced once, it has its ``message``
        self.check = None
        #: ``refuse_numbers(operands)``: raises where an operand is a number that the operation does not take, or None
        self.refuse_numbers = None
        self.grad_name = None  # of the autograd node; of calls that came from the registry
        self.linearizations = {}
        self.derivative = None  # of a call that comes from a linearization: that, and which gradients are given
        self.turned = self  # see :mod:`.layout`
        self.code = self.check_code = None  # see :mod:`.host`
        self.program = None  # where it was traced already: a jaxpr, and which of that's results are its own
        self.kept_as = kept_as  # its name among what is kept for later processes, or None
        self._precision = None if platform == "cpu" else _PRECISION[config.float32_matmul_precision]

        def run(*arrays):
            with self.lowering():
                out = fn(*arrays)
            self.single = not isinstance(out, (tuple, list))
            return (out,) if self.single else tuple(out)

        run.__name__ = run.__qualname__ = name
        self.jitted = jax.jit(run)
        fact = kept.fact(kept_as)
        if fact is not None:
            self.single, self.out_avals = fact[0], kept.from_text(fact[1:])
        elif out_avals is not None:
            self.returns(False, out_avals)

    def __getattr__(self, name):
        if name not in ("out_avals", "single"):
            raise AttributeError(name)
        try:
            with x64(True), self.unwatched():
                out = self.jitted.eval_shape(*(a.sds for a in self.in_avals))
        except (TypeError, ValueError, ZeroDivisionError, RuntimeError, IndexError) as error:
            if self.op is None:
                raise
            raise _translated(self.op, error, self.in_avals) from None
        self.returns(self.single, map(aval_of, out))
        return getattr(self, name)

    def returns(self, single: bool, avals) -> None:
        """What its results look like, found out."""
        self.single, self.out_avals = single, tuple(avals)
        kept.keep_fact(self.kept_as, [single, *kept.to_text(self.out_avals)])

    @contextmanager
    def lowering(self):
        """Trace operations for this call's platform, at the precision of products that was set when it was made.

        Many of JAX's functions are programs of their own (``jnp.where``, ``jnp.take``). Inlined, an operation is traced
        in 0.6 of the time, its derivative in 0.8; loops have to be those of :mod:`jtorch.ops.loops` for that.
        """
        inline = jax.disable_jit(self.op is not None)
        with backend.using(self.platform, here=True), jax.default_matmul_precision(self._precision), inline:
            yield

    def unwatched(self):
        """Trace an operation of the library's own without the eye on what a captured function reads: whether that is
        needed depends on what ran before, in this process or an earlier one."""
        return nullcontext() if self.op is None else capture.unprofiled()

    @property
    def message(self) -> str:
        """What an index out of range is called."""
        if self.check.message is None:
            with x64(True):
                jax.eval_shape(self.check, *(a.sds for a in self.in_avals))
        return self.check.message

    @property
    def error(self) -> type[Exception]:
        """What is raised where the check fails."""
        return IndexError if self.op is None else self.op.error

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.in_avals))})"


def intern(op: Op, statics: tuple, keys: tuple, platform: str, derived: bool = False) -> Call:
    """The call of ``op`` with these static attributes and operand keys.

    Args:
        statics: values in the order of ``op.static_names``.
        keys: per operand an :class:`Aval`, a Python number type, ``Hyper``, None, or a tuple of these (``Arrays``).
        platform: ``"cpu"``, ``"cuda"`` or ``"tpu"``; ops may lower differently on each.
        derived: its derivative is asked for at once, which finds out what the results look like and raises what the
            call raises.

    Raises:
        Whatever the op raises for operands it refuses; JAX's own shape and type errors come as ``RuntimeError``.
    """
    key = (op, statics, keys, platform)
    found = _table.get(key)
    if found is None:
        call = _bind(op, statics, keys, platform)
        if not derived:
            call.out_avals  # noqa: B018 (raises for operands it refuses)
        found = _table.setdefault(key, call)
    return found


def _bind(op: Op, statics: tuple, keys: tuple, platform: str) -> Call:
    flat: list = []
    structure = []  # per operand: index, list of indices, or None
    for key in keys:
        if key is None:
            structure.append(None)
        elif isinstance(key, tuple):
            structure.append([len(flat) + i for i in range(len(key))])
            flat.extend(key)
        else:
            structure.append(len(flat))
            flat.append(key)
    named_structure = dict(zip(op.operand_names, structure, strict=True))
    named_statics = dict(zip(op.static_names, statics, strict=True))
    _check_kinds(op, dict(zip(op.operand_names, keys, strict=True)))
    target = _promoted_dtype(op, dict(zip(op.operand_names, keys, strict=True)))
    if op.types is not None:
        op.types(target, *keys)
    kinds = {p.name: p.kind for p in op.parameters}
    cast_to = {name: target for name in named_structure if name in op.promoted or kinds[name] == "scalar"}
    rounds = False
    if target in (dtypes.float16, dtypes.bfloat16):  # a factor of 1e-9 is not 0, nor one of 1e9 infinite
        for name, key in zip(op.operand_names, keys, strict=True):
            if name in op.unrounded and key is not None and not getattr(key, "shape", ()):
                cast_to[name], rounds = dtypes.float32, True

    def arguments(arrays):
        named = dict(named_statics)
        for name, where in named_structure.items():
            if where is None:
                value = None
            elif isinstance(where, list):
                value = tuple(arrays[i] for i in where)
            else:
                value = arrays[where]
            to = cast_to.get(name)
            if to is not None and value is not None:
                value = jax.tree.map(lambda a, to=to: a if a.dtype in (target.np, to.np) else cast(a, to), value)
            named[name] = value
        return named

    def fn(*arrays):
        named = arguments(arrays)
        if target is not None and op.elementwise:
            broadcast_shapes(*(a.shape for n in op.promoted for a in jax.tree.leaves(named[n])))
        made = op.fn(**named)
        return jax.tree.map(lambda r: cast(r, target) if r.dtype == dtypes.float32.np else r, made) if rounds else made

    avals = [k if isinstance(k, Aval) else SCALAR_AVALS[k] for k in flat]
    number_kinds = [None if isinstance(k, Aval) else k for k in flat]
    call = Call(
        op.name, fn, avals, number_kinds, platform, op, (statics, keys), kept.call_name(op, statics, keys, platform),
    )  # fmt: skip
    call.grad_name = (
        op.grad_name
        if isinstance(op.grad_name, str)
        else op.grad_name(**named_statics, **dict(zip(op.operand_names, keys, strict=True)))
    )
    if op.numbers is not None:
        call.refuse_numbers = op.numbers(target, *keys)
    if op.check is not None and (op.checked is None or op.checked(target, *keys)):

        def check(*arrays):
            bad, check.message = op.check(**arguments(arrays))
            return jnp.asarray(bad)

        check.message = None
        call.check = check
    return call


def cast(array, target: dtypes.dtype):
    """Convert as PyTorch does: complex to real drops the imaginary part, anything to bool compares with zero."""
    if target.category == dtypes.BOOL:
        return array != 0
    if jnp.iscomplexobj(array) and target.category != dtypes.COMPLEX:
        array = array.real
    return array.astype(target.np)


def _check_kinds(op: Op, keys: dict) -> None:
    """Raises:
    TypeError: a number or None stands where the declaration asks for a tensor, or no operand is a tensor.
    """
    name = op.name.split(".")[0]
    for i, p in enumerate(op.parameters):
        key = keys.get(p.name)
        if p.kind == "arrays" and isinstance(key, Aval):
            raise TypeError(f"{name}(): argument '{p.name}' (position {i + 1}) must be tuple of Tensors, not Tensor")
        if p.kind == "array" and key is None and not p.optional and p.default is not None:
            raise TypeError(f"{name}(): argument '{p.name}' (position {i + 1}) must be Tensor, not NoneType")
        if p.kind == "array" and not p.number and key is not None and not isinstance(key, Aval):
            raise TypeError(f"{name}(): argument '{p.name}' (position {i + 1}) must be Tensor, not {key.__name__}")
        if p.kind == "arrays" and not p.number:
            for j, k in enumerate(key or ()):
                if not isinstance(k, Aval):
                    raise TypeError(f"expected Tensor as element {j} in argument {i}, but got {k.__name__}")
    arrays = {p.name: keys[p.name] for p in op.parameters if p.kind == "array" and keys[p.name] is not None}
    if arrays and not op.numbers_alone and not any(isinstance(k, Aval) for k in arrays.values()):
        given = ", ".join(k.__name__ for k in arrays.values())
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got ({given}), but one of "
            f"{', '.join(arrays)} must be a Tensor"
        )


def _promoted_dtype(op: Op, keys: dict) -> dtypes.dtype | None:
    """The dtype all promoted operands are brought to, or None when the op takes them as they are."""
    if op.promote in (None, "keep"):
        return None
    levels: list[dtypes.dtype | None] = [None, None, None]  # with dimensions, 0-d, Python numbers
    for name in op.promoted:
        key = keys[name]
        for k in key if isinstance(key, tuple) else (key,):
            if k is None:
                continue
            if isinstance(k, Aval):
                level, d = (0 if k.shape else 1), k.dtype
            else:
                level, d = 2, dtypes.of_python(k)
            levels[level] = d if levels[level] is None else dtypes.promote_types(levels[level], d)
    result = dtypes.result_of(*levels)
    if op.promote == "float" and result is not None and result.category < dtypes.FLOAT:
        result = dtypes.get_default_dtype()
    return result


def _translated(op: Op, error: Exception, avals) -> Exception:
    """An op's own exceptions pass; JAX's complaints become a RuntimeError that names op, shapes and dtypes."""
    if isinstance(error, TypeError) and "does not accept dtype" in str(error):
        kinds = next((a.dtype.legacy_name for a in avals if a.dtype.name in str(error)), avals[0].dtype.legacy_name)
        return NotImplementedError(f"\"{op.name}\" not implemented for '{kinds}'")
    frames = traceback.extract_tb(error.__traceback__)
    if frames and "jtorch" in frames[-1].filename.replace("\\", "/").split("/"):
        error.__notes__ = []  # JAX's word about its own traceback
        return error
    first = str(error).strip().split("\n")[0]
    return RuntimeError(f"{op.name}(): {first} (operands: {', '.join(map(repr, avals))})")
