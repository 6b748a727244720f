"""The op registry: one decorated JAX function is one PyTorch operation.

The function's own signature *is* PyTorch's signature, with PyTorch's parameter names, order and defaults. Annotations
say what each parameter is:

==================  ====================================================================================
``Array``           a tensor operand
``Array | Number``  a tensor operand, or a Python number; one operand at least must be a tensor
``Array | None``    an optional tensor operand
``Arrays``          a list of tensor operands (``cat``, ``stack``, ``einsum``); ``Arrays | Number``: or of numbers
``Scalar``          a Python number that may vary from call to call without recompiling; arrives as a 0-d array
``Scalar | None``   the same, optional
``Hyper``           a Python number that is a run-time operand from the first call on (learning rates)
``Size``            a tuple of ints, which a caller may also spell as separate arguments: ``x.view(2, 3)``
anything else       a static attribute: hashable, part of the call's identity; lists arrive as tuples
==================  ====================================================================================

The body is a pure JAX function of jax arrays and static values; it runs under the 64-bit switch. Its shape rule is
``jax.eval_shape`` of it and its derivative ``jax.vjp`` of it, so give it a ``jax.custom_vjp`` only where the derived
gradient is slow, imprecise or memory-hungry, with the reason in a line. In-place, method and ``out=`` forms are
derived from the data given to the decorator and never written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field


class Array:
    """Annotation: a tensor operand."""


class Number:
    """Annotation, beside :class:`Array`: a Python number will do."""


class Arrays:
    """Annotation: a sequence of tensor operands."""


class Scalar:
    """Annotation: a Python number, recorded as an operand."""


class Hyper:
    """Annotation: a Python number, recorded as a run-time operand."""


class Size:
    """Annotation: a tuple of ints, spelled as one argument or as several."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an op: ``kind`` is ``array``, ``arrays``, ``scalar``, ``hyper``, ``size`` or ``static``.

    ``number`` tells of an ``array`` that a Python number will do (in ``arrays``, for each of them), ``whole`` of a
    static attribute that it is an integer or several.
    """

    name: str
    kind: str
    optional: bool
    default: object
    keyword_only: bool
    number: bool = False
    whole: bool = False

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, eq=False)
class Op:
    """A registered operation. Identity is the op; see the module docstring for what the fields mean to an author."""

    name: str
    fn: Callable
    parameters: tuple[Parameter, ...]
    promote: str | None
    promoted: tuple[str, ...]
    namespaces: tuple[str, ...]
    aliases: tuple[str, ...]
    method: bool
    inplace: bool
    out: bool | Callable
    returns: tuple[str, ...] | None
    put: Callable | None
    check: Callable | None
    grad_name: str | Callable
    differentiable: bool | tuple[str, ...]
    elementwise: bool
    doc: str
    operand_names: tuple[str, ...] = field(default=())
    static_names: tuple[str, ...] = field(default=())
    numbers_alone: bool = False
    each: bool = False
    channels_last: bool = False
    turned: Callable | None = None
    host: Callable | None = None
    repeats: Callable | None = None
    types: Callable | None = None
    checked: Callable | None = None
    error: type = IndexError
    numbers: Callable | None = None
    unrounded: tuple[str, ...] = ()
    overwrites: bool = False
    keeps: tuple[str, ...] = ()
    view: Op | None = None  # of an op that writes through a view: that view's

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _as_they_are(statics: tuple, rank: int) -> tuple:
    return statics


#: Every op by its registered name.
OPS: dict[str, Op] = {}
_EXPORTS: dict[tuple[str, str], Op] = {}

_KINDS = {
    Array: "array", "Array": "array", Arrays: "arrays", "Arrays": "arrays",
    Scalar: "scalar", "Scalar": "scalar", Hyper: "hyper", "Hyper": "hyper", Size: "size", "Size": "size",
}  # fmt: skip

_WHOLE = frozenset(("int", "tuple[int, ...]", "None"))

PROMOTIONS = (None, "default", "float", "bool", "keep")


def _parse(parameter: inspect.Parameter) -> Parameter:
    note = parameter.annotation
    note = note if isinstance(note, str) else getattr(note, "__name__", str(note))
    parts = [p.strip() for p in note.split("|")]
    kind = _KINDS.get(parts[0], "static")
    return Parameter(
        parameter.name,
        kind,
        "None" in parts[1:],
        parameter.default,
        parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        "Number" in parts[1:],
        parts[0] in _WHOLE and _WHOLE.issuperset(parts),
    )


def camel(name: str) -> str:
    """``log_softmax`` -> ``LogSoftmax``, as autograd node names are spelled."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_.]", name) if part)


