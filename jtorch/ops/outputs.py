"""What an operation asks of its ``out=`` tensors beyond what holds for all of them: rules for the registry's ``out``.

A rule is called with ``(result, out, inputs)``, Tensors each, and raises where PyTorch refuses ``out``. Most operations
convert their result on the way; PyTorch's index operations and the like do not, and do not read what they write.
"""

from __future__ import annotations

from .. import dtypes
from .elementwise import c_type_name, type_name

OVERLAP = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)


def same_dtype(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` has another dtype than the result.
    """
    if out.dtype is not result.dtype:
        raise RuntimeError(
            f"Expected out tensor to have dtype {c_type_name(result)}, but got {c_type_name(out)} instead"
        )


def a_bool(name: str):
    """The rule of predicates that write truth values and nothing else."""

    def rule(result, out, inputs) -> None:
        if out.dtype is not dtypes.bool_:
            raise RuntimeError(f"{name} does not support non-boolean outputs.")

    return rule


def unconverted(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` has another dtype than operand and result have.
    """
    if out.dtype is not result.dtype and inputs[0].dtype is result.dtype:
        raise RuntimeError(f"Found dtype {type_name(out)} but expected {type_name(result)}")


def _span(x) -> tuple[int, int] | None:
    """The bytes of a storage that a tensor without gaps or repetitions lies in; None for others."""
    dense = 1
    for stride, n in sorted((s, n) for n, s in zip(x.shape, x.stride(), strict=True) if n != 1):
        if stride != dense:
            return None
        dense *= n
    start = x.storage_offset()
    return start * x.element_size(), (start + x.numel()) * x.element_size()


def _overlap(x, out) -> str | None:
    """``"full"`` for the same elements in the same places, ``"partial"`` for some in common, None where none is known.

    As in PyTorch nothing is known of tensors with gaps.
    """
    if x is out:
        return "full"
    if x._handler is not None or out._handler is not None:  # kinds of tensors that have no storage of their own
        return None
    if x._storage is not out._storage or not x.numel() or not out.numel():
        return None
    here, there = _span(x), _span(out)
    if here is None or there is None or here[0] >= there[1] or there[0] >= here[1]:
        return None
    return "full" if here == there and x.stride() == out.stride() else "partial"


def apart(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` has memory in common with an operand.
    """
    if any(_overlap(x, out) for x in inputs):
        raise RuntimeError(OVERLAP)


def in_place(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` has memory in common with an operand, of which it is neither all nor nothing.
    """
    if any(_overlap(x, out) == "partial" for x in inputs):
        raise RuntimeError(OVERLAP)


def picked(result, out, inputs) -> None:
    """The rule of operations that index: :func:`same_dtype` and :func:`apart`."""
    same_dtype(result, out, inputs)
    apart(result, out, inputs)


def written(result, out, inputs) -> None:
    """The rule of operations that write by index: :func:`same_dtype`, and :func:`apart` from all but the first."""
    same_dtype(result, out, inputs)
    apart(result, out, inputs[1:])


def joined(result, out, inputs) -> None:
    """The rule of ``cat`` and the operations made of it: :func:`apart`, and a dtype that can hold the result.

    Raises:
        TypeError: it cannot.
    """
    if not dtypes.can_cast(result.dtype, out.dtype):
        raise TypeError(f"torch.cat(): input types can't be cast to the desired output type {out.dtype.legacy_name}")
    apart(result, out, inputs)


def of_input_dtype(result, out, inputs) -> None:
    """Raises:
    RuntimeError: ``out`` has another dtype than the operand.
    """
    if out.dtype is not inputs[0].dtype:
        raise RuntimeError(
            f"Expected the dtype for input and out to match, but got {type_name(inputs[0])} for input's dtype and "
            f"{type_name(out)} for out's dtype."
        )


def truth(name: str):
    """The rule of ``all`` and ``any``: ``out`` is of bools, or of the bytes that once stood for them."""

    def rule(result, out, inputs) -> None:
        if out.dtype not in (dtypes.bool_, dtypes.uint8):
            raise RuntimeError(f"{name} only supports bool tensor for result, got: {type_name(out)}")

    return rule


def not_integral(kernel: str):
    """The rule of operations that run in ``out``'s dtype, by a kernel that PyTorch has for no integers."""

    def rule(result, out, inputs) -> None:
        if result.dtype.category >= dtypes.FLOAT and out.dtype.category < dtypes.FLOAT:
            raise NotImplementedError(f"\"{kernel}\" not implemented for '{out.dtype.legacy_name}'")

    return rule
