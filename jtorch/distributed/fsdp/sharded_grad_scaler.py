"""``ShardedGradScaler``: a ``GradScaler`` for fully sharded modules."""

from __future__ import annotations

from ...amp import GradScaler


class ShardedGradScaler(GradScaler):
    """:class:`jtorch.amp.GradScaler`, which looks at the whole of gradients that are cut over devices already.

    Args:
        process_group: None, or a group of one process.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, backoff_factor: float = 0.5,
        growth_factor: float = 2.0, growth_interval: int = 2000, enabled: bool = True, process_group=None,
    ):  # fmt: skip
        super().__init__(device, init_scale, growth_factor, backoff_factor, growth_interval, enabled)
