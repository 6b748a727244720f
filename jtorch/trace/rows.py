"""How a value of a program at one size is related to that of the same program at fewer rows, primitive by primitive.

Each pair of values is either the same in both (``None``) or stands in the relation :class:`Rows`: the small one is the
first rows of the big one. A rule per primitive says which relation of the results follows from those of the operands;
where none does, nothing is proven. :mod:`.prover` walks two programs by these rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .jaxapi import is_jaxpr, jaxpr_parts, scan_counts


class NotProven(Exception):
    """Rows may depend on one another, or on how many there are."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Dimension ``dim`` has ``outer * rows * inner`` entries; the small value has those of the first rows.

    ``copies``: the other rows of the big value are copies of the last of these, as padded arguments are.
    """

    dim: int
    outer: int = 1
    inner: int = 1
    copies: bool = True


class Pair:
    """One step in both programs, and the relations of its operands."""

    def __init__(self, prover, big, small, operands: list):
        self.prover, self.big, self.small, self.operands = prover, big, small, operands
        self.name, self.params = big.primitive.name, big.params

    def shape(self, i: int = 0) -> tuple:
        return self.big.invars[i].aval.shape

    def small_shape(self, i: int = 0) -> tuple:
        return self.small.invars[i].aval.shape

    def same_params(self, *but: str) -> None:
        for key, value in self.params.items():
            if key not in but and not _same_param(value, self.small.params[key]):
                raise NotProven(f"{self.name} has another {key} at other sizes")

    def one(self, several=None) -> Rows | None:
        """The relation that all these operands share; an operand of extent 1 along the rows is spread over them."""
        where = range(len(self.operands)) if several is None else several
        rows = [self.operands[i] for i in where if self.operands[i] is not None]
        if not rows:
            return None
        first = rows[0]
        for r in rows[1:]:
            if (r.dim, r.outer, r.inner) != (first.dim, first.outer, first.inner):
                raise NotProven(f"{self.name} combines rows with other rows")
        for i in where:
            shape = self.shape(i)
            if self.operands[i] is None and shape and shape[first.dim] != 1:
                raise NotProven(f"{self.name} combines rows with other rows")
        return replace(first, copies=all(r.copies for r in rows))

    def same_but(self, dim: int, key: str) -> tuple:
        """``(big, small)``: entry ``dim`` of parameter ``key``, whose other entries must not differ."""
        big, small = self.params[key], self.small.params[key]
        if len(big) != len(small) or any(a != b for d, (a, b) in enumerate(zip(big, small, strict=True)) if d != dim):
            raise NotProven(f"{self.name} has another {key} at other sizes")
        return big[dim], small[dim]

    def mixes(self):
        return NotProven(f"{self.name} combines rows with other rows")


def equal(a, b) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _same_param(a, b) -> bool:
    if is_jaxpr(a):
        return type(a) is type(b) and str(a) == str(b) and all(map(equal, jaxpr_parts(a)[1], jaxpr_parts(b)[1]))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return equal(a, b)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same_param, a, b))
    return a is b or (type(a) is type(b) and (a == b or a != a and b != b))


# --- rules: from the relations of the operands to those of the results -----------------------------------------------


def _elementwise(p: Pair) -> list:
    p.same_params()
    return [p.one()] * len(p.big.outvars)


def _each(p: Pair) -> list:
    p.same_params()
    return list(p.operands)


def _broadcast(p: Pair) -> list:
    p.same_params("shape")
    big, small, dims = p.params["shape"], p.small.params["shape"], p.params["broadcast_dimensions"]
    differ = [d for d in range(len(big)) if big[d] != small[d]]
    if len(differ) != 1:
        raise p.mixes()
    d, r = differ[0], p.operands[0]
    if r is not None:
        if dims[r.dim] != d:
            raise p.mixes()
        return [replace(r, dim=d)]
    if d in dims and p.shape()[dims.index(d)] != 1:
        raise p.mixes()
    return [Rows(d, 1, _per_row(p, big[d], small[d]))]


def _per_row(p: Pair, big: int, small: int) -> int:
    count, rest = divmod(big, p.prover.big)
    if rest or not count or count * p.prover.small != small:
        raise NotProven(f"{p.name}: a shape is no multiple of the size")
    return count


def _iota(p: Pair) -> list:
    p.same_params("shape")
    big, small = p.params["shape"], p.small.params["shape"]
    differ = [d for d in range(len(big)) if big[d] != small[d]]
    if len(differ) != 1:
        raise p.mixes()
    d = differ[0]
    return [Rows(d, 1, _per_row(p, big[d], small[d]), copies=d != p.params["dimension"])]


def _reshape(p: Pair) -> list:
    """Rows lie ``before`` apart from the front and ``after`` entries each; some dimension must hold them so again."""
    p.same_params("new_sizes")
    r, shape = p.operands[0], p.shape()
    big, small = p.params["new_sizes"], p.small.params["new_sizes"]
    differ = [d for d in range(len(big)) if big[d] != small[d]]
    if r is None or len(differ) != 1 or len(big) != len(small) or 0 in shape:
        raise p.mixes()
    before, after = math.prod(shape[: r.dim]) * r.outer, math.prod(shape[r.dim + 1 :]) * r.inner
    d = differ[0]
    outer, x = divmod(before, math.prod(big[:d]))
    inner, y = divmod(after, math.prod(big[d + 1 :]))
    if x or y:
        raise p.mixes()
    return [replace(r, dim=d, outer=outer, inner=inner)]  # whether its extent fits is checked for every result


def _bitcast(p: Pair) -> list:
    if p.big.outvars[0].aval.shape != p.shape():  # to a wider or narrower type: there is a dimension less or more
        raise p.mixes()
    return _elementwise(p)


def _transpose(p: Pair) -> list:
    p.same_params()
    return [replace(p.operands[0], dim=p.params["permutation"].index(p.operands[0].dim))]


def _without(p: Pair, r: Rows, dims) -> Rows:
    if r.dim in dims:
        raise p.mixes()
    return replace(r, dim=r.dim - sum(d < r.dim for d in dims))


def _squeeze(p: Pair) -> list:
    p.same_params()
    return [_without(p, p.operands[0], p.params["dimensions"])]


def _reduce(p: Pair) -> list:
    p.same_params()
    r = p.operands[0]
    if r.dim in p.params["axes"] and r.copies and p.name in _IDEMPOTENT:
        return [None]  # copies of a row change no maximum
    return [_without(p, r, p.params["axes"])]


_IDEMPOTENT = frozenset(("reduce_max", "reduce_min", "reduce_and", "reduce_or"))


def _general_reduce(p: Pair) -> list:
    p.same_params()
    half = len(p.operands) // 2
    if any(p.operands[half:]):
        raise p.mixes()
    return [_without(p, p.one(range(half)), p.params["dimensions"])] * half


def _along(key: str, default=None):
    """A rule of what works along one dimension, which must be another than the rows'."""

    def rule(p: Pair) -> list:
        p.same_params()
        r, axis = p.one(), p.params.get(key, default)
        if r.dim == (axis % len(p.shape())):
            raise p.mixes()
        return [r] * len(p.big.outvars)

    return rule


