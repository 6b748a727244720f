"""Adamax."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer


class Adamax(FusedOptimizer):
    r"""Adam with the infinity norm (Kingma and Ba, 2015).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad u \leftarrow \max(\beta_2 u, |g| + \epsilon), \quad
        p \leftarrow p - \frac{\gamma}{1 - \beta_1^t} \frac{m}{u}

    ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to ``g``. ``maximize`` ascends. ``foreach`` and
    ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    def __init__(
        self,
        params,
        lr=2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    _op = "_adamax_step"
    _entries = ("exp_avg", "exp_inf")
    _not_negative = ("eps", "weight_decay")
