"""Samples of pooling, padding and resampling."""

from .table import S, T, rows

NN = "torch.nn.functional."
TIES = T(1, 1, 4, 4, values=[[[[1.0, 1, 2, 2], [1, 1, 2, 2], [0, 3, 3, 0], [3, 0, 0, 3]]]])

rows(
    NN + "max_pool1d",
    S(T(2, 3, 8), 2),
    S(T(3, 9), 3, stride=2, padding=1),
    S(T(2, 2, 9), 3, stride=2, dilation=2, ceil_mode=True),
    S(T(2, 2, 7), 2, return_indices=True),
)
rows(
    NN + "max_pool2d",
    S(T(2, 3, 4, 6), 2),
    S(T(2, 2, 7, 7), 3, stride=2, padding=1),
    S(T(2, 5, 7), (2, 3), ceil_mode=True),
    S(T(1, 2, 8, 9), 3, stride=(1, 2), padding=1, dilation=2, return_indices=True),
    S(T(1, 2, 9, 9), 7, stride=1, padding=3, return_indices=True),
    S(TIES, 2, gradcheck=False, why="ties"),
    S(TIES, 3, 1, 1, gradcheck=False, why="ties"),
    S(T(0, 3, 4, 4), 2),
)
rows(
    NN + "max_pool3d",
    S(T(1, 2, 4, 4, 4), 2),
    S(T(2, 3, 5, 4), (1, 2, 2), stride=(1, 2, 1), padding=(0, 1, 0), return_indices=True),
)
rows(
    NN + "avg_pool1d",
    S(T(2, 3, 8), 2),
    S(T(3, 9), 3, stride=2, padding=1, ceil_mode=True),
    S(T(2, 2, 9), 4, 3, 1, count_include_pad=False),
)
rows(
    NN + "avg_pool2d",
    S(T(2, 3, 4, 6), 2),
    S(T(2, 2, 7, 5), 2),
    S(T(2, 2, 7, 7), 3, stride=2, padding=1, ceil_mode=True),
    S(T(2, 5, 7), (2, 3), stride=(1, 2), padding=(1, 1), count_include_pad=False, ceil_mode=True),
    S(T(1, 2, 6, 6), 3, stride=1, divisor_override=2),
)
rows(
    NN + "avg_pool3d",
    S(T(1, 2, 4, 4, 4), 2),
    S(T(2, 3, 5, 4), (1, 2, 2), padding=(0, 1, 1), count_include_pad=False),
    S(T(1, 1, 3, 5, 4), 2, stride=1, ceil_mode=True, divisor_override=3),
)
rows(NN + "adaptive_avg_pool1d", S(T(2, 3, 8), 4), S(T(3, 7), 3))
rows(
    NN + "adaptive_avg_pool2d",
    S(T(2, 3, 8, 6), (4, 3)),
    S(T(2, 5, 7), (3, None)),
    S(T(2, 2, 3, 4), 5),
    S(T(2, 2, 3, 4), 1),
)
rows(NN + "adaptive_avg_pool3d", S(T(1, 2, 4, 4, 4), 2), S(T(2, 3, 5, 4), (2, 3, None)))
rows(NN + "adaptive_max_pool1d", S(T(2, 3, 8), 4), S(T(3, 7), 3, return_indices=True))
rows(
    NN + "adaptive_max_pool2d",
    S(T(2, 3, 8, 6), (4, 3), return_indices=True),
    S(T(2, 5, 7), (3, None), return_indices=True),
    S(T(2, 2, 3, 4), 5),
)
rows(NN + "adaptive_max_pool3d", S(T(1, 2, 4, 4, 4), 2), S(T(2, 3, 5, 4), (2, 3, 3), return_indices=True))
rows(NN + "lp_pool1d", S(T(2, 3, 8), 2, 3), S(T(3, 9, low=0.1), 3, 2, 2, True))
rows(NN + "lp_pool2d", S(T(2, 3, 5, 6), 2, 2), S(T(2, 5, 5, low=0.1), 3.0, (2, 3), 2, True))
rows(NN + "lp_pool3d", S(T(1, 2, 4, 4, 4, low=0.1), 2, 2))