def _concatenate(p: Pair) -> list:
    p.same_params()
    r = p.operands[0]
    if any(o is None or (o.dim, o.outer, o.inner) != (r.dim, r.outer, r.inner) for o in p.operands if r is not None):
        raise p.mixes()
    if r is None or r.dim == p.params["dimension"]:
        raise p.mixes()
    return [replace(r, copies=all(o.copies for o in p.operands))]


def _stack(p: Pair) -> list:
    p.same_params()
    r, axis = p.one(), p.params["axis"] % (len(p.shape()) + 1)
    return [replace(r, dim=r.dim + (axis <= r.dim))]


def _unstack(p: Pair) -> list:
    p.same_params()
    return [_without(p, p.operands[0], (p.params["axis"] % len(p.shape()),))] * len(p.big.outvars)


def _reverse(p: Pair) -> list:
    p.same_params()
    if p.operands[0].dim in p.params["dimensions"]:
        raise p.mixes()
    return list(p.operands)


def _dot(p: Pair) -> list:
    p.same_params()
    (left_sum, right_sum), (left_batch, right_batch) = p.params["dimension_numbers"]
    left, right = p.operands
    if left is not None and right is not None:
        same = (left.outer, left.inner) == (right.outer, right.inner)
        if not same or left.dim not in left_batch or right_batch[left_batch.index(left.dim)] != right.dim:
            raise p.mixes()
        return [Rows(left_batch.index(left.dim), left.outer, left.inner, left.copies and right.copies)]
    if left is not None:
        r, used, offset = left, (*left_sum, *left_batch), len(left_batch)
    else:
        r, used = right, (*right_sum, *right_batch)
        offset = len(p.shape(0)) - len(left_sum)
    if r.dim in used:
        raise p.mixes()
    return [replace(r, dim=offset + sum(d not in used for d in range(r.dim)))]


