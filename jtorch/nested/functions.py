"""What functions do with nested tensors: a handler for each, over the packed values."""

from __future__ import annotations

import builtins
import inspect

import jtorch

from ..ops.shapes import canonical_dim
from ..tables import by_name
from ..tensor import Tensor
from ..tensor.random import host_mask
from .tensor import HANDLERS, NestedTensor

#: Register ``f(func, args, kwargs)`` for functions by name.
handles = by_name(HANDLERS)


def named(*names: str):
    """Register ``f(t, **arguments by name)`` for functions whose first argument is the nested tensor."""

    def register(f):
        def handler(func, args, kwargs):
            return f(*args, **kwargs)

        for name in names:
            HANDLERS[name] = handler
        return f

    return register


def first(args) -> NestedTensor:
    """The nested tensor among arguments."""
    return next(x for x in args if isinstance(x, NestedTensor))


def _inner(t: NestedTensor, dim: int, what: str) -> int:
    """The values' dimension for ``dim``, which is neither the batch nor the ragged one.

    Raises:
        RuntimeError: it is one of these.
    """
    d = canonical_dim(dim, t.dim())
    if d == 0:
        raise RuntimeError(f"{what}(): not supported for NestedTensor on dim=0")
    if d == t._at:
        raise RuntimeError(f"{what}(): not supported for NestedTensor on ragged dim")
    return d - 1


# --- element by element ----------------------------------------------------------------------------------------------


def _operand(x, t: NestedTensor, what: str):
    """An operand for the packed values of ``t``."""
    if isinstance(x, NestedTensor):
        if x._ragged is not t._ragged or x._at != t._at:
            raise RuntimeError(
                f"cannot call binary pointwise function {what} with inputs of shapes {tuple(t.shape)} and "
                f"{tuple(x.shape)}: their ragged structures are not the same (share the offsets)"
            )
        return x._stored
    if not isinstance(x, Tensor) or x.dim() <= t.dim() - 1 - t._at:
        return x
    x = x.reshape((1,) * (t.dim() - x.dim()) + tuple(x.shape))
    if x.dim() != t.dim() or x.shape[t._at] != 1 or x.shape[0] not in (1, t._ragged.count):
        raise RuntimeError(
            f"cannot call binary pointwise function {what} with inputs of shapes {tuple(t.shape)} and "
            f"{tuple(x.shape)}: a dense operand has size 1 in the ragged dimension"
        )
    if x.shape[0] == 1:
        return x.squeeze(0)
    rows = x.select(t._at, 0).index_select(0, t._ragged.owners())  # each row gets its sequence's
    return rows.movedim(0, t._at - 1)


@handles("dropout")
def _dropout(func, args, kwargs):
    rate, training = (*args[1:3], *(None,) * (3 - len(args)))[:2]
    rate, training = kwargs.get("p", 0.5 if rate is None else rate), kwargs.get("training", training is not False)
    t = first([*args, *kwargs.values()])
    if rate == 0 and training and t.layout is jtorch.jagged:
        host_mask(t.values(), 1.0)  # PyTorch draws a mask at rate 0 too, which moves the samples that follow
    return _elementwise(func, args, kwargs)


@handles("elementwise", "where", "lerp", "fill", "alpha_dropout", "relu6", "threshold")
def _elementwise(func, args, kwargs):
    t = first([*args, *kwargs.values()])
    if not t._ragged.packed and len([x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]) > 1 and (
        any(isinstance(x, Tensor) and not isinstance(x, NestedTensor) and x.dim() == t.dim() for x in args)
    ):  # fmt: skip
        raise RuntimeError("a nested tensor with gaps takes no dense operand by sequences; call contiguous() first")
    what = func.__name__
    result = func(*(_operand(x, t, what) for x in args), **{k: _operand(x, t, what) for k, x in kwargs.items()})
    return tuple(t._like(r) for r in result) if isinstance(result, tuple) else t._like(result)


