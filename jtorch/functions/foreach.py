"""``torch._foreach_*``: one operation on every tensor of a list.

Each is recorded tensor by tensor; XLA fuses the whole list with the rest of the program.
"""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.export import composite, function

_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
)  # fmt: skip
_BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "true_divide", "pow": "pow", "maximum": "maximum",
    "minimum": "minimum", "clamp_max": "minimum", "clamp_min": "maximum",
}  # fmt: skip


def _some(tensors) -> list:
    """Raises:
    RuntimeError: there is none.
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    return tensors


def _each(other, n: int):
    """A second operand for each of ``n`` tensors: a list, or one number or tensor for all."""
    if isinstance(other, (list, tuple)):
        if len(other) != n:
            if not isinstance(other[0] if other else None, Tensor):
                raise RuntimeError(
                    f"Tensor list must have same number of elements as scalar list, got {n} and {len(other)}"
                )
            raise RuntimeError(f"Tensor lists must have the same number of tensors, got {n} and {len(other)}")
        return other
    return [other] * n


def _register(name: str, one, doc: str) -> None:
    """``_foreach_name`` from a function of one list element, and its in-place form."""

    def foreach(self, *args, **kwargs):
        return tuple(one(_some(self), *args, **kwargs))

    def foreach_(self, *args, **kwargs):
        for t in _some(self):
            t._check_inplace()
        for t, new in zip(self, one(list(self), *args, **kwargs), strict=True):
            t._store(new, f"_foreach_{name}_")
        return self

    for fn, suffix in ((foreach, ""), (foreach_, "_")):
        composite("torch", name=f"_foreach_{name}{suffix}", doc=doc)(fn)


def _unary(name):
    f = function(OPS[name])
    _register(name, lambda tensors: [f(t) for t in tensors], f"``{name}`` of every tensor of a list.")


def _binary(name, op):
    f = function(OPS[op])
    accepts_numbers = name not in ("maximum", "minimum", "clamp_max", "clamp_min")

    def one(tensors, other, alpha=None):
        others = _each(other, len(tensors))
        if not accepts_numbers:
            others = [o if isinstance(o, Tensor) else t.new_full((), o) for t, o in zip(tensors, others, strict=True)]
        extra = {} if alpha is None else {"alpha": alpha}
        return [f(t, o, **extra) for t, o in zip(tensors, others, strict=True)]

    _register(name, one, f"``{name}`` of every tensor of a list with a number, a tensor, or that of a second list.")


def _ternary(name):
    f = function(OPS[name])

    def one(tensors, tensor1, tensor2, value=1, *, scalars=None):
        value = value if scalars is None else scalars
        values = value.tolist() if isinstance(value, Tensor) else value
        rows = zip(tensors, *(_each(x, len(tensors)) for x in (tensor1, tensor2, values)), strict=True)
        return [f(t, a, b, value=v) for t, a, b, v in rows]

    _register(name, one, f"``{name}`` of every tensor of a list with those of two others.")


def _lerp(tensors, ends, weight):
    return [t.lerp(e, w) for t, e, w in zip(tensors, *(_each(x, len(tensors)) for x in (ends, weight)), strict=True)]


for _name in _UNARY:
    _unary(_name)
for _name, _op in _BINARY.items():
    _binary(_name, _op)
for _name in ("addcmul", "addcdiv"):
    _ternary(_name)
_register("lerp", _lerp, "``lerp`` of every tensor of a list towards that of a second one.")


@composite("torch")
def _foreach_norm(self, ord=2, dtype=None):
    """The vector norm of every tensor of a list."""
    norm = function(OPS["vector_norm"])
    return tuple(norm(t, ord, dtype=dtype) for t in _some(self))


@composite("torch")
def _foreach_zero_(self):
    """Fill every tensor of a list with zeros."""
    for t in _some(self):
        t.zero_()
    return self


@composite("torch")
def _foreach_copy_(self, src, non_blocking=False) -> None:
    """Copy every tensor of a second list into that of the first."""
    for t, s in zip(_some(self), _each(src, len(self)), strict=True):
        t.copy_(s)


@composite("torch")
def _foreach_clone(self, *, memory_format=None):
    """A copy of every tensor of a list."""
    return tuple(t.clone() if memory_format is None else t.clone(memory_format=memory_format) for t in self)


@composite("torch")
def _foreach_max(self):
    """The greatest element of every tensor of a list."""
    return tuple(t.max() for t in _some(self))


@composite("torch")
def _foreach_mm(self, mat2):
    """The matrix product of every tensor of a list with that of a second one."""
    return tuple(a.mm(b) for a, b in zip(self, _each(mat2, len(self)), strict=True))


@composite("torch")
def _foreach_powsum(self, ord=2, dtype=None):
    """The sum of the ``ord``-th powers of the magnitudes, of every tensor of a list."""
    return tuple(t.abs().pow(ord).sum(dtype=dtype) for t in self)
