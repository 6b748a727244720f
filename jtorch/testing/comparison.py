"""``assert_close``: are two tensors, or structures of them, equal within what their precision allows?"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from .. import dtypes
from ..tensor.tensor import Tensor

#: (rtol, atol) by dtype; 0 for integers and bools.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7), dtypes.complex64: (1.3e-6, 1e-5), dtypes.complex128: (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual, expected, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg=None,
) -> None:  # fmt: skip
    """Assert ``|actual - expected| <= atol + rtol |expected|`` element by element, in every leaf of two structures.

    Args:
        rtol, atol: both or neither; by default what the (wider) dtype allows: float32 1.3e-6 and 1e-5.
        equal_nan: NaN equals NaN.
        check_device, check_dtype, check_layout, check_stride: what else must agree.
        msg: the message of the error, or a function from the default message to it.

    Raises:
        AssertionError: they differ; the message says where and by how much.
        ValueError: one of ``rtol`` and ``atol`` only, or a negative one.
        TypeError: something that cannot be compared.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, but got rtol={rtol} and atol={atol}"
        )
    if rtol is not None and (rtol < 0 or atol < 0):
        raise ValueError(f"rtol and atol must not be negative, but got rtol={rtol} and atol={atol}")
    checks = {"device": check_device, "dtype": check_dtype, "layout": check_layout, "stride": check_stride}

    def fail(text: str, path: str):
        text = f"{text}{chr(10) * 2 + 'The failure occurred for item ' + path if path else ''}"
        raise AssertionError(msg(text) if callable(msg) else msg or text)

    def compare(a, b, path: str):
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if a.keys() != b.keys():
                fail(f"The keys of the mappings do not match: {sorted(map(str, a))} and {sorted(map(str, b))}", path)
            for key in a:
                compare(a[key], b[key], f"{path}[{key!r}]")
        elif _is_sequence(a) and _is_sequence(b):
            if len(a) != len(b):
                fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", path)
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                compare(x, y, f"{path}[{i}]")
        else:
            _leaf(a, b, lambda text: fail(text, path), checks, rtol, atol, equal_nan)

    compare(actual, expected, "")


def _is_sequence(x) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _leaf(a, b, fail, checks, rtol, atol, equal_nan) -> None:
    if (a is None or b is None) or (isinstance(a, str) and isinstance(b, str)):
        if a != b:
            fail(f"{a!r} and {b!r} do not match")
        return
    scalars = isinstance(a, numbers.Number) and isinstance(b, numbers.Number)
    for x in (a, b):
        if not isinstance(x, (Tensor, np.ndarray, np.generic, numbers.Number)):
            raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.")
    a, b = (x if isinstance(x, Tensor) else Tensor._from_numpy(np.asarray(x)) for x in (a, b))
    if a.shape != b.shape:
        fail(f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.")
    for name, wanted in checks.items():
        if wanted and not (name == "dtype" and scalars):
            x, y = (getattr(t, name) for t in (a, b))
            x, y = (x(), y()) if name == "stride" else (x, y)
            if x != y:
                fail(
                    f"The values for attribute {f'{name}()' if name == 'stride' else name!r} do not match: {x} != {y}."
                )
    if rtol is None:
        by_dtype = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, b)]
        rtol, atol = max(r for r, _ in by_dtype), max(t for _, t in by_dtype)
    wide = dtypes.promote_types(a.dtype, b.dtype)
    if wide.is_floating_point:
        wide = dtypes.float64
    x, y = (t.detach().cpu().to_dense().to(wide).numpy() for t in (a, b))
    with np.errstate(invalid="ignore", over="ignore"):
        if wide.category >= dtypes.FLOAT:
            close = np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)
            difference = np.abs(x - y)
        else:
            difference = np.abs(x.astype(np.float64) - y.astype(np.float64))
            close = (x == y) if not (rtol or atol) else difference <= atol + rtol * np.abs(y.astype(np.float64))
        if close.all():
            return
        fail(_message(x, y, close, difference, rtol, atol))


def _message(x, y, close, difference, rtol, atol) -> str:
    exact = not (rtol or atol)
    up_to = "" if exact else " (up to {:g} allowed)"
    if x.ndim == 0:
        relative = difference / abs(y) if y != 0 else float("inf")
        lines = [f"Scalars are not {'equal' if exact else 'close'}!", "", f"Expected {y} but got {x}.",
                 f"Absolute difference: {difference}{up_to.format(atol)}",
                 f"Relative difference: {relative}{up_to.format(rtol)}"]  # fmt: skip
        return "\n".join(lines)
    difference = np.where(close, 0, difference)
    magnitude = np.abs(y.astype(np.complex128 if np.iscomplexobj(y) else np.float64))
    relative = np.where(close, 0, np.divide(difference, magnitude, out=np.full(x.shape, np.inf), where=magnitude != 0))
    wrong = int((~close).sum())

    def greatest(values):
        where = np.unravel_index(np.argmax(np.nan_to_num(values, nan=np.inf)), values.shape)
        return values[where], tuple(int(i) for i in where)

    (absolute, at), (rel, rel_at) = greatest(difference), greatest(relative)
    return "\n".join([
        f"Tensor-likes are not {'equal' if exact else 'close'}!", "",
        f"Mismatched elements: {wrong} / {x.size} ({100 * wrong / x.size:.1f}%)",
        f"Greatest absolute difference: {absolute} at index {at}{up_to.format(atol)}",
        f"Greatest relative difference: {rel} at index {rel_at}{up_to.format(rtol)}",
    ])  # fmt: skip


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan: bool = True, msg: str = "") -> None:
    """The older :func:`assert_close`: dtypes may differ, and NaN equals NaN."""
    to_tensor = lambda x: x if isinstance(x, Tensor) else Tensor._from_numpy(np.asarray(x))  # noqa: E731
    actual, expected = to_tensor(actual), to_tensor(expected)
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False,
        check_stride=False, msg=msg or None,
    )  # fmt: skip
