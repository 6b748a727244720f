"""Instance normalisation."""

from __future__ import annotations

import warnings

from .. import functional as F
from .batchnorm import _NormBase


class _InstanceNorm(_NormBase):
    _n: int

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device=None, dtype=None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input) -> None:
        n = self._n
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        version = local_metadata.get("version", None)
        if version is None and not self.track_running_stats:
            found = [prefix + n for n in ("running_mean", "running_var") if prefix + n in state_dict]
            if found:
                error_msgs.append(
                    f"Unexpected running stats buffer(s) {' and '.join(repr(k) for k in found)} for "
                    f"{type(self).__name__} with track_running_stats=False. If state_dict is a checkpoint saved before "
                    "0.4.0, this may be expected because the default of track_running_stats changed. Please remove "
                    f"these keys from state_dict. {' and '.join(repr(k) for k in found)}"
                )
                for key in found:
                    state_dict.pop(key)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _get_no_batch_dim(self) -> int:
        return self._n + 1

    def forward(self, input):
        self._check_input_dim(input)
        channel = input.dim() - self._n - 1
        if input.shape[channel] != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={channel} to match num_features ({self.num_features}), but got: "
                    f"{input.shape[channel]}."
                )
            warnings.warn(
                f"input's size at dim={channel} does not match num_features. You can silence this warning by not "
                "passing in num_features, which is not used because affine=False",
                stacklevel=2,
            )
        batch = input.unsqueeze(0) if channel == 0 else input
        out = F.instance_norm(
            batch, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out.squeeze(0) if channel == 0 else out


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample normalised by itself: ``(N, C, L)`` or ``(C, L)``. No affine map by default."""

    _n = 1


class InstanceNorm2d(_InstanceNorm):
    """:class:`InstanceNorm1d` for ``(N, C, H, W)`` or ``(C, H, W)``."""

    _n = 2


class InstanceNorm3d(_InstanceNorm):
    """:class:`InstanceNorm1d` for ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""

    _n = 3
