"""Adam for sparse gradients."""

from __future__ import annotations

from jtorch.optim.fused import check_betas, check_lr, full_like
from jtorch.optim.optimizer import Optimizer
from jtorch.tape.modes import enable_grad, no_grad
from jtorch.tensor import dispatch


class SparseAdam(Optimizer):
    r"""Adam (:class:`Adam`) that touches only the rows that have a gradient, of dense parameters.

    Gradients are sparse tensors, as of ``nn.Embedding(sparse=True)``. The averages of other rows stay as they are, and
    do not decay; the step count is the parameter's, a number. A program is compiled for each number of entries.

    Raises:
        ValueError: ``lr`` or ``eps`` not positive, a beta outside [0, 1), sparse or complex parameters.
        RuntimeError: a gradient that is not sparse, at the step.
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ):
        check_lr(lr)
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [(p, [g, i]) for g, group in enumerate(self.param_groups) for i, p in enumerate(group["params"])]
        if sparse := [place for p, place in places if p.is_sparse]:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        if complexes := [place for p, place in places if p.is_complex()]:
            raise ValueError(f"Complex params at indices {complexes}: SparseAdam does not support complex parameters")

    @no_grad()
    def step(self, closure=None):
        """Update the parameters that have gradients. Returns what ``closure`` returned, if there is one."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not p.grad.is_sparse:
                    raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
                self._update(group, p)
        return loss

    def _update(self, group: dict, p) -> None:
        state = self.state[p]
        if not state:
            state.update({"step": 0, "exp_avg": full_like(p), "exp_avg_sq": full_like(p)})
        state["step"] += 1
        indices, values = p.grad._indices(), p.grad._values()
        if not values.numel():
            return
        new = dispatch.call(
            "_sparse_adam_step",
            p,
            state["exp_avg"],
            state["exp_avg_sq"],
            indices,
            values,
            state["step"],
            group["lr"],
            *group["betas"],
            group["eps"],
            maximize=group.get("maximize", False),
        )
        for target, value in zip((p, state["exp_avg"], state["exp_avg_sq"]), new, strict=True):
            target.copy_(value)