handles(
    "relu", "silu", "leaky_relu", "elu", "sigmoid", "tanh", "mish", "softplus", "hardtanh", "hardswish", "hardsigmoid",
    "selu", "celu", "logsigmoid", "softsign", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like",
    "randn_like", "type_as", "nan_to_num", "conj", "real", "to_dtype", "_identity", "_copy", "_dropout", "clip",
    "_accumulate", "masked_fill", "fill_", "zero_", "divide", "div", "multiply", "subtract", "true_divide", "isclose",
)(_elementwise)  # fmt: skip


@handles("layer_norm", "rms_norm")
def _on_rows(func, args, kwargs):
    """Functions of the dimensions after the ragged one."""
    t = first(args)
    shape = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
    count = 1 if isinstance(shape, int) else len(shape)
    if t.dim() - count <= t._at:
        raise RuntimeError(
            f"{func.__name__}(): not supported when normalizing over the ragged dimension for NestedTensor"
        )
    return t._like(func(t._stored, *args[1:], **kwargs))


@handles("linear")
def _linear(func, args, kwargs):
    t = first(args)
    if t._at == t.dim() - 1:
        raise RuntimeError("linear(): not supported for NestedTensor whose last dimension is ragged")
    return t._like(func(t._stored, *args[1:], **kwargs))


@handles("embedding")
def _embedding(func, args, kwargs):
    t = first(args)
    return t._like(func(t._stored, *args[1:], **kwargs))


# --- padding ---------------------------------------------------------------------------------------------------------


def pad(t: NestedTensor, value, length: int | None = None):
    """The dense ``(batch, longest, ...)`` of ``t`` with the ragged dimension second, filled up with ``value``."""
    ragged = t._ragged
    n = length or ragged.longest
    rows = t._stored if t._at == 1 else t._stored.movedim(t._at - 1, 0)
    rest = tuple(rows.shape[1:])
    if not ragged.count or not n or not rows.shape[0]:
        return rows.new_full((ragged.count, n, *rest), value)
    dense = rows.index_select(0, ragged.gather(n)).reshape((ragged.count, n, *rest))
    absent = ragged.mask(n).logical_not().reshape((ragged.count, n, *(1,) * len(rest)))
    return dense.masked_fill(absent, value)


def unpad(dense, t: NestedTensor, at: int | None = None) -> NestedTensor:
    """The nested tensor with the structure of ``t`` whose padded form is ``dense`` (ragged dimension second)."""
    at = t._at if at is None else at
    rows = dense.flatten(0, 1).index_select(0, t._ragged.places(dense.shape[1]))
    structure = t if t._ragged.packed else t.contiguous()
    return structure._like(rows.movedim(0, at - 1) if at != 1 else rows, at)


@named("to_padded_tensor", "nested_to_padded_tensor")
def to_padded_tensor(input, padding, output_size=None):
    """The dense tensor of which the sequences fill the beginnings and ``padding`` the rest.

    Args:
        output_size: its shape; what does not fit into it is left out.
    """
    dense = pad(input, padding)
    dense = dense if input._at == 1 else dense.movedim(1, input._at)
    if output_size is None:
        return dense
    wanted = [s if w is None or w == -1 else w for w, s in zip(output_size, dense.shape, strict=True)]
    widths = [n for w, s in reversed(list(zip(wanted, dense.shape, strict=True))) for n in (0, w - s)]
    return jtorch.nn.functional.pad(dense, widths, value=padding)


# --- reductions ------------------------------------------------------------------------------------------------------

_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1, "any": False, "all": True, "amax": float("-inf"), "amin": float("inf"),
            "nansum": 0, "logsumexp": float("-inf")}  # fmt: skip