rows(
    NN + "pad",
    S(T(2, 3), (1, 2)),
    S(T(2, 3, 4), (1, 0, 2, 1), "constant", 1.5),
    S(T(3, 4, 5), (-1, 2, -1, -1)),
    S(T(3, 4), (2, 3), "reflect"),
    S(T(2, 3, 4, 5), (1, 2, 3, 0), "reflect"),
    S(T(1, 2, 3, 3, 4), (1, 2, 2, 0, 1, 1), "reflect"),
    S(T(2, 3, 4), (3, 1), "replicate"),
    S(T(2, 3, 4, 5), (-1, 2, 1, 6), "replicate"),
    S(T(2, 3, 4, 5), (1, 2, 3, 0), "circular"),
    S(T(2, 3, 5), (3, -1), "circular"),
    S(T(2, 3, dtype="int64"), (1, 1), value=3),
)
rows(
    NN + "interpolate",
    S(T(2, 3, 4), 8),
    S(T(2, 3, 5), scale_factor=1.7),
    S(T(2, 3, 4, 5), (3, 7)),
    S(T(2, 3, 4, 5), scale_factor=2, mode="nearest-exact"),
    S(T(2, 3, 5, 4), (7, 2), mode="nearest-exact"),
    S(T(2, 3, 5), 8, mode="linear"),
    S(T(2, 3, 5), scale_factor=2.3, mode="linear", align_corners=True),
    S(T(1, 2, 4, 5), (7, 3), mode="bilinear"),
    S(T(1, 2, 4, 5), (7, 9), mode="bilinear", align_corners=True),
    S(T(1, 2, 4, 5), scale_factor=(1.6, 0.7), mode="bilinear"),
    S(T(1, 2, 4, 5), scale_factor=1.6, mode="bilinear", recompute_scale_factor=True),
    S(T(1, 2, 9, 8), (4, 5), mode="bilinear", antialias=True),
    S(T(1, 2, 4, 5), (7, 3), mode="bicubic"),
    S(T(1, 2, 4, 5), scale_factor=1.6, mode="bicubic", align_corners=True),
    S(T(1, 2, 9, 8), (4, 11), mode="bicubic", antialias=True),
    S(T(1, 2, 3, 2, 4), (4, 3, 5), mode="trilinear"),
    S(T(1, 2, 3, 2, 4), 4, mode="nearest"),
    S(T(1, 2, 7, 5), (3, 5), mode="area"),
    S(T(1, 1, 4, 4, dtype="uint8", high=255), 6, mode="bilinear"),
)
rows(
    NN + "affine_grid",
    S(T(2, 2, 3), (2, 1, 3, 4), align_corners=False),
    S(T(1, 3, 4), (1, 2, 2, 3, 2), align_corners=True),
    S(T(1, 2, 3), (1, 1, 1, 3), align_corners=True),
)
INSIDE = T(2, 3, 2, 2, low=-0.95, high=0.95)
AROUND = T(2, 3, 2, 2, low=-1.8, high=1.8)
rows(
    NN + "grid_sample",
    S(T(2, 2, 4, 5), INSIDE, align_corners=False),
    S(T(2, 2, 4, 5), AROUND, align_corners=True),
    S(T(2, 2, 4, 5), AROUND, padding_mode="border", align_corners=False),
    S(T(2, 2, 4, 5), AROUND, padding_mode="reflection", align_corners=False),
    S(T(2, 2, 4, 5), AROUND, padding_mode="reflection", align_corners=True),
    S(T(2, 2, 4, 5), AROUND, mode="nearest", align_corners=False),
    S(T(2, 2, 4, 5), AROUND, mode="bicubic", align_corners=False),
    S(T(2, 2, 4, 5), AROUND, mode="bicubic", padding_mode="border", align_corners=True),
    S(T(1, 2, 3, 4, 3), T(1, 2, 2, 2, 3, low=-1.2, high=1.2), align_corners=False),
    S(T(1, 2, 3, 4, 3), T(1, 2, 2, 2, 3, low=-1.2, high=1.2), mode="nearest", align_corners=False),
)
