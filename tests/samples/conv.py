"""Samples of convolutions and their transposes."""

from .table import S, T, rows

NN = "torch.nn.functional."

rows(
    NN + "conv1d",
    S(T(2, 3, 9), T(4, 3, 3), T(4)),
    S(T(3, 7), T(2, 3, 2), stride=2, padding=1),
    S(T(1, 4, 8), T(6, 2, 3), T(6), padding="same", dilation=2, groups=2),
    S(T(2, 4, 6), T(4, 1, 3), padding=2, groups=4),
)
rows(
    NN + "conv2d",
    S(T(2, 3, 5, 6), T(4, 3, 3, 3), T(4), padding=1),
    S(T(2, 2, 7, 5), T(3, 2, 3, 2), T(3), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    S(T(2, 6, 5, 5), T(4, 3, 3, 3), T(4), stride=2, padding=1, groups=2),
    S(T(2, 3, 6, 4), T(6, 1, 3, 3), padding="same", groups=3),
    S(T(2, 3, 9, 4), T(3, 1, 5, 1), T(3), padding=(1, 0), groups=3),
    S(T(1, 2, 5, 6), T(2, 1, 2, 3), padding=3, dilation=(1, 2), groups=2),  # padded by more than windows reach
    S(T(3, 5, 5), T(2, 3, 1, 1), T(2)),
    S(T(2, 3, 5, 6), T(4, 3, 1, 1), stride=2),
    S(T(2, 1, 6, 6), T(3, 1, 4, 4), T(3), padding="same"),
    S(T(1, 2, 4, 4), T(256, 2, 3, 3), padding=1, gradcheck=False, why="many elements: the spelling for many filters"),
    S(T(0, 3, 4, 4), T(2, 3, 3, 3), T(2)),
)
rows(
    NN + "conv3d",
    S(T(1, 2, 4, 3, 4), T(3, 2, 2, 2, 2), T(3), padding=1),
    S(T(4, 2, 4, 3), T(2, 4, 1, 2, 2), stride=(1, 2, 1)),
    S(T(1, 4, 3, 3, 3), T(4, 2, 2, 2, 2), groups=2, dilation=(1, 2, 1)),
)
rows(
    NN + "conv_transpose1d",
    S(T(2, 3, 5), T(3, 4, 3), T(4)),
    S(T(3, 5), T(3, 2, 3), stride=2, padding=1, output_padding=1),
    S(T(2, 4, 4), T(4, 3, 2), T(6), groups=2, dilation=2),
)
rows(
    NN + "conv_transpose2d",
    S(T(2, 3, 3, 4), T(3, 4, 3, 3), T(4), padding=1),
    S(T(2, 3, 3, 3), T(3, 2, 3, 2), T(2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2)),
    S(T(2, 4, 3, 3), T(4, 1, 3, 3), stride=2, groups=4),
    S(T(4, 3, 3), T(4, 3, 2, 2), T(6), groups=2, dilation=2, output_padding=1),
    S(T(2, 3, 3, 3), T(3, 2, 1, 1)),
)
rows(
    NN + "conv_transpose3d",
    S(T(1, 2, 3, 2, 3), T(2, 3, 2, 2, 2), T(3)),
    S(T(2, 2, 3, 2), T(2, 2, 3, 2, 2), stride=2, padding=(1, 0, 1), output_padding=(1, 0, 1)),
)

rows(
    NN + "unfold",
    S(T(2, 3, 4, 5), (2, 3)),
    S(T(2, 5, 5), 2, dilation=2, padding=1, stride=2),
)
rows(
    NN + "fold",
    S(T(2, 12, 12), (4, 5), (2, 2)),
    S(T(8, 9), (5, 5), 2, dilation=2, padding=1, stride=2),
)
for where in ("torch.", NN):
    rows(where + "pixel_shuffle", S(T(2, 8, 2, 3), 2), S(T(9, 1, 2), 3), S(T(2, 1, 4, 1, 1), 2))
    rows(where + "pixel_unshuffle", S(T(2, 2, 4, 6), 2), S(T(1, 3, 6), 3))
    rows(where + "channel_shuffle", S(T(2, 6, 2, 2), 3), S(T(1, 4, 3), 2))
