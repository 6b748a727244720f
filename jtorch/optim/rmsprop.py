"""RMSprop."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer


class RMSprop(FusedOptimizer):
    r"""RMSprop (Hinton's lecture 6e, 2012).

    .. math:: v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad p \leftarrow p - \gamma \frac{g}{\sqrt{v} + \epsilon}

    ``centered`` subtracts the square of the mean gradient from ``v``; ``momentum`` :math:`\mu` steps by
    :math:`b \leftarrow \mu b + g / (\sqrt{v} + \epsilon)`; ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to
    ``g``. ``maximize`` ascends. ``foreach`` and ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative option.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    _op = "_rmsprop_step"
    _entries = ("square_avg", "momentum_buffer", "grad_avg")
    _not_negative = ("eps", "momentum", "weight_decay", "alpha")

    def _names(self, group: dict) -> tuple[str, ...]:
        moving, centered = group["momentum"] > 0, group["centered"]
        return ("square_avg",) + ("momentum_buffer",) * moving + ("grad_avg",) * centered
