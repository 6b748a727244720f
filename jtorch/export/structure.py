"""How arguments and results are nested, as JSON: what is written beside a program instead of pickled classes."""

from __future__ import annotations

import collections
import math

from ..tensor import Tensor
from ..utils import _pytree

_PLAIN = (type(None), bool, int, float, str)
_DICTS = {"dict": dict, "ordered": collections.OrderedDict}


def describe(tree, leaf) -> object:
    """``tree`` as JSON; ``leaf(x)`` gives the number of a tensor, or None for something else.

    Raises:
        TypeError: something in it is neither a tensor nor a plain value.
    """
    number = leaf(tree)
    if number is not None:
        return {"tensor": number}
    if isinstance(tree, dict):
        if not all(isinstance(k, _PLAIN) for k in tree):
            raise TypeError("a dict in the arguments or results has keys that are neither strings nor numbers")
        kind = "ordered" if isinstance(tree, collections.OrderedDict) else "dict"
        return {kind: [[k, describe(v, leaf)] for k, v in tree.items()]}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return {"namedtuple": type(tree).__name__, "fields": [[n, describe(v, leaf)] for n, v in
                                                              zip(tree._fields, tree, strict=True)]}  # fmt: skip
    if isinstance(tree, (list, tuple)):
        return {"list" if isinstance(tree, list) else "tuple": [describe(x, leaf) for x in tree]}
    if isinstance(tree, _PLAIN):
        return {"value": tree}
    if _pytree._functions(type(tree)) is not None:
        parts, context = _pytree._functions(type(tree))[0](tree)
        parts = [describe(x, leaf) for x in parts]
        try:
            return {"node": _name(type(tree)), "parts": parts, "context": describe(context, lambda x: None)}
        except TypeError:  # what the class needs besides its parts is no plain value
            return {"tuple": parts}
    raise TypeError(f"a {type(tree).__name__} among the arguments or results is neither a tensor nor a plain value")


def kind_of(form: dict) -> tuple:
    """``(kind, content)`` of a form."""
    return next((k, v) for k, v in form.items() if k not in ("fields", "parts", "context"))


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _registered(name: str) -> type:
    """The class of this name, which the program must have registered: a file's text imports nothing."""
    for cls in _pytree.SUPPORTED_NODES:
        if _name(cls) == name:
            return cls
    raise TypeError(f"the program takes or returns a {name}: register it first (torch.export.register_dataclass)")


def agreed(forms: list, terms):
    """One form for a program that was recorded at several sizes and returned trees of these forms.

    A whole number that is not the same at all sizes becomes a sum of terms ``[factor, [[size, offset], ...]]``: the
    factor times ``size - offset`` of each. ``terms(values)`` gives them.

    Raises:
        ValueError: the forms differ in another way.
    """
    first = forms[0]
    if all(type(f) is type(first) for f in forms):
        if all(f == first for f in forms):
            return first
        if isinstance(first, dict) and all(f.keys() == first.keys() for f in forms):
            values = [f.get("value") for f in forms]
            if all(type(v) is int for v in values):
                return {"size": terms(values)}
            return {k: agreed([f[k] for f in forms], terms) for k in first}
        if isinstance(first, list) and all(len(f) == len(first) for f in forms):
            return [agreed(list(several), terms) for several in zip(*forms, strict=True)]
    raise ValueError(f"what it returns is not of the same form at all sizes: {first} becomes {forms[-1]}")


def build(form, tensors: list, sizes: dict[str, int]):
    """The tree that ``form`` describes, around ``tensors``, where the open sizes are ``sizes``."""
    kind, content = kind_of(form)
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind in _DICTS:
        return _DICTS[kind]((k, build(v, tensors, sizes)) for k, v in content)
    if kind == "size":
        return sum(c * math.prod(sizes[n] - offset for n, offset in factors) for c, factors in content)
    if kind == "namedtuple":
        names = [n for n, _ in form["fields"]]
        return collections.namedtuple(content, names)(*(build(v, tensors, sizes) for _, v in form["fields"]))
    if kind == "node":
        parts = [build(x, tensors, sizes) for x in form["parts"]]
        return _pytree._functions(_registered(content))[1](parts, build(form["context"], tensors, sizes))
    parts = [build(x, tensors, sizes) for x in content]
    return parts if kind == "list" else tuple(parts)


def match_call(form, args: tuple, kwargs: dict, misfit: type[Exception]) -> list:
    """The tensors among the arguments of a call, which must be formed like ``form``, a list of both.

    Raises:
        ValueError: there are more, fewer or other values somewhere.
        TypeError: something is no tensor where the program takes one.
        misfit: a value is not the one that the program was exported for.
    """
    _, (positional, named) = kind_of(form)
    expected, wanted = kind_of(positional)[1], [k for k, _ in kind_of(named)[1]]
    if set(kwargs) != set(wanted):
        raise ValueError(f"Ran into a kwarg keyword mismatch: Got the following keywords {list(kwargs)} but expected "
                         f"{wanted}: arguments are given by position or by name as in the example inputs")  # fmt: skip
    if len(args) != len(expected):
        raise ValueError(f"the program takes {len(expected)} positional arguments, as its example inputs had, got "
                         f"{len(args)}")  # fmt: skip
    return match(form, [list(args), kwargs], misfit)


def match(form, tree, misfit: type[Exception], path: str = "arguments") -> list:
    """The tensors of ``tree``, which must be formed like ``form``.

    Raises:
        ValueError: it is nested in another way, or a container is of another class.
        TypeError: something is no tensor where one is expected.
        misfit: something is not the value that is expected.
    """
    kind, content = kind_of(form)
    if kind == "tensor":
        if not isinstance(tree, Tensor):
            raise TypeError(f"{path}: expected a Tensor, got {type(tree).__name__}")
        return [tree]
    if kind == "value":
        if type(tree) is not type(content) or tree != content:
            raise misfit(f"Guard failed: {path} == {content!r}: the program was exported for {content!r}, got {tree!r}")
        return []
    if kind in _DICTS:
        if not isinstance(tree, dict) or set(tree) != {k for k, _ in content}:
            raise ValueError(f"{path}: expected a dict with keys {[k for k, _ in content]}")
        return [t for k, v in content for t in match(v, tree[k], misfit, f"{path}[{k!r}]")]
    if kind == "node":
        if _name(type(tree)) != content:
            raise ValueError(f"{path}: expected a {content}, got {type(tree).__name__}")
        parts = _pytree._functions(type(tree))[0](tree)[0]
        return [t for i, (v, x) in enumerate(zip(form["parts"], parts, strict=True))
                for t in match(v, x, misfit, f"{path}[{i}]")]  # fmt: skip
    parts = [v for _, v in form["fields"]] if kind == "namedtuple" else content
    if not isinstance(tree, (list, tuple)) or len(tree) != len(parts):
        raise ValueError(f"{path}: expected {len(parts)} values, got {tree!r:.80}")
    return [t for i, (v, x) in enumerate(zip(parts, tree, strict=True)) for t in match(v, x, misfit, f"{path}[{i}]")]
