"""Matrix products.

``dot_kn`` and ``dot_nk`` are the two spellings of "rows times a weight matrix" that every dense layer uses. Their
gradients are written out because the derived ones contract over several batch dims, for which XLA materialises
transposed copies (a GPT step on the CPU took 181 ms with derived gradients, 86 with these).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from . import nodes
from .dot import dot2d, dot3d, takes_bfloat16, widened
from .elementwise import (
    c_type_name,
    in_float32,
    is_bool,
    is_integral,
    refuse,
    require_scale,
    require_type,
    same_shape,
    type_name,
)
from .lowering_table import CPU
from .outputs import picked, same_dtype
from .reduction import accumulated
from .registry import Array, Arrays, Scalar, op
from .shapes import broadcast_shapes, canonical_dim, canonical_dims, known

# --- rows times a weight matrix --------------------------------------------------------------------------------------


def _flat(x):
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim != 2 else x


@jax.custom_vjp
def dot_kn(x, w):
    """``x @ w`` for x of shape (..., K) and w of shape (K, N)."""
    return dot2d(_flat(x), w, (1, 0)).reshape(*x.shape[:-1], w.shape[1])


def _dot_kn_bwd(residuals, g):
    x, w = residuals
    g = _flat(lax.optimization_barrier(g))
    return dot_nk(g, w).reshape(x.shape), dot2d(_flat(x), g, (0, 0))


dot_kn.defvjp(lambda x, w: (dot_kn(x, w), (x, w)), _dot_kn_bwd)


@jax.custom_vjp
def dot_nk(x, w):
    """``x @ w.T`` for x of shape (..., K) and w of shape (N, K)."""
    flat = _flat(x)
    # one row: as matrix times vector, 20 times faster than the same product the other way round (65 ms to 3)
    few = known(flat.shape[0]) and flat.shape[0] < CPU["linear_rows"]
    y = dot2d(w, flat, (1, 1)).T if few else dot2d(flat, w, (1, 1))
    return y.reshape(*x.shape[:-1], w.shape[0])


def _dot_nk_bwd(residuals, g):
    x, w = residuals
    g = _flat(lax.optimization_barrier(g))
    return dot_kn(g, w).reshape(x.shape), dot2d(g, _flat(x), (0, 0))


dot_nk.defvjp(lambda x, w: (dot_nk(x, w), (x, w)), _dot_nk_bwd)


def _times_vector(matrix, vector):
    """As a product with one row, which has spellings of its own."""
    return dot_nk(vector[None], matrix)[0]


# --- checks ----------------------------------------------------------------------------------------------------------


def _sizes(x) -> str:
    return "x".join(map(str, x.shape))


def _same_dtype(a, b):
    if a.dtype != b.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {c_type_name(a)} != {c_type_name(b)}")
    refuse("addmm_impl_cpu_", a, when=is_bool(a))


def _matrices(a, b, first: str = "self", second: str = "mat2"):
    for x, name in ((a, first), (b, second)):
        if x.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_sizes(a)} and {_sizes(b)})")
    _same_dtype(a, b)


def _batches(a, b):
    for x, name in ((a, "batch1"), (b, "batch2")):
        if x.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] "
            f"but got: [{b.shape[0]}, {b.shape[1]}]."
        )
    _same_dtype(a, b)


def _matrix_vector(a, v):
    if a.ndim != 2 or v.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {v.ndim}")
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0]}), mat ({_sizes(a)}), vec ({v.shape[0]})")
    _same_dtype(a, v)


def _vectors(a, b, name: str = "dot"):
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found {type_name(a)} and {type_name(b)}"
        )
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have the same number of "
            f"elements, but got {a.size} and {b.size} elements respectively"
        )


# --- products --------------------------------------------------------------------------------------------------------


@jax.custom_vjp
def _bmm(a, b):
    return dot3d(a, b, (2, 1))


_bmm.defvjp(
    lambda a, b: (_bmm(a, b), (a, b)),
    lambda saved, g: (dot3d(g, saved[1], (2, 2)), dot3d(saved[0], g, (1, 1))),
)


def _batched_matmul(a, b):
    """``a @ b`` of stacks of matrices, whose outer dims broadcast."""
    if takes_bfloat16(a, b) and a.shape[:-2] == b.shape[:-2]:
        flat = [x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]) for x in (a, b)]
        return _bmm(*flat).reshape(*a.shape[:-1], b.shape[-1])
    return jnp.matmul(*widened(a, b)).astype(a.dtype)


@op(out=same_dtype, grad_name=nodes.matmul)
def matmul(input: Array, other: Array):
    """The matrix product: vectors, matrices, and batches of matrices, whose batch dims broadcast.

    A 1-d ``input`` counts as a row, a 1-d ``other`` as a column, and the added dim is dropped from the result.

    Raises:
        RuntimeError: shapes that cannot be multiplied, different dtypes, or a 0-d operand.
    """
    a, b = input, other
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D")
    if a.ndim == 1 and b.ndim == 1:
        return dot(a, b)
    if a.ndim == 2 and b.ndim == 1:
        return mv(a, b)
    if b.ndim <= 2:
        column = b.reshape(-1, 1) if b.ndim == 1 else b
        rows = math.prod(a.shape[:-1])
        if a.shape[-1] != column.shape[0]:
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a.shape[-1]} and {_sizes(column)})")
        _same_dtype(a, b)
        out = dot_kn(a, column)
        return out[..., 0] if b.ndim == 1 else out
    row = a.reshape(1, -1) if a.ndim == 1 else a
    if row.shape[-1] != b.shape[-2]:
        n = math.prod(broadcast_shapes(row.shape[:-2], b.shape[:-2]))
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{n}, {row.shape[-1]}] "
            f"but got: [{n}, {b.shape[-2]}]."
        )
    broadcast_shapes(row.shape[:-2], b.shape[:-2])
    _same_dtype(row, b)
    out = _batched_matmul(row, b)
    return out[..., 0, :] if a.ndim == 1 else out


@op(out=same_dtype)
def mm(input: Array, mat2: Array):
    """The product of an (n, m) and an (m, p) matrix.

    Raises:
        RuntimeError: not matrices, sizes that do not match, or different dtypes.
    """
    _matrices(input, mat2)
    return dot_kn(input, mat2)


@op(out=same_dtype)
def bmm(input: Array, mat2: Array):
    """The products of (b, n, m) and (b, m, p) matrices, one for each batch index.

    Raises:
        RuntimeError: not 3-d, sizes that do not match, or different dtypes.
    """
    _batches(input, mat2)
    return _bmm(input, mat2)


@op(out=same_dtype)
def mv(input: Array, vec: Array):
    """The product of an (n, m) matrix and a vector of size m."""
    _matrix_vector(input, vec)
    return _times_vector(input, vec)


@op(out=same_dtype)
def dot(input: Array, tensor: Array):
    """The inner product of two vectors, neither conjugated."""
    _vectors(input, tensor)
    return dot2d(input, tensor, (0, 0))


@op(out=same_dtype)
def vdot(input: Array, other: Array):
    """The inner product of two vectors, the first conjugated."""
    _vectors(input, other, "vdot")
    return dot2d(jnp.conj(input), other, (0, 0))


@op(out=same_dtype)
def inner(input: Array, other: Array):
    """The inner products over the last dims; with a 0-d operand, the plain product."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return lax.dot_general(input, other, (((input.ndim - 1,), (other.ndim - 1,)), ((), ())))


