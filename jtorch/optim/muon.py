"""Muon."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer, Part, check_not_negative
from jtorch.optim.optimizer import is_tensor

#: The coefficients of the iteration, from Keller Jordan's description of Muon.
NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(FusedOptimizer):
    r"""Momentum, orthogonalized by Newton-Schulz iterations (Jordan, 2024); for weight matrices only.

    .. math::
        b \leftarrow \mu b + (1 - \mu) g, \quad x = \mathrm{NS}(b), \quad
        p \leftarrow (1 - \gamma\lambda) p - \gamma r x

    With ``nesterov``, :math:`(1 - \mu) g + \mu b` stands for ``b`` in ``x``. ``NS`` divides by the norm (at least
    ``eps``) and ``ns_steps`` times takes :math:`a x + b (x x^T) x + c (x x^T)^2 x` with ``ns_coefficients``, in
    bfloat16. ``adjust_lr_fn`` chooses ``r``: ``"original"`` (also None) :math:`\sqrt{\max(1, A/B)}`,
    ``"match_rms_adamw"`` :math:`0.2\sqrt{\max(A, B)}`, for an ``A`` by ``B`` matrix.

    Raises:
        ValueError: a negative option, an unknown ``adjust_lr_fn``, a parameter that is no matrix; at a step, 100 or
            more ``ns_steps``, or not three coefficients.
        RuntimeError: complex parameters, at the first step.
    """

    counts = False

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = NS_COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        if is_tensor(lr) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_not_negative("Learning rate", lr, "{} should be >= 0 but is: {}")
        check_not_negative("momentum", momentum, "{} should be >= 0 but is: {}")
        check_not_negative("weight decay", weight_decay, "{} should be >= 0 but is: {}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for p in self._params():
            if p.ndim != 2:
                raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    _older_defaults = {}

    _op = "_muon_step"
    by_element = False
    _entries = ("momentum_buffer",)

    def _new_state(self, p, group: dict) -> dict:
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        return super()._new_state(p, group)

    def _update(self, group: dict, part: Part) -> None:
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        super()._update(group, part)
