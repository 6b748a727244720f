"""Where a model enters and leaves the quantized region."""

from __future__ import annotations

from jtorch import nn


class _Stub(nn.Module):
    def __init__(self, qconfig=None):
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x):
        return x


class QuantStub(_Stub):
    """The identity; ``prepare`` has it observe its input, and ``convert`` makes it quantize."""


class DeQuantStub(_Stub):
    """The identity; ``convert`` makes it dequantize."""


class QuantWrapper(nn.Module):
    """``module`` between a :class:`QuantStub` and a :class:`DeQuantStub`."""

    def __init__(self, module: nn.Module):
        super().__init__()
        qconfig = getattr(module, "qconfig", None)
        self.quant, self.dequant, self.module = QuantStub(qconfig), DeQuantStub(qconfig), module
        self.train(module.training)

    def forward(self, X):  # noqa: N803 (PyTorch's name)
        return self.dequant(self.module(self.quant(X)))
