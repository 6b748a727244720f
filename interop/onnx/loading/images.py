"""Resampling and regions of images."""

from __future__ import annotations

import math

import numpy as np

import jtorch
from jtorch.nn import functional as F

from .registry import handles, ints, tensor

# --- Resize: along each axis in turn, a product with a matrix worked out here ----------------------------------------


def _origin(i: np.ndarray, mode: str, scale: float, old: int, new: int, roi) -> np.ndarray:
    """Where output ``i`` lies in the input."""
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if new > 1 else np.zeros_like(i)
    if mode == "align_corners":
        return i * (old - 1) / (new - 1) if new > 1 else np.zeros_like(i)
    if mode == "asymmetric":
        return i / scale
    if mode == "half_pixel_symmetric":
        adjusted = new / (scale * old)
        return old / 2 * (1 - adjusted) + (i + 0.5) / scale - 0.5
    start, end = roi
    if new > 1:
        return start * (old - 1) + i * (end - start) * (old - 1) / (new - 1)
    return np.full_like(i, 0.5 * (start + end) * (old - 1))


def _nearest(x: np.ndarray, rule: str) -> np.ndarray:
    if rule == "round_prefer_floor":
        return np.ceil(x - 0.5)
    if rule == "round_prefer_ceil":
        return np.floor(x + 0.5)
    return np.floor(x) if rule == "floor" else np.ceil(x)


def _kernel(t: np.ndarray, kind: str, a: float) -> np.ndarray:
    t = np.abs(t)
    if kind == "linear":
        return np.maximum(1 - t, 0)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _matrix(n, old: int, new: int, scale: float, kind: str, roi) -> tuple[np.ndarray, np.ndarray]:
    """``(new, old)`` weights, and which outputs lie outside of the input (for tf_crop_and_resize)."""
    mode = n.get("coordinate_transformation_mode", "half_pixel" if n.opset >= 11 else "asymmetric")
    i = np.arange(new, dtype=np.float64)
    at = _origin(i, mode, scale, old, scale * old if mode == "align_corners" else new, roi)
    outside = (at < 0) | (at > old - 1) if mode == "tf_crop_and_resize" else np.zeros(new, bool)
    weights = np.zeros((new, old))
    rows = np.arange(new)
    if kind == "nearest":
        rule = n.get("nearest_mode", "round_prefer_floor" if n.opset >= 11 else "floor")
        weights[rows, np.clip(_nearest(at, rule), 0, old - 1).astype(int)] = 1
        return weights, outside
    widen = max(1 / scale, 1.0) if n.get("antialias", 0) else 1.0
    a = n.get("cubic_coeff_a", -0.75)
    reach = math.ceil((2 if kind == "cubic" else 1) * widen)
    low = np.floor(at).astype(int)
    for tap in range(-reach + 1, reach + 1):
        place = low + tap
        w = _kernel((at - place) / widen, kind, a)
        if n.get("exclude_outside", 0):
            w = np.where((place >= 0) & (place < old), w, 0)
        np.add.at(weights, (rows, np.clip(place, 0, old - 1)), w)
    if n.get("exclude_outside", 0) or widen > 1:
        weights /= weights.sum(1, keepdims=True)
    return weights, outside


@handles("Resize", "Upsample", host=(1, 2, 3))
def resize(n, x, *given):
    roi = scales = sizes = None
    if n.op_type == "Upsample" or n.opset < 11:
        scales = given[0] if given else n.get("scales")
    else:
        roi, scales, sizes = (*given, None, None, None)[:3]
    kind = n.get("mode", "nearest")
    kind = {"bilinear": "linear", "trilinear": "linear"}.get(kind, kind)
    axes = [a % x.dim() for a in n.get("axes") or range(x.dim())]
    scales = None if scales is None or not np.size(scales) else [float(s) for s in np.asarray(scales).reshape(-1)]
    if scales is None:
        wanted = ints(sizes)
        scales = [w / x.shape[a] for w, a in zip(wanted, axes, strict=True)]
        policy = n.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = min(scales) if policy == "not_larger" else max(scales)
            scales = [one] * len(axes)
            wanted = [math.floor(one * x.shape[a] + 0.5) for a in axes]
    else:
        wanted = [math.floor(x.shape[a] * s) for a, s in zip(axes, scales, strict=True)]
    roi = (
        [float(r) for r in np.asarray(roi).reshape(-1)]
        if roi is not None and np.size(roi)
        else [0.0] * len(axes) + [1.0] * len(axes)
    )
    out = x if x.is_floating_point() else x.float()
    crops = n.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    masks = []
    for k, (axis, new, scale) in enumerate(zip(axes, wanted, scales, strict=True)):
        old = x.shape[axis]
        if new == old and scale == 1 and not crops:
            continue
        matrix, outside = _matrix(n, old, new, scale, kind, (roi[k], roi[k + len(axes)]))
        out = jtorch.movedim(
            jtorch.tensordot(out, tensor(matrix, x.device).to(out.dtype), dims=([axis], [1])), -1, axis
        )
        if outside.any():
            masks.append((axis, outside))
    for axis, outside in masks:
        shape = [-1 if d == axis else 1 for d in range(x.dim())]
        out = jtorch.where(tensor(outside.reshape(shape), x.device), n.get("extrapolation_value", 0.0), out)
    return out if out.dtype is x.dtype else jtorch.round(out).to(x.dtype)