def _convolution(p: Pair) -> list:
    p.same_params("lhs_shape", "rhs_shape")
    numbers, (image, kernel) = p.params["dimension_numbers"], p.operands
    if kernel is not None or image.dim != numbers.lhs_spec[0] or p.params["batch_group_count"] != 1:
        raise p.mixes()
    return [replace(image, dim=numbers.out_spec[0])]


def _window(p: Pair) -> list:
    """Windows of extent 1 along the rows."""
    p.same_params()
    arrays = [i for i in range(len(p.operands)) if p.shape(i)]
    r = p.one(arrays)
    for key, plain in _PLAIN_WINDOW.items():
        given = p.params.get(key)
        if given is not None and tuple(np.ravel(given[r.dim])) != plain:
            raise p.mixes()
    return [r] * len(p.big.outvars)


_PLAIN_WINDOW = {
    "window_dimensions": (1,), "window_strides": (1,), "padding": (0, 0), "base_dilation": (1,),
    "window_dilation": (1,),
}  # fmt: skip


def _slice(p: Pair) -> list:
    p.same_params("limit_indices")
    r = p.operands[0]
    strides = p.params["strides"]
    limits = p.same_but(r.dim, "limit_indices")
    whole = limits == (p.shape()[r.dim], p.small_shape()[r.dim])
    if not whole or p.params["start_indices"][r.dim] or (strides is not None and strides[r.dim] != 1):
        raise p.mixes()
    return [r]


def _pad(p: Pair) -> list:
    p.same_params()
    r = p.operands[0]
    if p.operands[1] is not None or r is None or tuple(p.params["padding_config"][r.dim]) != (0, 0, 0):
        raise p.mixes()
    return [r]


def _dynamic_slice(p: Pair) -> list:
    p.same_params("slice_sizes")
    r = p.operands[0]
    if r is None or any(p.operands[1:]):
        raise p.mixes()
    if p.same_but(r.dim, "slice_sizes") != (p.shape()[r.dim], p.small_shape()[r.dim]):
        raise p.mixes()
    return [r]  # all rows: wherever it is to start, it starts at the first


def _dynamic_update(p: Pair) -> list:
    p.same_params()
    if any(p.operands[2:]) or p.operands[0] is None or p.operands[1] is None:
        raise p.mixes()
    return [p.one((0, 1))]