@op(promote="default", inplace=False, elementwise=False, aliases=("ger",), grad_name="MulBackward0")
def outer(input: Array, vec2: Array):
    """The matrix ``input[i] * vec2[j]`` of two vectors."""
    for x, name in ((input, "self"), (vec2, "vec2")):
        if x.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.ndim}-D")
    return input[:, None] & vec2 if is_bool(input) else input[:, None] * vec2


# --- products with something added -----------------------------------------------------------------------------------


@in_float32
def _combine(x, product, beta, alpha):
    """``beta * x + alpha * product``, where a ``beta`` of 0 also hides the NaNs of ``x``."""
    for i, (m, n) in enumerate(zip(x.shape[::-1], product.shape[::-1], strict=False)):
        if m not in (1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({m}) at non-singleton dimension "
                f"{product.ndim - 1 - i}.  Target sizes: {list(product.shape)}.  Tensor sizes: {list(x.shape)}"
            )
    if x.ndim > product.ndim:
        raise RuntimeError(
            f"The number of sizes provided ({product.ndim}) must be greater or equal to the number of dimensions in "
            f"the tensor ({x.ndim}).  Target sizes: {list(product.shape)}.  Tensor sizes: {list(x.shape)}"
        )
    beta, alpha = jnp.asarray(beta).astype(x.dtype), jnp.asarray(alpha).astype(product.dtype)
    return jnp.where(beta == 0, 0, beta * x) + alpha * product


@op(inplace=True, out=same_dtype)
def addmm(input: Array, mat1: Array, mat2: Array, *, beta: Scalar = 1, alpha: Scalar = 1):
    """``beta * input + alpha * (mat1 @ mat2)``; with ``beta`` 0 the content of ``input`` does not matter."""
    _matrices(mat1, mat2, "mat1")
    return _combine(input, dot_kn(mat1, mat2), beta, alpha)