@handles(*_NEUTRAL)
def _reduce(func, args, kwargs):
    op_name = func.__name__
    bound = inspect.signature(func).bind(*args, **kwargs).arguments
    t = first(args)
    dim, keepdim = bound.get("dim"), bound.get("keepdim", False)
    rest = {k: v for k, v in bound.items() if k not in ("input", "dim", "keepdim", "out")}
    t = t.contiguous() if not t._ragged.packed else t
    if dim is None or dim == ():
        return func(t._stored, **rest)
    dims = sorted({canonical_dim(d, t.dim()) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))})
    if 0 in dims and t._at not in dims:
        raise RuntimeError(
            f"{op_name}(): reducing along the batch dimension but not the ragged dimension is not supported for nested "
            "tensors"
        )
    if t._at not in dims:
        inner = tuple(d - 1 for d in dims)
        out = func(t._stored, inner if len(inner) > 1 else inner[0], keepdim, **rest)
        return t._like(out, t._at if keepdim else t._at - sum_below(dims, t._at))
    if 0 in dims:
        inner = tuple(d - 1 for d in dims if d)
        out = func(t._stored, inner if len(inner) > 1 else inner[0], keepdim, **rest)
        return out.unsqueeze(0) if keepdim else out
    if len(dims) > 1:
        raise RuntimeError(
            f"{op_name}(): reducing along a ragged and non-batch dimension is not supported for nested tensors"
        )
    if op_name in ("amax", "amin") and not t.dtype.is_floating_point:
        limits = jtorch.iinfo(t.dtype)
        fill = limits.min if op_name == "amax" else limits.max
    else:
        fill = _NEUTRAL[op_name]
    dense = pad(t, fill)
    if op_name == "mean":
        lengths = t._ragged._tensor(t._ragged.sizes).to(dense.dtype)
        out = dense.sum(1, **rest) / lengths.reshape((-1,) + (1,) * (dense.dim() - 2))
    else:
        out = func(dense, 1, **rest)
    return out.unsqueeze(t._at) if keepdim else out


def sum_below(dims, at: int) -> int:
    """How many of ``dims`` lie below ``at``."""
    return builtins.sum(d < at for d in dims)


@handles("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum")
def _softmax(func, args, kwargs):
    bound = dict(inspect.signature(func).bind(*args, **kwargs).arguments)
    name = "input" if "input" in bound else next(iter(bound))
    t, dim = bound.pop(name), bound.pop("dim")
    bound.pop("_stacklevel", None)
    d = canonical_dim(dim, t.dim())
    if d == 0:
        raise RuntimeError(f"{func.__name__}(): not supported for NestedTensor on dim=0")
    if d != t._at:
        return t._like(func(t._stored, dim=d - 1, **bound))
    dense = pad(t, 0 if func.__name__ == "cumsum" else jtorch.finfo(t.dtype).min)
    return unpad(func(dense, dim=1, **bound), t)


# --- shapes ----------------------------------------------------------------------------------------------------------


@named("transpose", "swapaxes", "swapdims")
def transpose(t, dim0, dim1):
    """Two dimensions exchanged, the batch excepted."""
    a, b = (canonical_dim(d, t.dim()) for d in (dim0, dim1))
    if 0 in (a, b):
        if a == b:
            return t
        raise ValueError("Transpose is not supported on the batch dimension for jagged nested tensors")
    at = b if t._at == a else a if t._at == b else t._at
    return t._like(t._stored.transpose(a - 1, b - 1), at)


