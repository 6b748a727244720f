"""Samples of the loss functions and distances."""

from .table import S, T, rows

NN = "torch.nn.functional."

P = dict(low=0.05, high=0.95)
SIGNS = T(4, values=[1.0, -1.0, -1.0, 1.0], grad=False)


def pairwise(name: str, *extra: S) -> None:
    """The reductions and shapes of a loss between two tensors of one size."""
    rows(
        NN + name,
        S(T(3, 4), T(3, 4)),
        S(T(3, 4), T(3, 4), reduction="sum"),
        S(T(2, 1, 3), T(2, 1, 3), reduction="none"),
        S(T(), T()),
        *extra,
    )


pairwise("mse_loss", S(T(3, 2), T(3, 2), weight=T(3, 2, low=0.5, high=2.0)))
pairwise("l1_loss", S(T(3, 2), T(3, 2), weight=T(3, 2, low=0.5, high=2.0)))
pairwise("smooth_l1_loss", S(T(3, 4), T(3, 4), beta=0.5), S(T(3, 4), T(3, 4), beta=0.0))
pairwise("huber_loss", S(T(3, 4), T(3, 4), delta=0.4), S(T(3, 2), T(3, 2), weight=T(3, 2, low=0.5, high=2.0)))
pairwise(
    "poisson_nll_loss",
    S(T(5, low=0.5, high=3.0), T(5, low=0.2, high=4.0), log_input=False),
    S(T(5), T(5, low=0.2, high=4.0, grad=False), full=True),
)
rows(
    NN + "gaussian_nll_loss",
    S(T(3, 4), T(3, 4), T(3, 4, low=0.5, high=2.0)),
    S(T(3, 4), T(3, 4), T(3, 1, low=0.5, high=2.0), full=True),
    S(T(3, 4), T(3, 4), T(3, low=0.5, high=2.0), reduction="none"),
)
rows(
    NN + "binary_cross_entropy",
    S(T(3, 4, **P), T(3, 4, **P)),
    S(T(3, 4, **P), T(3, 4, **P), weight=T(4, grad=False, **P), reduction="sum"),
    S(T(2, **P), T(2, **P), reduction="none"),
    S(T(3, values=[0.0, 1.0, 0.5]), T(3, values=[0.0, 1.0, 1.0], grad=False), gradcheck=False, why="bounded logs"),
)
rows(
    NN + "binary_cross_entropy_with_logits",
    S(T(3, 4), T(3, 4, **P)),
    S(T(3, 4), T(3, 4, **P), weight=T(3, 4, grad=False, **P), pos_weight=T(4, low=0.5, high=3.0, grad=False)),
    S(T(5, low=-40, high=40), T(5, grad=False, **P), reduction="none"),
    S(T(), T(**P), reduction="sum"),
)
rows(
    NN + "kl_div",
    S(T(3, 4), T(3, 4, **P), reduction="batchmean"),
    S(T(3, 4), T(3, 4), reduction="sum", log_target=True),
    S(T(3, 2), T(3, 2, **P), reduction="none"),
    S(T(3), T(3, values=[0.0, 0.5, 0.5], grad=False), reduction="sum"),
)
rows(
    NN + "cross_entropy",
    S(T(4, 5), T(4, dtype="int64")),
    S(T(5), T(dtype="int64")),
    S(T(2, 5, 3), T(2, 3, dtype="int64"), reduction="none"),
    S(T(2, 3, 2, 2), T(2, 2, 2, dtype="int64", high=3), T(3, low=0.5, high=2.0, grad=False)),
    S(T(4, 5), T(4, dtype="int64", values=[1, -100, 4, 0]), reduction="sum"),
    S(T(4, 5), T(4, dtype="int64", values=[1, 2, 4, 0]), ignore_index=2, label_smoothing=0.1),
    S(T(4, 5), T(4, dtype="int64"), T(5, low=0.5, high=2.0, grad=False), label_smoothing=0.2),
    S(T(4, 5), T(4, dtype="int64"), T(5, low=0.5, high=2.0, grad=False), label_smoothing=0.2, reduction="sum"),
    S(T(4, 5), T(4, 5, **P)),
    S(T(2, 5, 3), T(2, 5, 3, **P), T(5, low=0.5, high=2.0, grad=False), label_smoothing=0.1),
    S(T(4, 5, low=-200, high=200), T(4, dtype="int64"), reduction="sum"),
)
rows(
    NN + "nll_loss",
    S(T(4, 5), T(4, dtype="int64")),
    S(T(5), T(dtype="int64")),
    S(T(2, 5, 3), T(2, 3, dtype="int64"), reduction="none"),
    S(T(2, 3, 2, 2), T(2, 2, 2, dtype="int64", high=3), T(3, low=0.5, high=2.0, grad=False)),
    S(T(4, 5), T(4, dtype="int64", values=[1, -100, 4, 0]), reduction="sum"),
)
rows(
    NN + "ctc_loss",
    S(
        T(6, 2, 4, low=-3, high=-0.2),
        T(2, 3, dtype="int64", low=1, high=4),
        T(2, dtype="int64", values=[6, 5]),
        T(2, dtype="int64", values=[3, 2]),
        gradcheck=False,
        why="PyTorch's gradient is that of the logits",
    ),
    S(
        T(6, 2, 4, low=-3, high=-0.2),
        T(5, dtype="int64", values=[1, 1, 2, 3, 3]),
        T(2, dtype="int64", values=[6, 5]),
        T(2, dtype="int64", values=[3, 2]),
        reduction="none",
        gradcheck=False,
        why="PyTorch's gradient is that of the logits",
    ),
    S(
        T(3, 2, 4, low=-3, high=-0.2),
        T(2, 3, dtype="int64", values=[[0, 0, 1], [1, 2, 0]]),
        T(2, dtype="int64", values=[3, 3]),
        T(2, dtype="int64", values=[3, 1]),
        blank=3,
        reduction="sum",
        zero_infinity=True,
        gradcheck=False,
        why="PyTorch's gradient is that of the logits",
    ),
    S(
        T(6, 4, low=-3, high=-0.2),
        T(3, dtype="int64", values=[1, 1, 2]),
        T(dtype="int64", values=6),
        T(dtype="int64", values=3),
        gradcheck=False,
        why="PyTorch's gradient is that of the logits",
    ),
)
rows(NN + "hinge_embedding_loss", S(T(4), SIGNS), S(T(4), SIGNS, margin=0.5, reduction="none"))
rows(
    NN + "margin_ranking_loss",
    S(T(4), T(4), SIGNS),
    S(T(4), T(4), SIGNS, margin=0.3, reduction="sum"),
)
rows(
    NN + "cosine_embedding_loss",
    S(T(4, 3), T(4, 3), SIGNS),
    S(T(4, 3), T(4, 3), SIGNS, margin=0.2, reduction="none"),
    S(T(3), T(3), T(values=1, dtype="int64")),
)
rows(
    NN + "triplet_margin_loss",
    S(T(4, 3), T(4, 3), T(4, 3)),
    S(T(4, 3), T(4, 3), T(4, 3), margin=2.0, p=1, swap=True, reduction="none"),
    S(T(3), T(3), T(3), reduction="sum"),
)
rows(NN + "soft_margin_loss", S(T(4), SIGNS), S(T(4), SIGNS, reduction="sum"))
rows(
    NN + "multilabel_margin_loss",
    S(T(2, 4), T(2, 4, dtype="int64", values=[[3, 0, -1, 1], [1, 2, 3, -1]])),
    S(T(4), T(4, dtype="int64", values=[2, -1, 0, 0]), reduction="sum"),
)
rows(
    NN + "multi_margin_loss",
    S(T(3, 4), T(3, dtype="int64", high=4)),
    S(T(3, 4), T(3, dtype="int64", high=4), p=2, margin=0.5, weight=T(4, grad=False, **P), reduction="none"),
    S(T(4), T(dtype="int64", high=4)),
)
rows(
    NN + "multilabel_soft_margin_loss",
    S(T(3, 4), T(3, 4, **P)),
    S(T(3, 4), T(3, 4, grad=False, **P), weight=T(4, grad=False, **P), reduction="none"),
)
rows(NN + "cosine_similarity", S(T(3, 4), T(3, 4)), S(T(2, 1, 4), T(3, 4), dim=-1), S(T(5), T(5), dim=0))
rows("torch.cosine_similarity", S(T(3, 4), T(3, 4)))
rows(
    NN + "pairwise_distance",
    S(T(3, 4), T(3, 4)),
    S(T(3, 4), T(1, 4), p=1.0, keepdim=True),
    S(T(4), T(4), p=3.0),
)
rows("torch.pairwise_distance", S(T(3, 4), T(3, 4)))
rows(
    "torch.cdist",
    S(T(3, 4), T(2, 4)),
    S(T(2, 3, 4), T(2, 2, 4), p=1.0),
    S(T(3, 4), T(2, 4), p=float("inf")),
    S(T(3, 4), T(2, 4), p=3.0),
    S(T(27, 3), T(2, 3), atol=1e-3),
)
rows(NN + "pdist", S(T(4, 3)), S(T(4, 3), p=1.0))
rows("torch.pdist", S(T(4, 3)))