def op(
    fn: Callable | None = None,
    *,
    name: str | None = None,
    promote: str | None = None,
    promoted: tuple[str, ...] | None = None,
    numbers_alone: bool = False,
    namespaces: tuple[str, ...] = ("torch",),
    aliases: tuple[str, ...] = (),
    method: bool | None = None,
    inplace: bool | None = None,
    out: bool | Callable | None = None,
    returns: tuple[str, ...] | None = None,
    put: Callable | None = None,
    check: Callable | None = None,
    checked: Callable | None = None,
    error: type = IndexError,
    numbers: Callable | None = None,
    types: Callable | None = None,
    grad_name: str | Callable | None = None,
    differentiable: bool | tuple[str, ...] = True,
    elementwise: bool | None = None,
    each: bool = False,
    channels_last: bool = False,
    turned: Callable | None = None,
    host: Callable | None = None,
    repeats: Callable | None = None,
    unrounded: tuple[str, ...] = (),
    overwrites: bool = False,
    keeps: tuple[str, ...] = (),
):
    """Register a JAX function as an operation.

    Args:
        name: PyTorch's name (default: the function's name). A dotted suffix names an overload: ``"max.dim"``;
            overloads are not exported by themselves.
        promote: how tensor operands are brought to one dtype before the body runs. ``"default"``: PyTorch's
            ``result_type``; ``"float"``: the same, then integers and bools to the default float dtype; ``"bool"``:
            as ``"default"``, for comparisons whose body returns bool; ``"keep"`` and ``None``: operands stay as
            they are (and ``None`` is no elementwise operation, by default).
        promoted: names of the array operands that take part (default: all). ``Scalar`` operands are cast to the
            promoted dtype.
        numbers_alone: every operand may be a number at once, which gives a 0-d tensor.
        namespaces: where the function is exported: ``"torch"``, ``"nn.functional"``, ``"linalg"``, ``"special"``,
            ``"fft"``, or ``()`` for ops that only other code calls.
        aliases: further names in the same namespaces (and as methods, where ``method``).
        method: also a Tensor method. Default: exported in ``"torch"``, and the first operand is an array.
        inplace: also ``name_``. Default: a ``promote`` kind other than ``"bool"`` and ``"keep"`` is set, and it is a
            method.
        out: accepts ``out=``. Default: exported in a namespace other than ``"nn.functional"``. May be a rule on what
            is accepted (see :mod:`.outputs`).
        returns: field names when the result is a named tuple, e.g. ``("values", "indices")``.
        put: for view ops, ``put(base, new, **the op's other parameters)``: the base with the view's elements
            replaced. Makes the op's results alias their first operand.
        check: ``check(*the op's parameters)`` returns ``(bad, message)``: a 0-d bool array that is true when an
            index operand is out of range, and the text of the ``IndexError`` (may name parameters' values).
        checked: ``checked(target, *operands)``: whether operands of these types need that check (default: always).
        error: the exception's type where it is none about an index.
        numbers: ``numbers(target, *operands)``: a function of the list of operands that raises where one of them is a
            number that the operation does not take, or None where operands of these types are all taken.
        types: ``types(target, *operands)`` raises where operands do not go together, before they are promoted. Each is
            an :class:`~jtorch.trace.aval.Aval`, the type of a Python number, or None; ``target`` is the common dtype.
        grad_name: name of the autograd node (default: ``CamelCaseBackward0``), or a rule of
            ``ops/nodes.py`` that tells it by the types of the operands.
        differentiable: False when no output ever carries a gradient; or the names in ``returns`` that may.
        elementwise: the output keeps the memory order of its inputs (default: ``promote`` is set).
        each: the ``Arrays`` are columns of one table, and so are the results, but for the last few, which depend on
            none of them; each row's results depend on that row only, so that the op may run on some rows at a time.
        channels_last: on CPU it computes with its first operand turned channels-last, ``(N, *D, C)``, and turns its
            first result back.
        turned: ``turned(statics, rank)``: the static attributes with which the op does the same to operands that are
            turned channels-last, or None. Default: those it has, where it is elementwise.
        host: ``host(arrays, *statics)``: the same of a list of NumPy arrays of the result's dtype, or None. A few
            integers that lie in host memory are then put together there, at once.
        repeats: of view ops, ``repeats(*statics)``: whether the view may show an element at several places.
        unrounded: names of operands that, where they are numbers or 0-d, are not rounded to half precision beside half
            tensors: they arrive in float32, and the result is rounded.
        overwrites: the result is the first operand but for some of its elements.
        keeps: names of the operands whose new values are the results, in their order. The op has an operand ``failed``
            besides, its last: None, or a truth value; where that is true the results are those operands as they are.

    Raises:
        ValueError: the name, or an exported alias of it, is registered already.
    """
    if fn is None:
        return lambda f: op(
            f, name=name, promote=promote, promoted=promoted, numbers_alone=numbers_alone, namespaces=namespaces,
            aliases=aliases, method=method, inplace=inplace, out=out, returns=returns, put=put, check=check,
            checked=checked, error=error, numbers=numbers, types=types, grad_name=grad_name,
            differentiable=differentiable, elementwise=elementwise, each=each,
            channels_last=channels_last, turned=turned, host=host, repeats=repeats, unrounded=unrounded,
            overwrites=overwrites, keeps=keeps,
        )  # fmt: skip
    name = name or fn.__name__
    parameters = tuple(_parse(p) for p in inspect.signature(fn).parameters.values())
    if promote not in PROMOTIONS:
        raise ValueError(f"op {name}: promote={promote!r} is none of {PROMOTIONS}")
    operands = tuple(p.name for p in parameters if p.kind in ("array", "arrays", "scalar", "hyper"))
    if promoted is None:
        promoted = tuple(p.name for p in parameters if p.kind in ("array", "arrays"))
    if method is None:
        method = "torch" in namespaces and bool(parameters) and parameters[0].kind == "array" and "." not in name
    if inplace is None:
        inplace = promote in ("default", "float") and method
    if out is None:
        out = any(n != "nn.functional" for n in namespaces) and put is None
    if elementwise is None:
        elementwise = promote is not None
    if turned is None and elementwise:
        turned = _as_they_are
    entry = Op(
        name=name, fn=fn, parameters=parameters, promote=promote, promoted=tuple(promoted),
        numbers_alone=numbers_alone, namespaces=namespaces, aliases=aliases, method=method, inplace=inplace, out=out,
        returns=returns, put=put, check=check, types=types, checked=checked, error=error, numbers=numbers,
        grad_name=grad_name or camel(name.split(".")[0]) + "Backward0",
        differentiable=differentiable, elementwise=elementwise, each=each, channels_last=channels_last, turned=turned,
        host=host, repeats=repeats, unrounded=unrounded, overwrites=overwrites, keeps=keeps,
        doc=inspect.getdoc(fn) or "", operand_names=operands,
        static_names=tuple(p.name for p in parameters if p.kind in ("static", "size")),
    )  # fmt: skip
    if name in OPS:
        raise ValueError(f"op {name!r} is registered already, in {OPS[name].fn.__module__}")
    for namespace in namespaces:
        for exported in (name, *aliases):
            if (namespace, exported) in _EXPORTS:
                raise ValueError(f"{namespace}.{exported} is exported already by {_EXPORTS[namespace, exported]}")
            _EXPORTS[namespace, exported] = entry
    OPS[name] = entry
    # The body stays an ordinary function, so that ops can be written in terms of each other.
    fn.op = entry
    return fn
