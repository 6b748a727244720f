"""``make_tensor``: tensors to test with."""

from __future__ import annotations

import jtorch

from .. import dtypes


def make_tensor(
    *shape, dtype, device="cpu", low=None, high=None, requires_grad: bool = False, noncontiguous: bool = False,
    exclude_zero: bool = False, memory_format=None,
):  # fmt: skip
    """A tensor of numbers drawn uniformly from ``[low, high)``.

    By default floats and complex numbers (each part) lie in [-9, 9), integers in [-9, 10) (uint8: [0, 10)) and bools
    are both.

    Args:
        noncontiguous: every other element of a larger tensor.
        exclude_zero: zeros become the smallest positive number (1 for integers).

    Raises:
        ValueError: ``low >= high``, or integers and bools that shall require grad.
        RuntimeError: ``noncontiguous`` together with ``memory_format``.
    """
    size = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if noncontiguous and memory_format is not None:
        raise ValueError(
            f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, got {memory_format}"
        )
    if requires_grad and dtype.category < dtypes.FLOAT:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype}"
        )
    if low is not None and high is not None and low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    drawn = (*size[:-1], 2 * size[-1]) if noncontiguous and size else size
    if dtype is dtypes.bool_:
        result = jtorch.randint(0, 2, drawn, device=device).to(dtype)
    elif dtype.category < dtypes.FLOAT:
        unsigned = not dtype.is_signed
        least, most = (0 if unsigned else -9) if low is None else int(low), 10 if high is None else int(high)
        result = jtorch.randint(least, most, drawn, device=device).to(dtype)
    else:
        least, most = -9 if low is None else low, 9 if high is None else high
        part = dtype.to_real() if dtype.is_complex else dtype
        wide = part if part.itemsize >= 4 else dtypes.float32
        parts = [
            jtorch.empty(drawn, dtype=wide, device=device).uniform_(least, most) for _ in range(1 + dtype.is_complex)
        ]
        result = (jtorch.complex(*parts) if dtype.is_complex else parts[0]).to(dtype)
    if noncontiguous and size and result.numel() > 1:
        result = result[..., ::2]
    elif memory_format is not None:
        result = result.contiguous(memory_format=memory_format)
    if exclude_zero:
        tiny = 1 if dtype.category < dtypes.FLOAT else jtorch.finfo(dtype).tiny
        result[result == 0] = tiny
    return result.requires_grad_() if requires_grad else result