def _gather(p: Pair) -> list:
    p.same_params("slice_sizes")
    numbers, sizes = p.params["dimension_numbers"], p.params["slice_sizes"]
    array, where = p.operands
    rank = len(p.big.outvars[0].aval.shape)
    if where is not None:
        if sizes != p.small.params["slice_sizes"] or where.dim == len(p.shape(1)) - 1:
            raise p.mixes()
        if array is not None:
            return [_batched(p, array, where, numbers.operand_batching_dims, numbers.start_indices_batching_dims,
                             [d for d in range(rank) if d not in numbers.offset_dims])]  # fmt: skip
        if where.dim in numbers.start_indices_batching_dims:
            raise p.mixes()
        return [replace(where, dim=[d for d in range(rank) if d not in numbers.offset_dims][where.dim])]
    whole = p.same_but(array.dim, "slice_sizes") == (p.shape()[array.dim], p.small_shape()[array.dim])
    return [replace(array, dim=_in_window(p, array, whole, numbers.collapsed_slice_dims, numbers.start_index_map,
                                          numbers.operand_batching_dims, numbers.offset_dims))]  # fmt: skip


def _batched(p: Pair, array, index, array_dims, index_dims, out_dims) -> Rows:
    """Row by row, each with its own indices."""
    if array.dim not in array_dims or index_dims[array_dims.index(array.dim)] != index.dim:
        raise p.mixes()
    if (array.outer, array.inner) != (index.outer, index.inner):
        raise p.mixes()
    return replace(index, dim=out_dims[index.dim], copies=array.copies and index.copies)


def _in_window(p: Pair, r, whole: bool, inserted, mapped, batching, window_dims) -> int:
    """Where the rows of an array come to lie, of which all are taken by every index."""
    if not whole or r.dim in inserted or r.dim in mapped or r.dim in batching:
        raise p.mixes()
    window = [d for d in range(len(p.shape())) if d not in inserted and d not in batching]
    return window_dims[window.index(r.dim)]


def _scatter(p: Pair) -> list:
    p.same_params()
    n, (array, index, update) = p.params["dimension_numbers"], p.operands
    if array is None or update is None or (array.outer, array.inner) != (update.outer, update.inner):
        raise p.mixes()
    if index is not None:
        rank = len(p.shape(2))
        batch = [d for d in range(rank) if d not in n.update_window_dims]
        found = _batched(p, array, index, n.operand_batching_dims, n.scatter_indices_batching_dims, batch)
        if update.dim != found.dim:
            raise p.mixes()
        return [replace(array, copies=found.copies and update.copies)]
    dim = _in_window(
        p, array, True, n.inserted_window_dims, n.scatter_dims_to_operand_dims, n.operand_batching_dims,
        n.update_window_dims,
    )  # fmt: skip
    if update.dim != dim:
        raise p.mixes()
    return [replace(array, copies=array.copies and update.copies)]


def _matrices(p: Pair) -> list:
    """Linear algebra on the last two dimensions: those before them are a batch, in every result."""
    p.same_params()
    r = p.one()
    if r.dim >= len(p.shape()) - 2 or any(o is None for o in p.operands):
        raise p.mixes()
    return [r] * len(p.big.outvars)


def _fft(p: Pair) -> list:
    p.same_params()
    if p.operands[0].dim >= len(p.shape()) - len(p.params["fft_lengths"]):
        raise p.mixes()
    return list(p.operands)


