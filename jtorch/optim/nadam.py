"""NAdam."""

from __future__ import annotations

from jtorch.optim.fused import (
    FusedOptimizer,
    count,
    full_like,
)


class NAdam(FusedOptimizer):
    r"""Adam with Nesterov momentum (Dozat, 2016).

    .. math::
        \mu_t = \beta_1 (1 - \tfrac12 0.96^{t\psi}), \quad
        \hat m = \frac{\mu_{t+1} m}{1 - \prod_{i \le t+1} \mu_i} + \frac{(1 - \mu_t) g}{1 - \prod_{i \le t} \mu_i},
        \quad p \leftarrow p - \gamma \frac{\hat m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with Adam's ``m`` and ``v``, and ``momentum_decay`` :math:`\psi`. ``weight_decay`` :math:`\lambda` adds
    :math:`\lambda p` to ``g``, or with ``decoupled_weight_decay`` first shrinks ``p`` by
    :math:`1 - \gamma\lambda`. ``maximize`` ascends. ``foreach`` and ``capturable`` are accepted and change nothing.

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
        momentum_decay: float = 4e-3,
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
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for p, own in self.state.items():  # old files have a number here
            if isinstance(own.get("mu_product"), (int, float)):
                own["mu_product"] = count(own["mu_product"], p.device)

    _op = "_nadam_step"
    _entries = ("exp_avg", "exp_avg_sq", "mu_product")
    _not_negative = ("eps", "weight_decay", "momentum_decay")

    def _new_state(self, p, group: dict) -> dict:
        return {"mu_product": count(1, p.device), "exp_avg": full_like(p), "exp_avg_sq": full_like(p)}
