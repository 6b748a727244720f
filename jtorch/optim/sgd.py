"""Stochastic gradient descent."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part


class SGD(FusedOptimizer):
    r"""Gradient descent, with momentum.

    .. math:: b \leftarrow \mu b + (1 - \tau) g, \qquad p \leftarrow p - \gamma b

    with ``lr`` :math:`\gamma`, ``momentum`` :math:`\mu`, ``dampening`` :math:`\tau` (the first ``b`` is ``g``), and
    ``weight_decay`` :math:`\lambda`, which adds :math:`\lambda p` to ``g``. ``nesterov`` steps by
    :math:`g + \mu b`. ``maximize`` ascends. ``foreach`` and ``fused`` are accepted and change nothing.

    Raises:
        ValueError: a negative option, or ``nesterov`` without momentum or with dampening.
    """

    counts = False
    takes_sparse = True

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _parts(self, group: dict):
        for p in group["params"]:  # a file may hold None for a buffer that was never used
            if self.state.get(p, {}).get("momentum_buffer", p) is None:
                del self.state[p]["momentum_buffer"]
        yield from super()._parts(group)

    _op = "_sgd_step"
    _entries = ("momentum_buffer",)
    _not_negative = ("momentum", "weight_decay")

    def _names(self, group: dict) -> tuple[str, ...]:
        return self._entries if group["momentum"] != 0 else ()

    def can_skip(self) -> bool:
        # A first step that is skipped is no first step any more, and the next would be damped.
        return super().can_skip() and not any(g["momentum"] and g["dampening"] for g in self.param_groups)

    def _options(self, group: dict, part: Part) -> dict:
        # The buffer of a first step is the gradient itself: zero times the momentum, plus the gradient undamped.
        return group | {"dampening": 0.0 if part.fresh else group["dampening"]}
