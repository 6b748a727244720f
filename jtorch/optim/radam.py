"""RAdam."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part, check_implementation, check_lr, check_not_negative, full_like
from jtorch.tensor import dispatch


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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    _older_defaults = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "capturable": False,
    }

    def _new_state(self, p, group: dict) -> dict:
        return {"exp_avg": full_like(p), "exp_avg_sq": full_like(p)}

    def _update(self, group: dict, part: Part) -> None:
        beta1, beta2 = group["betas"]
        new = dispatch.call(
            "_radam_step",
            tuple(part.params),
            tuple(part.grads),
            part.column("exp_avg"),
            part.column("exp_avg_sq"),
            part.step,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            maximize=group["maximize"],
            decoupled=group["decoupled_weight_decay"],
        )
        part.write(new, ("exp_avg", "exp_avg_sq"))
