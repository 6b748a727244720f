"""Rprop."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part, full_like


class Rprop(FusedOptimizer):
    r"""Resilient backpropagation (Riedmiller and Braun, 1993): steps by the gradient's sign only.

    .. math:: p \leftarrow p - s \operatorname{sign}(g)

    where the step size ``s`` of each element starts at ``lr``, grows by ``etas[1]`` while the sign of ``g`` stays,
    shrinks by ``etas[0]`` where it turned (which also sets ``g`` to 0 there), and stays within ``step_sizes``.
    ``maximize`` ascends. ``foreach`` and ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative ``lr``, or not ``0 < etas[0] < 1 < etas[1]``.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    _op = "_rprop_step"
    _entries = ("prev", "step_size")

    def _new_state(self, p, group: dict) -> dict:
        lr = float(group["lr"])
        return {"prev": full_like(p), "step_size": full_like(p, complex(lr, lr) if p.is_complex() else lr)}

    def _options(self, group: dict, part: Part) -> dict:
        names = ("eta_minus", "eta_plus", "smallest", "largest")
        return group | dict(zip(names, (*group["etas"], *group["step_sizes"]), strict=True))
