"""Batch normalisation with the statistics of all ranks' batches."""

from __future__ import annotations

import jtorch

from .batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """:class:`BatchNorm1d` and its like for any number of dimensions, over the batches of all ranks together.

    In training each rank computes its count nᵣ, mean mᵣ and sum of squared deviations Sᵣ; with ``n = Σ nᵣ`` and
    ``m = Σ nᵣ mᵣ / n`` the variance is ``Σ (Sᵣ + nᵣ (mᵣ - m)²) / n``. Gradients flow through the exchange. Without a
    process group, or in evaluation, it is ordinary batch normalisation.

    Args:
        process_group: the ranks that take part (default: all).
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group=None, device=None, dtype=None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")
        if input.size(1) == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    def forward(self, input):
        dist = jtorch.distributed
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        if not (use_batch and dist.is_initialized() and dist.get_world_size(self.process_group) > 1):
            return super().forward(input)
        self._check_input_dim(input)
        factor = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if factor is None:
                factor = self.num_batches_tracked.reciprocal()
        mean, var, count = self._statistics(input, dist)
        if self.training and self.track_running_stats:
            with jtorch.no_grad():
                unbiased = var * (count / (count - 1))
                self.running_mean.mul_(1 - factor).add_(mean * factor)
                self.running_var.mul_(1 - factor).add_(unbiased * factor)
        shape = (1, -1) + (1,) * (input.dim() - 2)
        out = (input - mean.view(shape)) * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape)
            if self.bias is not None:
                out = out + self.bias.view(shape)
        return out.to(input.dtype)

    def _statistics(self, input, dist):
        """Mean, variance and number of elements of each channel over all ranks."""
        x = input.float() if input.dtype.itemsize < 4 else input
        dims = [d for d in range(x.dim()) if d != 1]
        n = x.numel() // x.size(1)
        if n:
            own = x.mean(dims)
            squares = (x - own.view((1, -1) + (1,) * (x.dim() - 2))).square().sum(dims)
        else:  # a rank may have no elements
            own = squares = x.sum(dims)
        packed = jtorch.stack([own, squares, jtorch.full_like(own.detach(), n)])
        means, squares, counts = jtorch.stack(dist.nn.functional.all_gather(packed, self.process_group)).unbind(1)
        counts = counts.detach()
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        var = (squares + counts * (means - mean).square()).sum(0) / count
        return mean, var, count

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """``module`` with every ``BatchNorm*d`` inside replaced by one over all ranks, which shares its parameters."""
        out = module
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
            out = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                process_group,
            )  # fmt: skip
            if module.affine:
                with jtorch.no_grad():
                    out.weight, out.bias = module.weight, module.bias
            out.running_mean, out.running_var = module.running_mean, module.running_var
            out.num_batches_tracked = module.num_batches_tracked
            out.training = module.training
        for name, child in module.named_children():
            out.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return out
