"""Batch normalisation."""

from __future__ import annotations

import jtorch

from .. import functional as F
from .normalization import _Affine


class _NormBase(_Affine):
    """Affine parameters and running statistics of ``num_features`` channels."""

    _version = 2
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device=None, dtype=None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        options = {"device": device, "dtype": dtype}
        self._make_affine(num_features, affine, bias, **options)
        if track_running_stats:
            self.register_buffer("running_mean", jtorch.zeros(num_features, **options))
            self.register_buffer("running_var", jtorch.ones(num_features, **options))
            self.register_buffer("num_batches_tracked", jtorch.tensor(0, dtype=jtorch.int64, device=device))
        else:
            self.register_buffer("running_mean", None)
            self.register_buffer("running_var", None)
            self.register_buffer("num_batches_tracked", None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the statistics seen so far."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set weight 1, bias 0, and forget the statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        version = local_metadata.get("version", None)
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            # files of version 1 did not count batches
            count = self.num_batches_tracked
            state_dict[key] = count if count is not None and not count.is_meta else jtorch.tensor(0, dtype=jtorch.int64)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class _BatchNorm(_NormBase):
    def forward(self, input):
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the plain average over all batches so far
                factor = self.num_batches_tracked.reciprocal()  # a tensor: nothing is read back
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        update = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if update else None,
            self.running_var if update else None,
            self.weight, self.bias, use_batch, factor, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / √(var + eps) · weight + bias`` per channel of ``(N, C)`` or ``(N, C, L)``.

    Statistics are the batch's in training, else the running ones: ``running ← (1 - momentum) running + momentum new``,
    with the unbiased variance.

    Args:
        momentum: None for the plain average over all batches.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics; without them the batch's are always used.
    """

    def _check_input_dim(self, input) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNorm2d(_BatchNorm):
    """:class:`BatchNorm1d` for ``(N, C, H, W)``."""

    def _check_input_dim(self, input) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")


class BatchNorm3d(_BatchNorm):
    """:class:`BatchNorm1d` for ``(N, C, D, H, W)``."""

    def _check_input_dim(self, input) -> None:
        if input.dim() != 5:
            raise ValueError(f"expected 5D input (got {input.dim()}D input)")


def __getattr__(name):
    if name == "SyncBatchNorm":  # PyTorch keeps it in this file
        from .sync_batchnorm import SyncBatchNorm

        return SyncBatchNorm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
