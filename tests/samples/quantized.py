"""Rounding with a straight-through gradient. Differences see the steps, so no gradcheck."""

from .table import S, T, rows

_STEPS = dict(gradcheck=False, why="a step function: the gradient is straight-through by definition")

rows(
    "torch.fake_quantize_per_tensor_affine",
    S(T(3, 4), 0.1, 3, 0, 30, **_STEPS),
    S(T(5), 0.03, 0, -128, 127, **_STEPS),
    S(T(), 0.25, 0, -8, 7, **_STEPS),
    S(T(0, 3), 0.1, 0, 0, 255, **_STEPS),
)
rows(
    "torch.fake_quantize_per_channel_affine",
    S(T(3, 2), T(3, low=0.05, high=0.3, grad=False), T(3, dtype="int32"), 0, 0, 20, **_STEPS),
    S(T(2, 4, 3), T(4, low=0.05, high=0.3, grad=False), T(4, dtype="int32"), 1, -8, 7, **_STEPS),
)
