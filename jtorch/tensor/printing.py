"""The printed form of tensors, as PyTorch prints them.

Three steps, each a small function:

1. :class:`_NumberFormat` looks at the numbers that will be shown and fixes one format for all of them: integers
   written as floats (``1.``), fixed point (``1.5000``) or scientific (``1.0000e+10``), padded to one width.
2. :func:`_render` lays them out as nested brackets, wrapped at the line width and summarised when there are many.
3. :func:`_close` appends what the numbers do not say (``dtype=``, ``device=``, ``grad_fn=``, ...), on a new line
   where the line is full.

Works on NumPy arrays only: reading the values out of a tensor is its caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import dtypes


@dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}
_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed. What is ``None`` stays as it is, except ``sci_mode``: None chooses by the values.

    Args:
        precision: digits after the point (4).
        threshold: tensors with more elements than this are summarised (1000).
        edgeitems: elements shown at each end of a summarised dimension (3).
        linewidth: characters a line (80).
        profile: ``"default"``, ``"short"`` or ``"full"``: values for the four above, which then override it.
        sci_mode: always (``True``) or never (``False``) use scientific notation.

    Raises:
        ValueError: no such profile.
    """
    if profile is not None:
        if profile.lower() not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(map(repr, _PROFILES))}, got {profile!r}")
        vars(_options).update(_PROFILES[profile.lower()])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    vars(_options).update({name: value for name, value in given.items() if value is not None})
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, under the names :func:`set_printoptions` takes (all but ``profile``)."""
    return asdict(_options)


# --- one number ----------------------------------------------------------------------------------------------------


class _NumberFormat:
    """One format, and one width, for all the real numbers in ``shown``."""

    def __init__(self, shown: np.ndarray):
        shown = shown.reshape(-1)
        self.is_float = shown.dtype.kind == "f"
        self.scientific, self.whole, self.width = False, True, 1
        if not self.is_float:
            self.width = max((len(str(v)) for v in shown.tolist()), default=1)
            return
        # zeros, nan and inf fit any format: the others choose it
        numbers = shown[np.isfinite(shown) & (shown != 0)].astype(np.float64)
        if numbers.size:
            smallest, largest = float(np.abs(numbers).min()), float(np.abs(numbers).max())
            self.whole = bool((numbers == np.ceil(numbers)).all())
            self.scientific = _options.sci_mode
            if self.scientific is None:
                self.scientific = largest > 1.0e8 or smallest < 1.0e-4 or largest / smallest > 1000.0
        self.width = max((len(self._text(v)) for v in numbers.tolist()), default=1)

    def _text(self, value) -> str:
        if not self.is_float:
            return str(value)
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        if self.whole:
            return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        return f"{value:.{_options.precision}f}"

    def __call__(self, value) -> str:
        return self._text(value).rjust(self.width)


class _ComplexFormat:
    """Real and imaginary parts, each with its own :class:`_NumberFormat`."""

    def __init__(self, shown: np.ndarray):
        self.real, self.imag = _NumberFormat(shown.real), _NumberFormat(shown.imag)
        self.width = self.real.width + self.imag.width + 1  # and the j

    def __call__(self, value: complex) -> str:
        imag = self.imag(value.imag).lstrip() + "j"
        sign = "" if imag[0] in "+-" else "+"
        return f"{self.real(value.real)}{sign}{imag}"


def _number_format(shown: np.ndarray):
    return (_ComplexFormat if shown.dtype.kind == "c" else _NumberFormat)(shown)


# --- nested brackets -----------------------------------------------------------------------------------------------


def _edges(data: np.ndarray) -> np.ndarray:
    """The elements a summary shows: both ends of every long dimension."""
    edge = _options.edgeitems
    for axis, size in enumerate(data.shape):
        if size > 2 * edge:
            data = data.take([*range(edge), *range(size - edge, size)], axis)
    return data


def _render(data: np.ndarray, indent: int) -> str:
    """``data`` as nested brackets; ``indent`` is the column the text starts at."""
    summarise = data.size > _options.threshold
    edge = _options.edgeitems
    number = _number_format(_edges(data) if summarise else data)

    def halves(rows: Sequence) -> tuple[Sequence, Sequence]:
        return (rows[:edge], rows[len(rows) - edge :]) if summarise and len(rows) > 2 * edge else (rows, ())

    def vector(values: list, indent: int) -> str:
        first, last = halves(values)
        cells = [number(v) for v in first]
        if len(first) != len(values):
            cells += [" ..."] + [number(v) for v in last] if edge else ["..."]
        per_line = max(1, (_options.linewidth - indent) // (number.width + 2))  # 2: comma and space
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"

    def block(rows: np.ndarray, indent: int) -> str:
        if rows.ndim == 0:
            return number(rows.item())
        if rows.ndim == 1:
            return vector(rows.tolist(), indent)
        first, last = halves(rows)
        parts = [block(row, indent + 1) for row in first]
        if len(first) != len(rows):
            parts += ["...", *(block(row, indent + 1) for row in last)]
        return "[" + ("," + "\n" * (rows.ndim - 1) + " " * (indent + 1)).join(parts) + "]"

    return block(data, indent)


def _printable(data: np.ndarray, dtype: dtypes.dtype) -> np.ndarray:
    """Narrow floats (``ml_dtypes`` types among them, whose NumPy kind is not ``"f"``) widened to float32, exactly."""
    data = np.asarray(data)
    return data.astype(np.float32) if dtype.is_floating_point and dtype.itemsize < 4 else data


def values_text(data: np.ndarray, dtype: dtypes.dtype, shape: Sequence[int], indent: int) -> str:
    """The values in brackets, starting at column ``indent``; ``[]`` if there are none."""
    return _render(_printable(data, dtype).reshape(shape), indent) if math.prod(shape) else "[]"


def _close(text: str, suffixes: Sequence[str], indent: int, own_line: bool = False) -> str:
    """``text`` with ``suffixes`` and the closing bracket; ``own_line`` starts the first suffix on a new line."""
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if own_line or column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column, own_line = indent + len(suffix), False
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def _history(requires_grad: bool, grad_fn: str | None) -> list[str]:
    if grad_fn is not None:
        return [f"grad_fn=<{grad_fn}>"]
    return ["requires_grad=True"] if requires_grad else []


def _dtype_is_implied(dtype: dtypes.dtype) -> bool:
    default = dtypes.get_default_dtype()
    return dtype in (default, default.to_complex(), dtypes.int64, dtypes.bool_)


# --- whole tensors -------------------------------------------------------------------------------------------------


def format_tensor(
    data: np.ndarray | None,
    dtype: dtypes.dtype,
    shape: Sequence[int],
    *,
    device: str = "cpu",
    requires_grad: bool = False,
    grad_fn: str | None = None,
    extras: Sequence[str] = (),
    prefix: str = "tensor(",
) -> str:
    """What ``repr`` of a tensor shows, e.g. ``tensor([1., 2.], grad_fn=<MulBackward0>)``.

    Args:
        data: the values (``ml_dtypes`` arrays for bfloat16 and float8), or None where there are none to show (meta).
        dtype: its element type; named where the values do not imply it (they imply float32, int64, bool, complex64).
        shape: its shape; named where the brackets do not show it.
        device: named unless ``"cpu"``.
        requires_grad: adds ``requires_grad=True`` to a leaf.
        grad_fn: name of the backward node, of a tensor that is no leaf.
        extras: further suffixes, before the gradient's (``"layout=..."``, ``"names=..."``).
        prefix: what stands before the values; later lines are indented by its length.
    """
    shape = tuple(shape)
    size = f"size={shape}"
    suffixes = [] if device == "cpu" else [f"device='{device}'"]
    if data is None:
        text = "..."
        suffixes.append(size)
        implied = dtype is dtypes.get_default_dtype()
    elif math.prod(shape) == 0:
        text = "[]"
        suffixes += [size] if len(shape) != 1 else []
        implied = dtype is dtypes.get_default_dtype()
    else:
        text = values_text(data, dtype, shape, len(prefix))
        suffixes += [size] if _options.edgeitems == 0 else []  # a summary without edges would show nothing of it
        implied = _dtype_is_implied(dtype)
    if not implied:
        suffixes.append(f"dtype={dtype}")
    return _close(prefix + text, [*suffixes, *extras, *_history(requires_grad, grad_fn)], len(prefix))


def format_sparse(
    parts: Mapping[str, np.ndarray],
    dtype: dtypes.dtype,
    shape: Sequence[int],
    *,
    nnz: int,
    layout: str,
    device: str = "cpu",
    requires_grad: bool = False,
    grad_fn: str | None = None,
    prefix: str = "tensor(",
) -> str:
    """What ``repr`` of a sparse tensor shows: its ``parts`` (``indices``, ``values``, ...), one a line.

    Args:
        parts: name and values of each part, in order; the last are the values, of type ``dtype``.
        nnz: number of stored elements.
        layout: e.g. ``"torch.sparse_coo"``.
    """
    indent = len(prefix)
    lines = []
    for name, data in parts.items():
        head = f"{name}=tensor("
        data = _printable(data, dtype) if name == "values" else np.asarray(data)
        lines.append(head + (_render(data, indent + len(head)) if data.size else f"[], size={data.shape}") + ")")
    suffixes = [] if device == "cpu" else [f"device='{device}'"]
    suffixes += [f"size={tuple(shape)}", f"nnz={nnz}"]
    if not _dtype_is_implied(dtype):
        suffixes.append(f"dtype={dtype}")
    suffixes += [f"layout={layout}", *_history(requires_grad, grad_fn)]
    text = prefix + (",\n" + " " * indent).join(lines)
    return _close(text, suffixes, indent, own_line=layout == "torch.sparse_coo")


def format_parameter(tensor_text: str) -> str:
    """What ``repr`` of a parameter shows, given that of its tensor."""
    return "Parameter containing:\n" + tensor_text