def _enter(p: Pair) -> list:
    """Calls of jaxprs."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in p.params:
            return p.prover.closed(p.params[key], p.small.params[key], p.operands)
    raise NotProven(f"{p.name} is not known to treat rows alike")


def _carried(p: Pair, step, carry: list) -> tuple[list, list]:
    """The relations a loop keeps: ``step(carry) -> (carry, others)``, until it changes nothing."""
    while True:
        after, others = step(carry)
        met = []
        for a, b in zip(carry, after, strict=True):
            if (a is None) != (b is None) or a is not None and replace(a, copies=True) != replace(b, copies=True):
                raise p.mixes()
            met.append(None if a is None else replace(a, copies=a.copies and b.copies))
        if met == carry:
            return carry, others
        carry = met


def _scan(p: Pair) -> list:
    p.same_params("jaxpr", "ft_in", "ft_out")
    n, carried = scan_counts(p.params)
    k = n + carried
    if scan_counts(p.small.params) != (n, carried):
        raise p.mixes()
    if any(r is not None and r.dim == 0 for r in p.operands[k:]):
        raise p.mixes()
    slices = [r and replace(r, dim=r.dim - 1) for r in p.operands[k:]]

    def step(carry):
        out = p.prover.closed(p.params["jaxpr"], p.small.params["jaxpr"], [*p.operands[:n], *carry, *slices])
        return out[: k - n], out[k - n :]

    carry, others = _carried(p, step, p.operands[n:k])
    return [*carry, *(r and replace(r, dim=r.dim + 1) for r in others)]


def _while(p: Pair) -> list:
    p.same_params("cond_jaxpr", "body_jaxpr")
    n, k = p.params["cond_nconsts"], p.params["cond_nconsts"] + p.params["body_nconsts"]

    def step(carry):
        given = [*p.operands[:n], *carry]
        if any(p.prover.closed(p.params["cond_jaxpr"], p.small.params["cond_jaxpr"], given)):
            raise p.mixes()
        return p.prover.closed(p.params["body_jaxpr"], p.small.params["body_jaxpr"], [*p.operands[n:k], *carry]), ()

    return _carried(p, step, p.operands[k:])[0]


def _cond(p: Pair) -> list:
    p.same_params("branches")
    if p.operands[0] is not None:
        raise p.mixes()
    several = [
        p.prover.closed(a, b, p.operands[1:])
        for a, b in zip(p.params["branches"], p.small.params["branches"], strict=True)
    ]  # fmt: skip
    first = several[0]
    if any(found != first for found in several[1:]):
        raise p.mixes()
    return first


_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz complex conj
    convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt igamma
    igamma_grad_a igammac imag integer_pow is_finite le le_to lgamma log log1p logistic lt lt_to max min mul name ne
    neg nextafter not or polygamma population_count pow real reduce_precision regularized_incomplete_beta rem round
    rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub
    tan tanh xor zeta
""".split()

RULES = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("optimization_barrier", "layout_constraint", "device_put"), _each),
    **dict.fromkeys(
        ("reduce_sum", "reduce_prod", "reduce_xor", "argmax", "argmin", *_IDEMPOTENT), _reduce
    ),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "split"), _along("axis")),
    **dict.fromkeys(
        ("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"),
        _window,
    ),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_mul", "scatter_min", "scatter_max"), _scatter),
    **dict.fromkeys(("scatter-add", "scatter-mul", "scatter-min", "scatter-max"), _scatter),
    **dict.fromkeys(("cholesky", "lu", "triangular_solve", "eigh", "svd", "qr", "eig"), _matrices),
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "call"), _enter),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"), _enter),
    "bitcast_convert_type": _bitcast, "broadcast_in_dim": _broadcast, "concatenate": _concatenate, "cond": _cond,
    "conv_general_dilated": _convolution,
    "dot_general": _dot, "dynamic_slice": _dynamic_slice, "dynamic_update_slice": _dynamic_update, "fft": _fft,
    "gather": _gather, "iota": _iota, "pad": _pad, "reduce": _general_reduce, "reshape": _reshape, "rev": _reverse,
    "scan": _scan, "slice": _slice, "sort": _along("dimension"), "squeeze": _squeeze, "stack": _stack,
    "top_k": _along("axis", -1), "transpose": _transpose, "unstack": _unstack, "while": _while,
}  # fmt: skip


#: those that take a size from their attributes, so that their results may hold rows where no operand does
MAKING_ROWS = (_broadcast, _iota)
#: those that contain programs
NESTED = (_enter, _scan, _while, _cond)
