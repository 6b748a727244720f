"""Adadelta."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer


class Adadelta(FusedOptimizer):
    r"""Adadelta (Zeiler, 2012).

    .. math::
        v \leftarrow \rho v + (1 - \rho) g^2, \quad
        \Delta = \frac{\sqrt{u + \epsilon}}{\sqrt{v + \epsilon}} g, \quad
        u \leftarrow \rho u + (1 - \rho) \Delta^2, \quad p \leftarrow p - \gamma \Delta

    ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to ``g``. ``maximize`` ascends. ``foreach`` and
    ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative option, or ``rho`` outside [0, 1].
    """

    def __init__(
        self,
        params,
        lr=1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    _op = "_adadelta_step"
    _entries = ("square_avg", "acc_delta")
    _not_negative = ("eps", "weight_decay")
