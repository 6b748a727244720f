"""Public forms of the registered ops, derived from each op's declaration.

For every op: a function with PyTorch's signature, and where the declaration says so a Tensor method, an in-place form
``name_`` and an ``out=`` argument. The functions are generated as source text, so that their signatures are real, a
wrong argument is an ordinary ``TypeError`` and a call costs one Python frame.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from types import CodeType

from .. import dtypes
from ..ops.registry import OPS, Op
from . import dispatch as _dispatch

_MISSING = type("_Missing", (), {"__repr__": lambda self: "<required>"})()
#: NumPy's spellings, which PyTorch accepts too. ``A`` of ``linalg.det`` is ``input`` of ``torch.det``.
_SYNONYMS = {"dim": "axis", "keepdim": "keepdims", "dim0": "axis0", "dim1": "axis1", "A": "input"}
#: Keywords whose numbers once stood among the tensors, as in ``x.addcdiv_(-lr, m, v)`` or ``x.add_(-lr, grad)``: many
#: optimizers of old are written so, and PyTorch still reads them.
_ONCE_POSITIONAL = {
    **dict.fromkeys(("add", "sub"), ("alpha",)), **dict.fromkeys(("addcmul", "addcdiv"), ("value",)),
    **dict.fromkeys(("addmm", "addmv", "addr", "addbmm", "baddbmm"), ("beta", "alpha")),
}  # fmt: skip
#: static attributes of these classes are hashable as they are
_PLAIN = (int, type(None), bool, float, str, dtypes.dtype)

_functions: dict[Op, Callable] = {}
_composites: dict[tuple[str, str], Callable] = {}
_composite_methods: dict[str, Callable] = {}


def _sizes(arguments: tuple):
    """``f(2, 3)`` and ``f((2, 3))`` alike, as a tuple of ints."""
    if len(arguments) == 1 and not isinstance(arguments[0], int):
        only = arguments[0]
        if isinstance(only, _dispatch.TENSOR) and not only.shape:
            return (int(only),)
        if hasattr(only, "__index__") and not hasattr(only, "__len__"):
            return (int(only),)
        arguments = tuple(only)
    return tuple([a if a.__class__ is int else _size(a) for a in arguments])


def sizes_given(function: str, name: str, arguments: tuple, keyword):
    """The sizes that ``function(*arguments, name=keyword)`` was given, in either spelling.

    Raises:
        TypeError: it was given none. No dimensions at all are spelled ``()``.
    """
    if not arguments and keyword is None:
        raise TypeError(f"{function}() missing 1 required positional argument: {name!r}")
    return _sizes(arguments or (keyword,))


def _size(n) -> int:
    """One size; whatever can be an int, but for what would be cut off to be one."""
    if isinstance(n, (bool, float, str)):
        raise TypeError(f"sizes must be ints, but got {type(n).__name__} {n!r}")
    return int(n)


def _required(name: str, op: Op):
    raise TypeError(f"{op.name}() missing 1 required positional argument: '{name}'")


def _old_form(fn: Callable, name: str, tensors: int, keywords: tuple[str, ...], args: tuple, **given):
    """A call whose numbers stand among its tensors, as ``fn`` takes it today.

    Raises:
        TypeError: that is not what the arguments are.
    """
    found = [a for a in args if isinstance(a, _dispatch.TENSOR)]
    numbers = [a for a in args if not isinstance(a, _dispatch.TENSOR)]
    known = isinstance(args[-1], _dispatch.TENSOR) and all(isinstance(n, (int, float, complex)) for n in numbers)
    if not known or len(found) != tensors or len(numbers) > len(keywords):
        raise TypeError(f"{name}() takes {tensors} positional arguments but {len(args)} were given")
    stated = dict(zip(keywords, numbers, strict=False))
    warnings.warn(
        f"This overload of {name} is deprecated: it has numbers among its tensors. Consider using "
        f"{name}(..., {', '.join(f'{k}={v}' for k, v in stated.items())})",
        stacklevel=3,
    )
    return fn(*found, **stated, **given)


def _source(op: Op, kind: str) -> tuple[str, dict]:
    """Source text of a public form: ``kind`` is ``call`` or ``inplace``."""
    ns = {
        "OP": op, "dispatch": _dispatch.dispatch, "inplace": _dispatch.inplace, "into": _dispatch.into,
        "hashable": _dispatch.hashable, "sizes": _sizes, "required": _required, "MISSING": _MISSING, "PLAIN": _PLAIN,
        "old_form": _old_form, "whole": _dispatch.whole,
    }  # fmt: skip
    positional = [p for p in op.parameters if not p.keyword_only]
    keyword = [p for p in op.parameters if p.keyword_only]
    variadic = positional[-1] if positional and positional[-1].kind == "size" else None
    head, tail, prepare = [], [], []
    defaulted = False
    for p in positional:
        if p is variadic:
            head.append(f"*{p.name}_")
            tail.append(f"{p.name}=MISSING")
            default = f"required({p.name!r}, OP)" if p.required else f"D_{p.name}"
            ns[f"D_{p.name}"] = p.default
            prepare.append(
                f"if {p.name} is MISSING: {p.name} = sizes({p.name}_) if {p.name}_ else {default}\n"
                f"    else: {p.name} = sizes(({p.name},))"
            )
            continue
        synonym = _SYNONYMS.get(p.name)
        if not p.required:
            ns[f"D_{p.name}"] = p.default
            head.append(f"{p.name}=D_{p.name}")
            defaulted = True
        elif defaulted or synonym:
            head.append(f"{p.name}=MISSING")
            defaulted = True
        else:
            head.append(p.name)
        if synonym and p.kind in ("static", "array"):
            tail.append(f"{synonym}=MISSING")
            prepare.append(f"if {synonym} is not MISSING: {p.name} = {synonym}")
        if head[-1].endswith("=MISSING"):
            prepare.append(f"if {p.name} is MISSING: required({p.name!r}, OP)")
    for p in keyword:
        if p.required:
            tail.append(p.name)
        else:
            ns[f"D_{p.name}"] = p.default
            tail.append(f"{p.name}=D_{p.name}")
        synonym = _SYNONYMS.get(p.name)
        if synonym:
            tail.append(f"{synonym}=MISSING")
            prepare.append(f"if {synonym} is not MISSING: {p.name} = {synonym}")
    has_out = op.out and kind == "call"
    if has_out:
        tail.append("out=None")
    rest = [] if variadic or not tail else ["*"]
    if op.name in _ONCE_POSITIONAL:
        rest, out = ["*more"], ", out=out" if has_out else ""
        ns["KEYWORDS"] = _ONCE_POSITIONAL[op.name]
        args = ", ".join(p.name for p in positional)
        name = op.name + ("_" if kind == "inplace" else "")
        prepare.insert(
            0, f"if more: return old_form({name}, {name!r}, {len(positional)}, KEYWORDS, ({args}, *more){out})"
        )
    signature = ", ".join(head + rest + tail)
    if any(p.name == "unbiased" for p in op.parameters):  # var(x, False)
        prepare.append("if dim.__class__ is bool and unbiased is None: dim, unbiased = None, dim")
    for i, p in enumerate(op.parameters):
        if p.whole:
            known = "" if p.default is not None and not p.optional else f" and {p.name} is not None"
            prepare.append(f"if {p.name}.__class__ is not int{known}: {p.name} = whole({p.name}, {p.name!r}, {i}, OP)")
        elif p.kind == "static":
            prepare.append(f"if {p.name}.__class__ not in PLAIN: {p.name} = hashable({p.name})")
        elif p.kind == "size" and p is not variadic:
            prepare.append(f"{p.name} = sizes(({p.name},))")
    operands = "".join(f"{n}, " for n in op.operand_names)
    statics = "".join(f"{n}, " for n in op.static_names)
    body = [*prepare]
    if has_out:
        body.append(f"if out is not None: return into(OP, ({operands}), ({statics}), out)")
        body.append(f"return dispatch(OP, ({operands}), ({statics}))")
    else:
        body.append(f"return {'inplace' if kind == 'inplace' else 'dispatch'}(OP, ({operands}), ({statics}))")
    return f"def form({signature}):\n    " + "\n    ".join(body) + "\n", ns


@functools.cache
def _compiled(source: str) -> CodeType:
    """The code of a form's source, which many ops have in common."""
    return compile(source, "<jtorch>", "exec")


