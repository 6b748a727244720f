"""``torch.utils._foreach_utils``: tensors sorted into groups that one operation can take, as optimizers do."""

from __future__ import annotations

from ..devices import device
from ..dtypes import dtype


def _group_tensors_by_device_and_dtype(
    tensorlistlist: list[list], with_indices: bool = False
) -> dict[tuple[device, dtype], tuple[list[list], list[int]]]:
    """The columns of lists of tensors, grouped by the device and dtype of their first row's.

    Args:
        tensorlistlist: rows of the same length, or empty ones; rows after the first may hold None.
        with_indices: give the positions of a group's columns too (else an empty list).

    Raises:
        RuntimeError: rows differ in length, or the first holds None.
    """
    if not tensorlistlist:
        return {}
    first = tensorlistlist[0]
    lengths = [len(row) for row in tensorlistlist]
    if any(n not in (0, len(first)) for n in lengths):
        raise RuntimeError(f"tensor lists to group must be of one length, or empty, but got lists of {lengths} tensors")
    groups: dict = {}
    for i, t in enumerate(first):
        if t is None:
            raise RuntimeError(f"tensors of the first list to group must be there, but the {i}-th is None")
        rows, indices = groups.setdefault((t.device, t.dtype), ([[] for _ in tensorlistlist], []))
        for row, given in zip(rows, tensorlistlist, strict=True):
            if given:
                row.append(given[i])
        if with_indices:
            indices.append(i)
    return groups
