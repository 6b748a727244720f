"""Adafactor."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part, check_not_negative, full_like, zeros_along
from jtorch.optim.optimizer import is_tensor


class Adafactor(FusedOptimizer):
    r"""Adafactor (Shazeer and Stern, 2018): second moments factored into rows and columns.

    .. math::
        v = \frac{R C}{\operatorname{mean}(R)}, \quad u = \frac{g}{\max(\sqrt{v}, \epsilon_1)}, \quad
        p \leftarrow p - \frac{\max(\epsilon_2, \operatorname{rms}(p)) \min(\gamma, t^{-1/2})}
        {\max(1, \operatorname{rms}(u) / d)} u

    ``R`` and ``C`` are running means of the squared gradient over the last and the last but one dimension, the newest
    weighted by :math:`t^\tau` with ``beta2_decay`` :math:`\tau`; vectors keep ``v`` whole. ``eps`` is
    :math:`(\epsilon_1, \epsilon_2)`, where None is the dtype's own epsilon. ``weight_decay`` :math:`\lambda` first
    shrinks ``p`` by :math:`1 - \gamma\lambda`. ``maximize`` ascends. ``foreach`` is accepted and changes nothing.

    Raises:
        ValueError: a negative option, a positive ``beta2_decay``, or ``d`` below 1.
        RuntimeError: complex parameters, at the first step.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        if is_tensor(lr) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_not_negative("Learning rate", lr, "{} should be >= 0 but is: {}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        for i, value in enumerate(eps):
            if value is not None or i == 1:
                check_not_negative(f"epsilon{i + 1}", value, "{} should be >= 0 but is: {}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        check_not_negative("weight_decay", weight_decay, "{} should be >= 0 but is: {}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    _op = "_adafactor_step"
    by_element = False
    _entries = ("row_var", "col_var", "variance")

    def _new_state(self, p, group: dict) -> dict:
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if p.dim() < 2:
            return {"variance": full_like(p)}
        *batch, rows, columns = p.shape
        return {
            "row_var": zeros_along(p, (*batch, rows, 1)),
            "col_var": zeros_along(p, (*batch, 1, columns)),
        }

    def _options(self, group: dict, part: Part) -> dict:
        eps1, eps2 = group["eps"]
        return group | {"eps1": eps1, "eps2": eps2}
