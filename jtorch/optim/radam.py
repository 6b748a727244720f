"""RAdam."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer


class RAdam(FusedOptimizer):
    r"""Adam with a rectified step (Liu et al., 2020).

    .. math::
        \rho_\infty = \frac{2}{1 - \beta_2} - 1, \quad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}}

    .. math::
        p \leftarrow p - \gamma \frac{m}{1 - \beta_1^t} \cdot
        \begin{cases} r_t \sqrt{1 - \beta_2^t} / (\sqrt{v} + \epsilon) & \rho_t > 5 \\ 1 & \text{else} \end{cases}

    with Adam's ``m`` and ``v``. ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to ``g``, or with
    ``decoupled_weight_decay`` first shrinks ``p`` by :math:`1 - \gamma\lambda`. ``maximize`` ascends. ``foreach`` and
    ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    _op = "_radam_step"
    _entries = ("exp_avg", "exp_avg_sq")
    _not_negative = ("eps", "weight_decay")