@op(inplace=True, out=same_dtype)
def addmv(input: Array, mat: Array, vec: Array, *, beta: Scalar = 1, alpha: Scalar = 1):
    """``beta * input + alpha * (mat @ vec)``."""
    _matrix_vector(mat, vec)
    return _combine(input, _times_vector(mat, vec), beta, alpha)


@op(inplace=True, out=same_dtype)
def addbmm(input: Array, batch1: Array, batch2: Array, *, beta: Scalar = 1, alpha: Scalar = 1):
    """``beta * input + alpha * sum of the products batch1[i] @ batch2[i]``."""
    _batches(batch1, batch2)
    product = lax.dot_general(batch1, batch2, (((0, 2), (0, 1)), ((), ())))
    return _combine(input, product, beta, alpha)


@op(inplace=True, out=same_dtype)
def baddbmm(input: Array, batch1: Array, batch2: Array, *, beta: Scalar = 1, alpha: Scalar = 1):
    """``beta * input + alpha * bmm(batch1, batch2)``."""
    _batches(batch1, batch2)
    return _combine(input, _bmm(batch1, batch2), beta, alpha)


def _scaled(target, input, vec1, vec2, beta, alpha) -> None:
    require_scale(target, beta=beta, alpha=alpha)


@op(promote="default", elementwise=False, inplace=True, types=_scaled)
def addr(input: Array, vec1: Array, vec2: Array, *, beta: Scalar = 1, alpha: Scalar = 1):
    """``beta * input + alpha * outer(vec1, vec2)``."""
    for x, name in ((vec1, "vec1"), (vec2, "vec2")):
        if x.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {x.ndim}-D")
    if is_bool(input) and is_bool(vec1) and is_bool(vec2):
        return input & beta.astype(bool) | vec1[:, None] & vec2 & alpha.astype(bool)
    return _combine(input, vec1[:, None] * vec2, beta, alpha)


# --- contractions over any dims --------------------------------------------------------------------------------------


def _subscripts(equation: str, operands):
    """Check the equation against the operands, with PyTorch's messages.

    Raises:
        RuntimeError: a character that is no subscript; the number of operands, the number of dims of one, or two sizes
            do not fit; a subscript of the result is repeated or none of the operands'.
    """
    for i, c in enumerate(equation.replace("->", ", ", 1).replace("...", "   ")):
        if not (c in " ," or c.isascii() and c.isalpha()):
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]"
            )
    given, _, kept = equation.replace(" ", "").partition("->")
    for c in kept.replace("...", ""):
        if kept.count(c) > 1 or c not in given:
            wrong = "does not appear in the equation for any input operand" if c not in given else (
                "appears more than once in the output")  # fmt: skip
            raise RuntimeError(f"einsum(): output subscript {c} {wrong}")
    terms = given.split(",")
    if len(terms) != len(operands):
        word = "fewer" if len(operands) < len(terms) else "more"
        raise RuntimeError(f"einsum(): {word} operands were provided than specified in the equation")
    sizes: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, operands, strict=True)):
        head, dots, tail = term.partition("...")
        n = len(head) + len(tail)
        if (n != x.ndim and not dots) or n > x.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({n}) does not match the number of dimensions "
                f"({x.ndim}) for operand {i}" + ("" if dots else " and no ellipsis was given")
            )
        labelled = [*zip(head, x.shape, strict=False), *zip(tail, x.shape[x.ndim - len(tail) :], strict=True)]
        own: dict[str, int] = {}
        for label, size in labelled:
            if own.setdefault(label, size) != size:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {i} but the sizes don't match, {size} != "
                    f"{own[label]}"
                )
            seen = sizes.get(label, 1)
            if size != seen and size != 1 and seen != 1:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {size} for operand {i} which does not broadcast with "
                    f"previously seen size {seen}"
                )
            sizes[label] = size if seen == 1 else seen


def _sums_one(equation: str, operands) -> bool:
    """Whether one operand is summed by itself (a sum of integers is of int64, a product of matrices is not)."""
    given, arrow, kept = equation.replace("...", "").partition("->")
    if not arrow:
        kept = "".join(label for label in given if given.count(label) == 1)
    places: dict[str, set[int]] = {}
    for i, (term, whole, x) in enumerate(
        zip(given.split(","), equation.split("->")[0].split(","), operands, strict=True)
    ):
        before = whole.partition("...")[0] if "..." in whole else term
        after = term[len(before) :]
        for label, size in (
            *zip(before, x.shape, strict=False),
            *zip(after, x.shape[x.ndim - len(after) :], strict=True),
        ):
            if label not in kept and (size != 1 or len(operands) == 1):
                places.setdefault(label, set()).add(i)
    return any(len(found) == 1 for found in places.values())


