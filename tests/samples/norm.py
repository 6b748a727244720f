"""Samples of the normalisations."""

from .table import S, T, rows

NN = "torch.nn.functional."
STATS = (T(3, grad=False), T(3, low=0.5, high=2.0, grad=False))

rows(
    NN + "batch_norm",
    S(T(4, 3), None, None, training=True),
    S(T(2, 3, 4, 2), None, None, T(3), T(3), training=True),
    S(T(2, 3, 5), *STATS, T(3), T(3), training=True, momentum=0.3),
    S(T(2, 3, 2, 2), *STATS, T(3), T(3)),
    S(T(2, 3), *STATS, eps=0.1),
)
rows(
    NN + "instance_norm",
    S(T(2, 3, 4)),
    S(T(2, 3, 2, 3), weight=T(3), bias=T(3)),
)
for where in ("torch.", NN):
    rows(
        where + "layer_norm",
        S(T(3, 4), (4,)),
        S(T(2, 3, 4), (3, 4), T(3, 4), T(3, 4)),
        S(T(5), (5,), T(5), None, 0.1),
        S(T(2, 0, 4), (4,), T(4), T(4)),
    )
    rows(
        where + "group_norm",
        S(T(2, 4), 2),
        S(T(2, 6, 3, 2), 3, T(6), T(6)),
        S(T(1, 4, 3), 4, T(4), None, 0.1),
        S(T(2, 4, 3), 1, T(4), T(4)),
    )
    rows(
        where + "rms_norm",
        S(T(3, 4), (4,)),
        S(T(2, 3, 4), (3, 4), T(3, 4)),
        S(T(2, 5), (5,), T(5), 0.1),
    )
rows(NN + "local_response_norm", S(T(2, 5, 4), 3), S(T(2, 4, 2, 3), 2, 0.1, 0.5, 2.0))
rows(
    NN + "normalize",
    S(T(3, 4)),
    S(T(2, 3, 2), p=1.0, dim=-1),
    S(T(4), dim=0, p=3.0),
    S(T(2, 3, 4), dim=(1, 2)),
)
