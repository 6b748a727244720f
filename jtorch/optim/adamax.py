"""Adamax."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part, check_implementation, check_lr, check_not_negative, full_like
from jtorch.tensor import dispatch


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
        check_lr(lr)
        check_not_negative("epsilon", eps, "Invalid {} value: {}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        check_not_negative("weight_decay", weight_decay, "Invalid {} value: {}")
        check_implementation(foreach, False, differentiable)
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

    _older_defaults = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def _new_state(self, p, group: dict) -> dict:
        return {"exp_avg": full_like(p), "exp_inf": full_like(p)}

    def _update(self, group: dict, part: Part) -> None:
        beta1, beta2 = group["betas"]
        new = dispatch.call(
            "_adamax_step",
            tuple(part.params),
            tuple(part.grads),
            part.column("exp_avg"),
            part.column("exp_inf"),
            part.step,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            maximize=group["maximize"],
        )
        part.write(new, ("exp_avg", "exp_inf"))
