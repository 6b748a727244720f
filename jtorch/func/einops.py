"""``torch.func.rearrange``: dimensions named, grouped, split and moved by a pattern (einops: Rogozhnikov, 2022)."""

from __future__ import annotations

import math
import re

import jtorch

_TOKEN = re.compile(r"\s*(\.\.\.|[()]|1\b|\w+|.)")
ELLIPSIS = "..."


class DimensionBindError(Exception):
    """A tensor's size does not fit the names that a pattern gives it."""


def _side(text: str) -> list[list[str] | str]:
    """The dimensions of one side of a pattern, each as the names it is composed of; ``1`` and ``()`` have none.

    An ellipsis outside brackets, which stands for several, is itself.

    Raises:
        ValueError: the pattern is not understood.
    """
    found, group = [], None
    for token in _TOKEN.findall(text.rstrip()):
        if token == "(":
            if group is not None:
                raise ValueError("Axis composition is one-level (brackets inside brackets not allowed)")
            group = []
        elif token == ")":
            if group is None:
                raise ValueError("Brackets are not balanced")
            found.append(group)
            group = None
        elif token == "1":
            if group is None:
                found.append([])
        elif token == ELLIPSIS or token.isidentifier() and token.strip("_") == token:
            if group is not None:
                group.append(token)
            else:
                found.append(token if token == ELLIPSIS else [token])
        elif token.isdecimal():
            raise ValueError("rearrange only supports unnamed axes of size 1")
        elif token.replace("_", "a").isidentifier():
            raise ValueError(f"Invalid axis identifier: {token}\naxis name should not start or end with underscore")
        else:
            raise ValueError(f"Unknown character '{token}'")
    if group is not None:
        raise ValueError(f"Brackets are not closed: {text}")
    names = _names(found)
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"Indexing expression contains duplicate dimension '{twice}'")
    return found


def _names(side) -> list[str]:
    return [n for group in side for n in ([group] if group == ELLIPSIS else group)]


def _spread(side, many: int) -> list[list]:
    """A side with ``many`` dimensions in the place of its ellipsis."""
    dots = [(ELLIPSIS, i) for i in range(many)]
    found = []
    for group in side:
        if group == ELLIPSIS:
            found += [[d] for d in dots]
        else:
            found.append([d for n in group for d in (dots if n == ELLIPSIS else [n])])
    return found


def _checked(pattern: str, lengths: dict[str, int]) -> tuple[list, list]:
    """Both sides of a pattern.

    Raises:
        ValueError: they do not have the same names, or ``lengths`` has others.
    """
    if pattern.count("->") != 1:
        raise ValueError("Pattern must contain a single '->' separator")
    left, right = (_side(text) for text in pattern.split("->"))
    given, wanted = set(_names(left)), set(_names(right))
    if any(ELLIPSIS in group for group in left if group != ELLIPSIS):
        raise ValueError(f"Ellipsis is parenthesis in the left side is not allowed: {pattern}")
    if ELLIPSIS in wanted - given:
        raise ValueError(f"Ellipsis found in right side, but not left side of a pattern {pattern}")
    if given != wanted:
        raise ValueError(f"Identifiers only on one side of rearrange expression (should be on both): {given ^ wanted}")
    if lengths.keys() - given:
        raise ValueError(f"Identifiers not found in rearrange expression: {lengths.keys() - given}")
    return left, right


def _sizes(group: list[str], size: int, lengths: dict[str, int]) -> list[int]:
    """The sizes of the dimensions that one of ``size`` is composed of; one may be left to be inferred.

    Raises:
        DimensionBindError: they do not fit.
    """
    unknown = [n for n in group if n not in lengths]
    if len(unknown) > 1:
        raise DimensionBindError(f"cannot infer the sizes of {len(unknown)} dimensions at once: {', '.join(unknown)}")
    known = math.prod(lengths[n] for n in group if n in lengths)
    rest = size // known if unknown and known else 1
    if known * rest != size:
        raise DimensionBindError(f"a dimension of size {size} is not composed of {group} with {lengths}")
    return [lengths.get(n, rest) for n in group]


def rearrange(tensor, pattern: str, **axes_lengths: int):
    """A tensor with its dimensions moved, split and joined: ``rearrange(x, "b (h w) c -> b c h w", h=8)``.

    Args:
        tensor: a tensor, or a list of them, which is stacked along a first dimension.
        pattern: the dimensions before and after ``->``. Those in brackets are one, composed of the ones named; ``1``
            and ``()`` are of size 1; ``...`` stands for any number.
        axes_lengths: sizes of named dimensions; of those in a pair of brackets one may be left out.

    Raises:
        ValueError: the pattern is not understood, its sides differ in names, or it has not as many dimensions as
            ``tensor``.
        DimensionBindError: a size does not fit.
    """
    x = tensor if isinstance(tensor, jtorch.Tensor) else jtorch.stack(tuple(tensor))
    left, right = _checked(pattern, axes_lengths)
    many = x.dim() - sum(group != ELLIPSIS for group in left)
    if many < 0 or many and ELLIPSIS not in left:
        raise ValueError(
            f"Number of dimensions in pattern ({len(left)}) must be equal to the number of dimensions in the tensor "
            f"({x.dim()})"
        )
    left, right = _spread(left, many), _spread(right, many)
    names = [n for group in left for n in group]
    sizes = [s for group, size in zip(left, x.shape, strict=True) for s in _sizes(group, size, axes_lengths)]
    moved = x.reshape(sizes).permute([names.index(n) for group in right for n in group])
    size = dict(zip(names, sizes, strict=True))
    return moved.reshape([math.prod(size[n] for n in group) for group in right])
