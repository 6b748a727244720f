"""torchvision's own operators, which its shared library brings for PyTorch's dispatcher, written for jtorch.

``torch.ops.load_library`` finds them here. There are ``nms`` and ``roi_align`` (torchvision's Python form of it); the
others (``roi_pool``, ``ps_roi_align``, ``ps_roi_pool``, ``deform_conv2d`` and the quantized ones) raise
NotImplementedError when they are called.
"""

from __future__ import annotations

import jax.numpy as jnp

from ._ops import find, register
from .ops.loops import scan
from .ops.registry import Array, op
from .tensor.dispatch import call


@op(name="_nms_keep", namespaces=(), differentiable=False)
def _nms_keep(boxes: Array, *, threshold: float):
    """Which boxes stay, of boxes from the best to the worst: those that no better one that stays overlaps too much."""
    low, high = boxes[:, :2], boxes[:, 2:]
    area = jnp.prod(high - low, -1)
    sides = jnp.minimum(high[:, None], high[None]) - jnp.maximum(low[:, None], low[None])
    common = jnp.prod(jnp.maximum(sides, 0), -1)
    overlaps = common / (area[:, None] + area[None] - common) > threshold
    rank = jnp.arange(len(boxes))

    def step(keep, at):
        i, overlapped = at
        return keep & ~(keep[i] & overlapped & (rank > i)), None

    return scan(step, jnp.ones(len(boxes), bool), (rank, overlaps))[0]


def nms(dets, scores, iou_threshold: float):
    """Indices of the boxes ``(x1, y1, x2, y2)`` that stay, by falling score.

    Raises:
        RuntimeError: ``dets`` is not (N, 4), or ``scores`` not (N,).
    """
    if dets.dim() != 2 or dets.size(1) != 4:
        raise RuntimeError(f"boxes should be a 2d tensor with 4 elements in dimension 1, got {tuple(dets.shape)}")
    if scores.shape != dets.shape[:1]:
        raise RuntimeError(f"scores should be a 1d tensor with an element per box, got {tuple(scores.shape)}")
    order = scores.argsort(descending=True, stable=True)
    if len(order) < 2:
        return order
    return order[call("_nms_keep", dets.detach()[order], threshold=float(iou_threshold))]


def roi_align(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned):
    """See ``torchvision.ops.roi_align``."""
    from torchvision.ops.roi_align import _roi_align

    return _roi_align(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)


#: Operators that torchvision expects in its library, and which have no body here.
_ABSENT = (
    "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d", "qnms", "qroi_align", "box_iou_rotated",
    "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward",
    "_deform_conv2d_backward",
)  # fmt: skip


def provide() -> None:
    """Register the operators."""
    for name in _ABSENT:
        find("torchvision", name)
    for name, function in (("nms", nms), ("roi_align", roi_align), ("_cuda_version", lambda: -1)):
        register("torchvision", name, function, differentiable=True)


__all__ = ["nms", "provide", "roi_align"]
