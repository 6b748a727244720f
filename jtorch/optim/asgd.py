"""Averaged stochastic gradient descent."""

from __future__ import annotations

from jtorch.optim.fused import (
    FusedOptimizer,
    count,
    full_like,
)


class ASGD(FusedOptimizer):
    r"""Gradient descent that also averages its path (Polyak and Juditsky, 1992).

    .. math::
        p \leftarrow (1 - \lambda\eta) p - \eta g, \quad a \leftarrow a + \mu (p - a), \quad
        \eta = \frac{\gamma}{(1 + \lambda\gamma t)^\alpha}, \quad \mu = \frac{1}{\max(1, t - t_0)}

    with ``lambd`` :math:`\lambda`; :math:`\eta` and :math:`\mu` are those of the step before, at first ``lr`` and 1.
    The average is ``state[p]["ax"]``. ``weight_decay`` adds its multiple of ``p`` to ``g``. ``maximize`` ascends.
    ``foreach`` and ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative ``lr`` or ``weight_decay``.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for p, own in self.state.items():  # old files have numbers here
            for name in ("eta", "mu"):
                if isinstance(own.get(name), (int, float)):
                    own[name] = count(own[name], p.device)

    _op = "_asgd_step"
    _entries = ("ax", "eta", "mu")
    _not_negative = ("weight_decay",)

    def _new_state(self, p, group: dict) -> dict:
        return {"eta": count(float(group["lr"]), p.device), "mu": count(1, p.device), "ax": full_like(p)}
