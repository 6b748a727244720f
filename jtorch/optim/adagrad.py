"""Adagrad."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, full_like


class Adagrad(FusedOptimizer):
    r"""Adagrad (Duchi, Hazan and Singer, 2011).

    .. math:: s \leftarrow s + g^2, \qquad p \leftarrow p - \frac{\gamma}{1 + (t - 1)\eta} \frac{g}{\sqrt{s} + \epsilon}

    with ``lr_decay`` :math:`\eta`; ``s`` starts at ``initial_accumulator_value``, when the optimizer is made.
    ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to ``g``. ``maximize`` ascends. ``foreach`` and ``fused``
    are accepted and change nothing.

    Raises:
        ValueError: a negative option.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            counts: dict = {}
            for p in group["params"]:
                self._start(p, group, counts)

    takes_sparse = True
    _op = "_adagrad_step"
    _entries = ("sum",)
    _not_negative = ("lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _new_state(self, p, group: dict) -> dict:
        start = group["initial_accumulator_value"]
        return {"sum": full_like(p, complex(start, start) if p.is_complex() else start)}