@op(name="_einsum", namespaces=(), grad_name="EinsumBackward0")
def einsum_of(operands: Arrays, equation: str):
    """The sum of products that ``equation`` describes: ``"ij,jk->ik"`` is a matrix product. ``...`` broadcasts.

    Raises:
        RuntimeError: operands that do not fit the equation, or of different dtypes.
    """
    _subscripts(equation, operands)
    for x in operands[1:]:
        if x.dtype != operands[0].dtype:
            raise RuntimeError(f"expected scalar type {type_name(operands[0])} but found {type_name(x)}")
    equation = equation.replace(" ", "")
    if is_integral(operands[0]) and _sums_one(equation, operands):
        operands = [x.astype(jnp.int64) for x in operands]
    return jnp.einsum(equation, *operands)


@in_float32
def _total(x, dim):
    return jnp.sum(x, dim, keepdims=True, dtype=x.dtype)


@op(namespaces=(), method=False, out=same_dtype)
def tensordot(a: Array, b: Array, dims: int | tuple = 2):
    """The products summed over several dims: the last ``dims`` of a with the first of b, or two lists of dims.

    Raises:
        RuntimeError: sizes of contracted dims differ, or dtypes do.
    """
    if a.dtype != b.dtype:
        raise RuntimeError("both inputs should have same dtype")
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims))
    else:
        left, right = ((d,) if isinstance(d, int) else tuple(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError(
            f"both dimension lists should have same length, got {len(left)} and {len(right)} dims to contract"
        )
    for i, j in zip(left, right, strict=True):
        m, n = a.shape[canonical_dim(i, a.ndim)], b.shape[canonical_dim(j, b.ndim)]
        if m != n and n == 1:  # the product with one number, repeated
            a = _total(a, i)
        elif m != n and m == 1:
            b = _total(b, j)
        elif m != n:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim {i} and second has size {n} "
                f"in dim {j}"
            )
    left = canonical_dims(left, a.ndim) if left else ()
    right = canonical_dims(right, b.ndim) if right else ()
    return lax.dot_general(a, b, ((left, right), ((), ())))


@op(promote="default", inplace=False, elementwise=False)
def kron(input: Array, other: Array):
    """The Kronecker product; the dims of the smaller operand are padded with ones in front."""
    n = max(input.ndim, other.ndim)
    a = input.reshape((1,) * (n - input.ndim) + input.shape)
    b = other.reshape((1,) * (n - other.ndim) + other.shape)
    shape = tuple(p * q for p, q in zip(a.shape, b.shape, strict=True))
    a = jnp.expand_dims(a, tuple(range(1, 2 * n, 2)))
    b = jnp.expand_dims(b, tuple(range(0, 2 * n, 2)))
    return (a * b).reshape(shape)


def _cross(x, y, dim: int):
    def roll(v, shift):
        return jnp.roll(v, -shift, dim)

    return roll(x, 1) * roll(y, 2) - roll(x, 2) * roll(y, 1)


def _of_one_type(common, input, other) -> None:
    require_type(input, other)


@op(promote="default", inplace=False, elementwise=False, out=picked, types=_of_one_type)
def cross(input: Array, other: Array, dim: int | None = None):
    """The cross product along ``dim`` (default: the first dim of size 3).

    Raises:
        RuntimeError: the dim is not of size 3, or the dtypes differ.
    """
    x, y = input, other
    if dim is None:
        if 3 not in x.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = x.shape.index(3)
    return linalg_cross(x, y, dim=dim)


@op(promote="default", namespaces=("linalg",), aliases=("cross",), elementwise=False, out=picked, types=_of_one_type)
def linalg_cross(input: Array, other: Array, *, dim: int = -1):
    """The cross product along ``dim``.

    Raises:
        RuntimeError: the dim is not of size 3, or the dtypes differ.
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    m, n = (x.shape[canonical_dim(dim, x.ndim)] for x in (input, other))
    if m != 3 or n != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {m} and {n}")
    x, y = same_shape(input, other)
    return _cross(x, y, canonical_dim(dim, x.ndim))


@op
def trace(input: Array):
    """The sum of the diagonal of a matrix; of integers and bools, an int64.

    Raises:
        RuntimeError: not a matrix.
    """
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return jnp.trace(accumulated(input, None))


@op(namespaces=("linalg",), out=same_dtype)
@in_float32
def vecdot(x: Array, y: Array, *, dim: int = -1):
    """The inner products along ``dim``, the first operand conjugated."""
    x, y = same_shape(x, y)
    return jnp.sum(jnp.conj(x) * y, canonical_dim(dim, x.ndim), dtype=x.dtype)


@op(namespaces=("linalg",), out=same_dtype)
def multi_dot(tensors: Arrays):
    """The product of a chain of matrices, in the order of least work; the first and last may be vectors.

    Raises:
        RuntimeError: fewer than two operands.
    """
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    return jnp.linalg.multi_dot(tensors)
