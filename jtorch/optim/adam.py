"""Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

from jtorch.optim.fused import FusedOptimizer
from jtorch.optim.optimizer import is_tensor


class Adam(FusedOptimizer):
    r"""Adam (Kingma and Ba, 2015).

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        p \leftarrow p - \gamma \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    ``weight_decay`` :math:`\lambda` adds :math:`\lambda p` to ``g``, or with ``decoupled_weight_decay`` first shrinks
    ``p`` by :math:`1 - \gamma\lambda`. ``amsgrad`` divides by the largest ``v`` so far. ``maximize`` ascends.
    ``foreach``, ``fused`` and ``capturable`` are accepted and change nothing.

    Raises:
        ValueError: a negative option, a beta outside [0, 1), one beta a tensor and one a number, or ``lr`` or betas
            tensors with ``foreach`` and without ``capturable``, as in PyTorch.
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        if foreach and not capturable and is_tensor(lr):
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        if is_tensor(betas[0]) != is_tensor(betas[1]):
            raise ValueError("betas must be either both floats or both Tensors")
        if foreach and not capturable and is_tensor(betas[0]):
            raise ValueError("betas[0] as a Tensor is not supported for capturable=False and foreach=True")
        defaults = {
            "lr": lr,
            "betas": tuple(beta.item() if is_tensor(beta) else beta for beta in betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    _op = "_adam_step"
    _entries = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _not_negative = ("eps", "weight_decay")

    def _names(self, group: dict) -> tuple[str, ...]:
        return self._entries if group["amsgrad"] else self._entries[:2]
