"""Numbers in sequence, grids, identity and windows."""

from __future__ import annotations

import builtins
import math

from .. import dtypes
from ..ops import shapes
from ..ops.registry import OPS
from ..tensor import Tensor
from ..tensor.creation import dtype_of, factory, on_device
from ..tensor.dispatch import call
from ..tensor.export import composite


def _plain(x):
    return x.item() if isinstance(x, Tensor) or hasattr(x, "dtype") else x


@composite("torch")
@factory(out=True, fills=True)
def arange(*args, start=None, end=None, step=None, dtype=None, device=None):
    """``start, start + step, …`` up to but without ``end``: ``arange(end)``, ``arange(start, end, step=1)``.

    Raises:
        RuntimeError: ``step`` is zero or leads away from ``end``.
        ValueError: ``step`` is zero as the integer it is to be.
    """
    given = [_plain(a) for a in args]
    if len(given) == 1 and end is None:
        end = given[0]
    elif given:
        names = ["start", "end", "step"]
        values = dict(zip(names, given, strict=False))
        start, end, step = values.get("start", start), values.get("end", end), values.get("step", step)
    start, end, step = (0 if start is None else _plain(start)), _plain(end), 1 if step is None else _plain(step)
    if not all(map(math.isfinite, (start, end))):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(v, int) for v in (start, end, step))
    d = dtype_of(dtype, dtypes.int64 if whole else None)
    if d is dtypes.int64:
        start, end, step = (int(v) for v in (start, end, step))  # as PyTorch counts for int64, and for no other
        whole = True
        if step == 0:
            raise ValueError("step must be nonzero")
    length = max(0, -((start - end) // step) if whole else math.ceil((end - start) / step))
    return on_device("arange", device, start, step, length=length, dtype=d)


@composite("torch")
@factory(out=True, fills=True)
def range(start=0, end=None, step=1, *, dtype=None, device=None):
    """Deprecated: as :func:`arange`, with ``end`` included."""
    if end is None:
        start, end = 0, start
    length = math.floor((end - start) / step) + 1
    return on_device("arange", device, float(start), float(step), length=length, dtype=dtype_of(dtype))


def _spaced(name: str, logarithmic: bool):
    @composite("torch", name=name, doc=OPS[name].doc)
    @factory(out=True, fills=True)
    def spaced(start, end, steps, *rest, base=10.0, dtype=None, device=None):
        if not isinstance(_plain(steps), int) or isinstance(steps, bool):
            given = ", ".join(type(x).__name__ for x in (start, end, steps))
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got ({given}): steps must be an int"
            )
        for what, x in (("start", start), ("end", end)):
            if isinstance(x, Tensor) and x.dim():
                raise RuntimeError(
                    f"{name} only supports 0-dimensional start and end tensors, but got {what} with {x.dim()} "
                    "dimension(s)."
                )
        start, end, steps = _plain(start), _plain(end), _plain(steps)
        if steps < 0:
            raise RuntimeError("number of steps must be non-negative")
        kind = dtypes.get_default_dtype()
        if isinstance(start, builtins.complex) or isinstance(end, builtins.complex):
            kind = kind.to_complex()
        extra = {"base": float(rest[0] if rest else base)} if logarithmic else {}
        return on_device(name, device, start, end, steps=steps, dtype=dtype_of(dtype, kind), **extra)


_spaced("linspace", False)
_spaced("logspace", True)


@composite("torch")
@factory(out=True)
def eye(n, m=None, *, dtype=None, device=None):
    """The n×m matrix with ones on the diagonal."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {min(n, n if m is None else m)}")
    return on_device("eye", device, n=n, m=n if m is None else m, dtype=dtype_of(dtype))


def _triangle(name: str):
    @composite("torch", name=name, doc=OPS[name].doc)
    @factory()
    def triangle(row, col, offset=0, *, dtype=None, device=None):
        return on_device(name, device, row=row, col=col, offset=offset, dtype=dtype_of(dtype, dtypes.int64))


_triangle("tril_indices")
_triangle("triu_indices")


def _float(name: str, dtype) -> dtypes.dtype:
    """Raises:
    RuntimeError: the dtype of a window is none of floats.
    """
    d = dtype_of(dtype)
    if d.category != dtypes.FLOAT:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {d}")
    return d


def _cosine_window(name: str, coefficients: tuple[float, ...], doc: str):
    @composite("torch", name=name, doc=doc)
    @factory()
    def window(window_length, periodic=True, *args, dtype=None, device=None, alpha=None, beta=None):
        weights = coefficients
        if name == "hamming_window" and (args or alpha is not None):
            a = args[0] if args else alpha
            b = args[1] if len(args) > 1 else 0.46 if beta is None else beta
            weights = (a, b)
        return on_device(
            "general_cosine_window", device, window_length=int(window_length), coefficients=tuple(weights),
            periodic=bool(periodic), dtype=_float(name, dtype),
        )  # fmt: skip


_cosine_window("hann_window", (0.5, 0.5), "The Hann window.")
_cosine_window("hamming_window", (0.54, 0.46), "The Hamming window.")
_cosine_window("blackman_window", (0.42, 0.5, 0.08), "The Blackman window.")


@composite("torch")
@factory()
def bartlett_window(window_length, periodic=True, *, dtype=None, device=None):
    """The Bartlett (triangular) window."""
    return on_device(
        "bartlett_window", device, window_length=int(window_length), periodic=bool(periodic),
        dtype=_float("bartlett_window", dtype),
    )  # fmt: skip


@composite("torch")
@factory()
def kaiser_window(window_length, periodic=True, beta=12.0, *, dtype=None, device=None):
    """The Kaiser window."""
    return on_device(
        "kaiser_window", device, window_length=int(window_length), periodic=bool(periodic), beta=float(beta),
        dtype=_float("kaiser_window", dtype),
    )  # fmt: skip


def _tensors(args):
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple)) else args


@composite("torch")
def meshgrid(*tensors, indexing=None):
    """Coordinate grids of 1-d tensors; ``indexing`` is ``"ij"`` (default) or ``"xy"``."""
    if indexing is None:
        import warnings

        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
            stacklevel=2,
        )
        indexing = "ij"
    return call("_meshgrid", _tensors(tensors), indexing=indexing)


@composite("torch")
def block_diag(*tensors):
    """The matrices along one diagonal."""
    return call("_block_diag", _tensors(tensors))


@composite("torch")
def cartesian_prod(*tensors):
    """All combinations of elements of 1-d tensors, one a row."""
    return call("_cartesian_prod", _tensors(tensors))


@composite("torch")
def einsum(equation, *operands):
    """Sums of products by index letters: ``einsum("ij,jk->ik", a, b)``."""
    if not operands:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    if not isinstance(equation, str):  # einsum(a, [0, 1], b, [1, 2], [0, 2])
        return _einsum_sublists((equation, *operands))
    tensors = _tensors(operands)
    if not tensors:
        raise ValueError("einsum(): must provide at least one operand")
    return call("_einsum", tensors, equation=equation)


def _einsum_sublists(args):
    def letters(indices):
        return "".join("..." if i is Ellipsis else chr(ord("A") + i if i < 26 else ord("a") + i - 26) for i in indices)

    pairs = len(args) // 2
    operands = args[0 : 2 * pairs : 2]
    equation = ",".join(letters(s) for s in args[1 : 2 * pairs : 2])
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return call("_einsum", operands, equation=equation)


@composite("torch")
def broadcast_tensors(*tensors):
    """Views of the tensors expanded to their common shape."""
    tensors = _tensors(tensors)
    from ..tensor.dispatch import common_shape

    shape = common_shape(*tensors)
    return tuple(t.expand(shape) for t in tensors)


@composite("torch")
def broadcast_shapes(*shapes):
    """The common shape, as a Size."""
    from ..ops.shapes import broadcast_shapes as common
    from ..size import Size

    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    if any(n < 0 for s in shapes for n in s):
        raise ValueError(f"Attempting to broadcast a dimension with negative length! The shapes are {shapes}")
    return Size(common(*shapes))


def _atleast(n: int):
    @composite("torch", name=f"atleast_{n}d", doc=f"Each tensor as a view of at least {n} dimensions.")
    def atleast(*tensors):
        many = len(tensors) > 1 or (tensors and isinstance(tensors[0], (list, tuple)))
        results = tuple(t if t.dim() >= n else call("_atleast", t, ndim=n) for t in _tensors(tensors))
        return results if many or not tensors else results[0]


for _n in (1, 2, 3):
    _atleast(_n)


def _expect_kind(found, expected, where: str) -> None:
    if found is not expected:
        raise RuntimeError(
            f"Expected object of scalar type {expected.legacy_name} but got scalar type {found.legacy_name} for {where}"
        )


def _into_complex(result, out, inputs) -> None:
    """The rule of ``out=``: no conversion."""
    _expect_kind(out.dtype, result.dtype, "argument 'out'")


@composite("torch", out=_into_complex)
def complex(real, imag):
    """Complex numbers from real and imaginary parts, which are broadcast.

    Raises:
        RuntimeError: the parts are not both half, float or double, or ``out`` is of another dtype than the result.
    """
    _check_parts(real, imag)
    return _complex(real, imag)


@composite("torch", out=_into_complex)
def polar(abs, angle):
    """Complex numbers from absolute values and angles, which are broadcast.

    Raises:
        RuntimeError: as :func:`complex`.
    """
    _check_parts(abs, angle)
    return _complex(abs * angle.cos(), abs * angle.sin())


_PARTS = (dtypes.float16, dtypes.float32, dtypes.float64)


def _check_parts(a, b) -> None:
    if a.dtype not in _PARTS or b.dtype not in _PARTS:
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {a.dtype.legacy_name} and "
            f"{b.dtype.legacy_name}"
        )
    _expect_kind(b.dtype, a.dtype, "second argument")


def _complex(real, imag):
    shape = shapes.broadcast_shapes(tuple(real.shape), tuple(imag.shape))
    return call("view_as_complex", call("stack", (real.expand(shape), imag.expand(shape)), dim=-1))