def _make(op: Op, kind: str) -> Callable:
    source, ns = _source(op, kind)
    name = op.name.replace(".", "_") + ("_" if kind == "inplace" else "")
    exec(_compiled(source), ns)
    fn = ns[name] = ns.pop("form")
    fn.__code__ = fn.__code__.replace(co_name=name, co_qualname=name, co_filename=f"<jtorch {name}>")
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = op.doc if kind == "call" else f"In-place form of :func:`{op.name}`."
    fn.__module__ = "jtorch"
    fn.__signature__ = _signature(op, kind)
    fn.also_named = tuple(
        _SYNONYMS[p.name] for p in op.parameters if p.name in _SYNONYMS and p.kind in ("static", "array")
    )
    fn.op = op
    return fn


def _signature(op: Op, kind: str) -> inspect.Signature:
    """What ``help()`` shows: PyTorch's parameters, without our catch-alls."""
    parameters = [
        inspect.Parameter(
            p.name,
            inspect.Parameter.KEYWORD_ONLY if p.keyword_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=p.default,
        )
        for p in op.parameters
    ]
    if op.out and kind == "call":
        parameters.append(inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None))
    return inspect.Signature(parameters)


def function(op: Op) -> Callable:
    """The public function of an op."""
    found = _functions.get(op)
    if found is None:
        found = _functions[op] = _make(op, "call")
    return found