@handles("GridSample")
def grid_sample(n, x, grid):
    mode = n.get("mode", "linear" if n.opset >= 20 else "bilinear")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return F.grid_sample(
        x, grid, mode=mode, padding_mode=n.get("padding_mode", "zeros"), align_corners=bool(n.get("align_corners", 0))
    )


@handles("AffineGrid", host=(1,))
def affine_grid(n, theta, size):
    return F.affine_grid(theta, ints(size), align_corners=bool(n.get("align_corners", 0)))


@handles("RoiAlign", host=(1, 2))
def roi_align(n, x, rois, batch):
    """Mean or maximum of bilinear samples in the bins of each region."""
    height, width, ratio = n.get("output_height", 1), n.get("output_width", 1), n.get("sampling_ratio", 0)
    scale, largest = n.get("spatial_scale", 1.0), n.get("mode", "avg") == "max"
    half = (
        n.get("coordinate_transformation_mode", "half_pixel" if n.opset >= 16 else "output_half_pixel") == "half_pixel"
    )
    _, channels, H, W = x.shape
    out = []
    for (x1, y1, x2, y2), b in zip(np.asarray(rois, np.float64), ints(batch), strict=True):
        shift = 0.5 if half else 0.0
        x1, y1, x2, y2 = (v * scale - shift for v in (x1, y1, x2, y2))
        rw, rh = (x2 - x1, y2 - y1) if half else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
        gh, gw = (ratio or math.ceil(rh / height)), (ratio or math.ceil(rw / width))
        ys = y1 + (np.arange(height)[:, None] + (np.arange(gh) + 0.5) / gh) * rh / height
        xs = x1 + (np.arange(width)[:, None] + (np.arange(gw) + 0.5) / gw) * rw / width
        wy, wx = _samples(ys.reshape(-1), H), _samples(xs.reshape(-1), W)
        if largest:  # the largest of the four weighted neighbours, as ONNX defines it
            raise n.unsupported("mode='max'")
        rows = tensor(wy.reshape(height, gh, H).mean(1), x.device).to(x.dtype)
        columns = tensor(wx.reshape(width, gw, W).mean(1), x.device).to(x.dtype)
        out.append(jtorch.einsum("hi,cij,wj->chw", rows, x[b], columns))
    return jtorch.stack(out) if out else jtorch.zeros((0, channels, height, width), dtype=x.dtype)


def _samples(at: np.ndarray, size: int) -> np.ndarray:
    """``(samples, size)`` bilinear weights; none for what lies more than one element outside."""
    inside = (at >= -1) & (at <= size)
    at = np.clip(at, 0, None)
    low = np.minimum(np.floor(at).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = np.where(low >= size - 1, 0.0, at - low)
    weights = np.zeros((len(at), size))
    rows = np.arange(len(at))
    np.add.at(weights, (rows, low), 1 - part)
    np.add.at(weights, (rows, high), part)
    return weights * inside[:, None]


@handles("NonMaxSuppression", host=(0, 1, 2, 3, 4))
def non_max_suppression(n, boxes, scores, most=None, overlap=None, threshold=None):
    most = 0 if most is None else int(np.asarray(most).reshape(-1)[0])
    overlap = 0.0 if overlap is None else float(np.asarray(overlap).reshape(-1)[0])
    threshold = None if threshold is None else float(np.asarray(threshold).reshape(-1)[0])
    found = []
    for b in range(boxes.shape[0]):
        corners = _corners(boxes[b].astype(np.float64), n.get("center_point_box", 0))
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        for c in range(scores.shape[1]):
            order = [
                i for i in np.argsort(-scores[b, c], kind="stable") if threshold is None or scores[b, c, i] > threshold
            ]
            kept: list[int] = []
            for i in order:
                if len(kept) == most:
                    break
                if all(_overlap(corners[i], corners[j], areas[i], areas[j]) <= overlap for j in kept):
                    kept.append(i)
            found += [(b, c, i) for i in kept]
    return np.array(found, np.int64).reshape(-1, 3)


def _corners(boxes: np.ndarray, centred: int) -> np.ndarray:
    if centred:
        x, y, w, h = boxes.T
        return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    y1, x1, y2, x2 = boxes.T
    return np.stack([np.minimum(x1, x2), np.minimum(y1, y2), np.maximum(x1, x2), np.maximum(y1, y2)], 1)


def _overlap(a, b, area_a: float, area_b: float) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    return both / (area_a + area_b - both) if both else 0.0
