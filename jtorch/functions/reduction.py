"""Reductions whose form depends on how they are called."""

from __future__ import annotations

from ..ops.outputs import same_dtype
from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.dispatch import call, dispatch, whole
from ..tensor.export import composite, function
from .storages import TypedStorage, UntypedStorage


def _extremum(name: str, elementwise: str):
    doc = (
        f"``{name}(input)``: over all elements; ``{name}(input, dim, keepdim=False)``: (values, indices); "
        f"``{name}(input, other)``: element by element."
    )

    @composite("torch", method=True, name=name, doc=doc, out=same_dtype)
    def extremum(input, dim=None, keepdim=False, *, other=None, axis=None, keepdims=False):
        dim = axis if dim is None else dim
        other = dim if isinstance(dim, Tensor) and dim.dim() + input.dim() >= 0 and not _is_dim(dim) else other
        if other is not None:
            return function(OPS[elementwise])(input, other)
        if dim is None:
            return dispatch(OPS[f"{name}.all"], (input,), ())
        return dispatch(
            OPS[f"{name}.dim"], (input,), (whole(dim, "dim", 1, OPS[name + ".dim"]), bool(keepdim or keepdims))
        )


def _is_dim(x) -> bool:
    return isinstance(x, int)


_extremum("max", "maximum")
_extremum("min", "minimum")


def _middle(name: str):
    doc = f"The {name} of all elements, or (values, indices) along ``dim``."

    @composite("torch", method=True, name=name, doc=doc, out=True)
    def middle(input, dim=None, keepdim=False, *, axis=None):
        dim = axis if dim is None else dim
        if dim is None:
            return dispatch(OPS[f"{name}.all"], (input,), ())
        return dispatch(OPS[f"{name}.dim"], (input,), (whole(dim, "dim", 1, OPS[name + ".dim"]), bool(keepdim)))


_middle("median")
_middle("nanmedian")


@composite("torch", method=True, aliases=("divide",), out=True)
def div(input, other, *, rounding_mode=None):
    """``input / other``, rounded by ``rounding_mode`` (None, ``"trunc"`` or ``"floor"``)."""
    if rounding_mode is None:
        return dispatch(OPS["true_divide"], (input, other), ())
    return dispatch(OPS["div.mode"], (input, other), (rounding_mode,))


@composite(method=True, aliases=("divide_",))
def div_(self, other, *, rounding_mode=None):
    """In-place :func:`div`."""
    self._check_inplace()
    return self._store(div(self, other, rounding_mode=rounding_mode), "div_")


def _softmax(name: str, internal: str):
    @composite("torch", "special", method=True, name=name, doc=OPS[internal].doc, out=same_dtype)
    def softmax(input, dim=None, dtype=None, *, axis=None):
        dim = axis if dim is None else dim
        if dim is None:
            raise TypeError(f'{name}() missing 1 required positional arguments: "dim"')
        return call(internal, input, dim=dim, dtype=dtype)


_softmax("softmax", "_softmax")
_softmax("log_softmax", "_log_softmax")


@composite("torch", method=True)
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere, as a Python bool."""
    return bool(function(OPS["isclose"])(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan).all())


@composite("torch")
def is_tensor(obj) -> bool:
    """Whether ``obj`` is a Tensor."""
    return isinstance(obj, Tensor)


@composite("torch", method=False)
def is_floating_point(input) -> bool:
    """Whether the dtype is a floating type."""
    return input.is_floating_point()


@composite("torch")
def is_complex(input) -> bool:
    """Whether the dtype is complex."""
    return input.is_complex()


@composite("torch")
def is_nonzero(input) -> bool:
    """The truth of a one-element tensor."""
    return bool(input)


@composite("torch")
def numel(input) -> int:
    """The number of elements."""
    return input.numel()


@composite("torch")
def is_storage(obj) -> bool:
    return isinstance(obj, (UntypedStorage, TypedStorage))


@composite(method=True)
def sum_to_size(self, *size):
    """Summed down to ``size``, which must broadcast to this tensor's shape."""
    size = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    extra = self.dim() - len(size)
    if extra < 0 or any(n not in (1, m) for n, m in zip(size, self.shape[extra:], strict=True)):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(self.shape)}}}.")
    dims = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(size) if n == 1 and self.shape[extra + i] != 1)
    out = function(OPS["sum"])(self, dims, True) if dims or not size else self  # int64, of integers
    return out.reshape(size)