def composite(
    *namespaces: str,
    name: str | None = None,
    method: bool | str = False,
    aliases: tuple[str, ...] = (),
    out: bool | Callable = False,
    doc: str | None = None,
    names: dict[str, str] | None = None,
):
    """Register a Python-level operation, written over Tensors: exported like an op, and as a method if asked to.

    Args:
        out: give it an ``out=`` argument, which takes what it returns; a rule of ``ops/outputs.py`` says which may.
        doc: of a function made for one of several names: gives it ``name`` as its own, and this docstring.
        names: other keywords for its parameters, as ``{"axis": "dim"}``: PyTorch's overloads name one differently.

    Raises:
        ValueError: the name is taken in a namespace.
    """

    def register(fn):
        if doc is not None:
            for f in (fn, inspect.unwrap(fn)):
                f.__name__, f.__qualname__, f.__doc__ = name, name, doc
        fn = _with_out(fn, out) if out else fn
        fn = _with_names(fn, names) if names else fn
        for exported in (name or fn.__name__, *aliases):
            for namespace in namespaces:
                if (namespace, exported) in _composites:
                    raise ValueError(f"{namespace}.{exported} is registered twice")
                _composites[namespace, exported] = fn
            if method:
                method_name = method if isinstance(method, str) else exported
                if method_name in _composite_methods:
                    raise ValueError(f"Tensor.{method_name} is registered twice")
                _composite_methods[method_name] = fn
        return fn

    return register


def _with_out(fn: Callable, rule: bool | Callable) -> Callable:
    """``fn`` with a keyword ``out``: a tensor, or as many as ``fn`` returns."""

    @functools.wraps(fn)
    def computed(*args, out=None, **kwargs):
        result = fn(*args, **kwargs)
        if out is None:
            return result
        return _dispatch.write_out(fn.__name__, (*args, *kwargs.values()), result, out, rule)

    computed.__signature__ = with_keywords(inspect.signature(fn), out=None)
    return computed


def with_keywords(signature: inspect.Signature, **defaults) -> inspect.Signature:
    """A signature with further keywords."""
    given = [*signature.parameters.values()]
    at = len(given) - any(p.kind is p.VAR_KEYWORD for p in given)
    given[at:at] = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in defaults.items()]
    return signature.replace(parameters=given)


def _with_names(fn: Callable, names: dict[str, str]) -> Callable:
    """``fn``, its parameters also known by other names."""

    @functools.wraps(fn)
    def renaming(*args, **kwargs):
        if kwargs:
            kwargs = {names.get(k, k): v for k, v in kwargs.items()}
        return fn(*args, **kwargs)

    renaming.also_named = tuple(names)
    return renaming


def functions(namespace: str) -> dict[str, Callable]:
    """Every public function of a namespace (``"torch"``, ``"nn.functional"``, ``"linalg"``, ...), by name."""
    found = {}
    for op in OPS.values():
        if namespace in op.namespaces:
            for name in (op.name, *op.aliases):
                found[name] = function(op)
        if op.inplace and namespace == "torch" and "torch" in op.namespaces:
            arrays = [p for p in op.parameters if p.kind == "array"]
            if len(arrays) == 1:
                for name in (op.name, *op.aliases):
                    found[f"{name}_"] = _inplace(op)
    for (where, name), fn in _composites.items():
        if where == namespace:
            found[name] = fn
    module = "jtorch" if namespace == "torch" else f"jtorch.{namespace}"
    for name, fn in found.items():
        if "." not in name:
            _place(fn, module, name)
    return found


_placed: set[Callable] = set()


def _place(fn: Callable, module: str, name: str) -> None:
    """Give ``fn`` the name that programs find it by, as which it is pickled."""
    if fn not in _placed and not inspect.isclass(fn):
        _placed.add(fn)
        fn.__module__, fn.__name__, fn.__qualname__ = module, name, name


_inplace_forms: dict[Op, Callable] = {}


def _inplace(op: Op) -> Callable:
    found = _inplace_forms.get(op)
    if found is None:
        found = _inplace_forms[op] = _make(op, "inplace")
    return found


def attach_methods(cls: type) -> None:
    """Give the Tensor class its methods. What the class or a composite defines by hand wins over an op's own."""
    own = {name for base in cls.__mro__[:-1] for name in vars(base)}
    for op in OPS.values():
        if not (op.method or op.inplace):
            continue
        for name in (op.name, *op.aliases):
            if op.method and name not in own and name not in _composite_methods:
                setattr(cls, name, function(op))
            if op.inplace and f"{name}_" not in own and f"{name}_" not in _composite_methods:
                setattr(cls, f"{name}_", _inplace(op))
    for name, fn in _composite_methods.items():
        if name not in own:
            setattr(cls, name, fn)
