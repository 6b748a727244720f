"""Padding modules, in one to three dimensions."""

from __future__ import annotations

from .. import functional as F
from .module import Module


class _Pad(Module):
    """Pads the last dimensions: ``padding`` is one number, or (low, high) for each, the last dimension first."""

    __constants__ = ["padding"]
    _n: int
    _mode: str

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * (2 * self._n) if isinstance(padding, int) else tuple(padding)

    def forward(self, input):
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(Module):
    __constants__ = ["padding", "value"]
    _n: int

    def __init__(self, padding, value: float):
        super().__init__()
        self.padding = (padding,) * (2 * self._n) if isinstance(padding, int) else tuple(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input):
        if input.dim() not in (self._n + 1, self._n + 2):
            raise ValueError(f"expected {self._n + 1}D or {self._n + 2}D input (got {input.dim()}D input)")
        return super().forward(input)


def _family(base: type, stem: str, what: str) -> list[type]:
    """The three classes of one kind of padding."""
    return [
        type(f"{stem}{n}d", (base,), {
            "_n": n, "__module__": __name__, "__qualname__": f"{stem}{n}d",
            "__doc__": f"Pads the last {n} dimension{'s' if n > 1 else ''} {what}: ``padding`` is one number, or (low, "
                       "high) for each, the last dimension first.",
        })
        for n in (1, 2, 3)
    ]  # fmt: skip


ConstantPad1d, ConstantPad2d, ConstantPad3d = _family(_ConstantPad, "ConstantPad", "with ``value``")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _family(_ZeroPad, "ZeroPad", "with zeros")
CircularPad1d, CircularPad2d, CircularPad3d = _family(_CircularPad, "CircularPad", "with the opposite end")


class _ReflectionPad(_Pad):
    _mode = "reflect"


class _ReplicationPad(_Pad):
    _mode = "replicate"


ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _family(_ReflectionPad, "ReflectionPad", "with its mirror image")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _family(
    _ReplicationPad, "ReplicationPad", "with copies of the edge"
)
