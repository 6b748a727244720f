"""Channels interleaved."""

from __future__ import annotations

from .. import functional as F
from .module import Module


class ChannelShuffle(Module):
    """The channels of ``groups`` interleaved."""

    __constants__ = ["groups"]

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