@named("permute")
def permute(t, *dims, **kwargs):
    """The dimensions in another order, the batch first."""
    order = kwargs.get("dims", dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    order = [canonical_dim(d, t.dim()) for d in order]
    if order[0] != 0:
        raise RuntimeError("permute(): not supported for NestedTensor when the batch dimension moves")
    return t._like(t._stored.permute(tuple(d - 1 for d in order[1:])), order.index(t._at))


@named("unsqueeze")
def unsqueeze(t, dim):
    """A dimension of size 1, not before the batch."""
    d = canonical_dim(dim, t.dim() + 1)
    if d == 0:
        raise RuntimeError("unsqueeze(): not supported for NestedTensor on dim=0")
    return t._like(t._stored.unsqueeze(d - 1), t._at + (d <= t._at))


@named("squeeze")
def squeeze(t, dim):
    """Without a dimension of size 1."""
    d = _inner(t, dim, "squeeze")
    return t._like(t._stored.squeeze(d), t._at - (d + 1 < t._at and t._stored.shape[d] == 1))


@named("unflatten")
def unflatten(t, dim, sizes):
    """One dimension as several."""
    d = _inner(t, dim, "unflatten")
    return t._like(t._stored.unflatten(d, sizes), t._at + (len(sizes) - 1 if d + 1 < t._at else 0))


@named("flatten")
def flatten(t, start_dim=0, end_dim=-1):
    """Dimensions merged, neither the batch nor the ragged one among them."""
    a, b = (canonical_dim(d, t.dim()) for d in (start_dim, end_dim))
    if a == b:
        return t
    if a == 0 or a <= t._at <= b:
        raise RuntimeError("flatten(): not supported for NestedTensor when the batch or the ragged dimension is merged")
    return t._like(t._stored.flatten(a - 1, b - 1), t._at - (b - a if b < t._at else 0))


@named("view", "reshape")
def reshape(t, *shape, **kwargs):
    """Another shape in which batch and ragged dimension keep their places: ``(B, j, ...)`` or ``(B, -1, ...)``."""
    sizes = kwargs.get(
        "shape", kwargs.get("size", shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
    )
    sizes = list(sizes)
    if t._at in (i for i, s in enumerate(sizes) if s is t._ragged.size or s == -1) and sizes[0] in (
        t._ragged.count,
        -1,
    ):
        before = list(t._stored.shape[: t._at - 1])
        if sizes[1 : t._at] == before:
            return t._like(t._stored.reshape((*before, t._stored.shape[t._at - 1], *sizes[t._at + 1 :])))
    raise RuntimeError(
        f"view(): does not support a change of the batch or ragged dimension: {tuple(t.shape)} to {sizes}"
    )


@named("cat")
def cat(tensors, dim=0):
    """Joined along a dimension that is neither the ragged one nor (unless offsets are the same) the batch."""
    t = first(tensors)
    d = canonical_dim(dim, t.dim())
    if d == 0:
        parts = [s for x in tensors for s in x.unbind()]
        return build(parts, t._at, t._kind)
    inner = _inner(t, dim, "cat")
    return t._like(jtorch.cat([_operand(x, t, "cat") for x in tensors], inner))


HANDLERS["concat"] = HANDLERS["concatenate"] = HANDLERS["cat"]


@handles("chunk", "split", "split_with_sizes", "tensor_split")
def _split(func, args, kwargs):
    t = args[0]
    bound = dict(inspect.signature(func).bind(*args, **kwargs).arguments)
    dim = bound.pop("dim", 0)
    name = next(iter(bound))
    bound.pop(name)
    if canonical_dim(dim, t.dim()) == 0:
        groups = func(jtorch.arange(t._ragged.count), **bound)
        parts = t.unbind()
        return tuple(build([parts[i] for i in g.tolist()], t._at, t._kind) for g in groups)
    return tuple(t._like(p) for p in func(t._stored, **bound, dim=_inner(t, dim, func.__name__)))


@named("select", "select.tensor")
def select(t, dim, index):
    """One sequence, or the part of all at an index of another dimension."""
    d = canonical_dim(dim, t.dim())
    if d == 0:
        return t.unbind()[int(index)]
    inner = _inner(t, dim, "select")
    return t._like(t._stored.select(inner, index), t._at - (d < t._at))


@named("narrow")
def narrow_inner(t, dim, start, length):
    """A stretch of a dimension that is neither the batch nor the ragged one."""
    return t._like(t._stored.narrow(_inner(t, dim, "narrow"), start, length))


@named("__getitem__")
def getitem(t, item):
    """``t[i]`` is a sequence; ``t[:, :, a:b]`` and ``t[..., i]`` index the regular dimensions."""
    items = item if isinstance(item, tuple) else (item,)
    if isinstance(items[0], int) and not isinstance(items[0], bool):
        sequence = t.unbind()[items[0]]
        return sequence if len(items) == 1 else sequence[items[1:]]
    if Ellipsis in [i for i in items if not isinstance(i, Tensor)]:
        at = next(n for n, i in enumerate(items) if i is Ellipsis)
        missing = t.dim() - builtins.sum(i is not None for i in items) + 1
        items = (*items[:at], *(slice(None),) * missing, *items[at + 1 :])
    whole = slice(None)
    if items[0] != whole or (len(items) > t._at and items[t._at] != whole) or None in [
        i for i in items[: t._at] if not isinstance(i, Tensor)
    ]:  # fmt: skip
        raise RuntimeError("slice(): not supported for NestedTensor on the batch or ragged dimension; use unbind()")
    gone = builtins.sum(isinstance(i, int) for i in items[1 : t._at])
    return t._like(t._stored[items[1:]], t._at - gone)


@named("unbind")
def unbind(t, dim=0):
    """The sequences."""
    return t.unbind(dim)


# --- products --------------------------------------------------------------------------------------------------------


@named("matmul", "bmm", "mm", "__matmul__")
def matmul(a, b):
    """``(B, j, K) x (K, N)``, ``(B, j, K) x (B, K, N)``, and of two nested ones the product of their sequences."""
    if not isinstance(a, NestedTensor):
        raise RuntimeError("matmul(): a dense tensor times a nested one is not supported; transpose the product")
    if isinstance(b, NestedTensor):
        if a._ragged is b._ragged and a._at == a.dim() - 1 and b._at == b.dim() - 2:  # the ragged dimension is summed
            return pad(a, 0).movedim(1, -1) @ pad(b, 0).movedim(1, b._at)
        if a._at == a.dim() - 2 and b._at == b.dim() - 2:
            raise RuntimeError("matmul(): incompatible ragged dimensions; transpose the second factor")
        raise RuntimeError("matmul(): the product would have two ragged dimensions; use scaled_dot_product_attention")
    if a._at == a.dim() - 1:
        raise RuntimeError("matmul(): the ragged dimension cannot be summed with a dense one")
    if b.dim() <= 2:
        return a._like(a._stored @ b)
    if b.dim() == 3 and a.dim() == 3 and b.shape[0] == a._ragged.count:
        return unpad(pad(a, 0) @ b, a)
    raise RuntimeError(f"matmul(): a nested tensor of {a.dim()} dimensions and a dense one of shape {tuple(b.shape)}")


@named("scaled_dot_product_attention")
def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """Attention of each sequence to itself (or to one of another nested tensor), ``(B, heads, j, E)``."""
    if attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: attn_mask is not supported for nested tensors")
    if not builtins.all(isinstance(x, NestedTensor) and x._at == x.dim() - 2 for x in (query, key, value)):
        raise RuntimeError("scaled_dot_product_attention: query, key and value must be nested tensors (B, heads, j, E)")
    if key._ragged is not value._ragged:
        raise RuntimeError("scaled_dot_product_attention: key and value must share their ragged structure")
    q, k, v = (pad(x, 0).movedim(1, -2) for x in (query, key, value))
    valid = key._ragged.mask().clone()
    valid[:, 0] = True  # an empty sequence attends to padding, which nobody sees, rather than to nothing
    mask = valid.reshape((valid.shape[0],) + (1,) * (q.dim() - 2) + (valid.shape[1],))
    if is_causal:
        mask = mask.logical_and(mask.new_ones((q.shape[-2], k.shape[-2])).tril())
    out = jtorch.nn.functional.scaled_dot_product_attention(
        q, k, v, mask, dropout_p, False, scale=scale, enable_gqa=enable_gqa
    )
    return unpad(out.movedim(-2, 1), query)


def build(parts, at: int, kind) -> NestedTensor:
    """A nested tensor of sequences."""
    from .creation import of_parts

    return of_parts(parts, at, kind)
