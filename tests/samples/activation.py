"""Samples of the activation functions and softmaxes."""

from .table import S, T, rows

NN = "torch.nn.functional."


def unary(name: str, *extra: S, **first) -> None:
    """The usual shapes, for a function of one tensor."""
    rows(NN + name, S(T(3, 4)), S(T()), S(T(0, 3)), S(T(2, 1, 3), **first), *extra)


for _name in ("relu6", "selu", "silu", "mish", "softsign", "tanhshrink", "logsigmoid"):
    unary(_name)
rows("torch.relu", S(T(3, 4)), S(T()), S(T(0, 3)))
rows("torch.selu", S(T(3, 4)))
rows("torch.celu", S(T(3, 4)), S(T(3), alpha=0.5))
rows(NN + "relu", S(T(3, 4)), S(T(values=[-1.0, 0.0, 2.0]), gradcheck=False, why="a kink"), S(T(2, 3, dtype="int64")))
unary("leaky_relu", S(T(3, 4), 0.3), negative_slope=0.2)
unary("elu", S(T(3, 4), 0.5), alpha=1.5)
unary("celu", S(T(3, 4), 0.5), alpha=1.5)
unary("gelu", S(T(3, 4), approximate="tanh"), S(T(5, low=-8, high=8)))
unary("softplus", S(T(3, 4), 3.0, 2.0), S(T(4, low=-60, high=60)), beta=2.0)
unary("softshrink", S(T(3, 4), 1.0), lambd=0.7)
unary("hardshrink", S(T(3, 4), 1.0), lambd=0.7)
rows("torch.hardshrink", S(T(3, 4)))
unary("hardtanh", S(T(3, 4), -0.5, 1.5), S(T(4, low=-4, high=4)), min_val=-1.5)
unary("hardswish", S(T(9, low=-5, high=5)), S(T(values=[-3.0, 3.0]), gradcheck=False, why="kinks"))
_SIXTH = dict(atol=1e-8, rtol=1e-7, why="PyTorch's gradient takes 1/6 in float32, for float64 as well")
rows(NN + "hardsigmoid", *(S(x, **_SIXTH) for x in (T(3, 4), T(), T(0, 3), T(9, low=-5, high=5))))
rows(NN + "threshold", S(T(3, 4), 0.5, -7.0), S(T(), 0.0, 1.0))
rows(NN + "glu", S(T(3, 4)), S(T(4, 3), 0), S(T(2, 2, 3), dim=1), S(T(6)))
rows(
    NN + "prelu",
    S(T(3, 4), T(1)),
    S(T(2, 3, 2), T(3)),
    S(T(4), T(1)),
    S(T(2, 3), T()),
    S(T(), T(1)),
)
rows("torch.prelu", S(T(2, 3), T(3)))
rows(NN + "softmax", S(T(3, 4), 1), S(T(3, 4), dim=0), S(T(2, 3, 4), -2), S(T(), 0), S(T(2, 0), 0))
rows(NN + "log_softmax", S(T(3, 4), 1), S(T(3, 4), dim=0), S(T(2, 3, 4), -2), S(T(), 0))
rows(NN + "softmin", S(T(3, 4), 1), S(T(2, 3, 4), dim=0))
