"""Layers that round their weight while they are trained (``torch.ao.nn.qat`` and ``torch.ao.nn.intrinsic.qat``).

Their parameters are those of the float layer, so that an optimizer and a state dict see no difference; ``forward``
passes the weight through ``weight_fake_quant``. A layer fused with batch norm keeps it as its child ``bn``.
"""

from __future__ import annotations

import math

import jtorch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from .. import qtypes
from . import intrinsic as nni


class _Rounded:
    """Before a float layer class: its weight goes through ``weight_fake_quant``.

    Attributes:
        source: the float module that it is made from; for a fused one, its first child is the layer.
    """

    source: type
    _bn = _relu = False

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """The layer to train in the place of ``mod``, with its parameters themselves.

        Raises:
            AssertionError: ``mod`` is of another type, or has no ``qconfig``.
        """
        if type(mod) is not cls.source:
            raise AssertionError(f"qat.{cls.__name__}.from_float only works for {cls.source.__name__}")
        if not getattr(mod, "qconfig", None):
            raise AssertionError("Input float module must have a valid qconfig")
        layer = mod[0] if isinstance(mod, nni._FusedModule) else mod
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        kept = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
        new.__dict__.update({k: v for k, v in layer.__dict__.items() if k not in kept})
        new._parameters.update(layer._parameters)
        if cls._bn:
            new.bn = mod[1]
        new.qconfig = mod.qconfig
        new.weight_fake_quant = mod.qconfig.weight().to(layer.weight.device)
        cls._draw(layer)
        return new.train(mod.training)

    @classmethod
    def _draw(cls, layer) -> None:
        """Draw and discard the initial weights that PyTorch replaces by ``layer``'s: what follows draws the same."""
        weight, bias = layer.weight, layer.bias
        nn.init.kaiming_uniform_(jtorch.empty_like(weight), a=math.sqrt(5))
        bound = 1 / math.sqrt(weight[0].numel())
        biases = [] if bias is None else [lambda: nn.init.uniform_(jtorch.empty_like(bias), -bound, bound)]
        scales = [lambda: nn.init.uniform_(jtorch.empty(len(weight)))] if cls._bn else []
        for draw in (*biases, *scales) if isinstance(layer, nn.Linear) else (*scales, *biases):
            draw()

    def forward(self, input):
        y = self._with_bn(input) if self._bn else self._apply_weight(input, self.weight, self.bias)
        return F.relu(y) if self._relu else y

    def _apply_weight(self, input, weight, bias):
        weight = self.weight_fake_quant(weight)
        return F.linear(input, weight, bias) if isinstance(self, nn.Linear) else self._conv_forward(input, weight, bias)

    def _with_bn(self, input):
        """The weight is rounded as it will be with the running statistics folded in; batch norm sees its own input.

        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, section 3.2.2.
        """
        bn = self.bn
        factor = bn.weight / jtorch.sqrt(bn.running_var + bn.eps)
        rows = [-1] + [1] * (self.weight.dim() - 1)
        channels = [1, -1] + [1] * (self.weight.dim() - 2)
        y = self._apply_weight(input, self.weight * factor.reshape(rows), None) / factor.reshape(channels)
        return bn(y if self.bias is None else y + self.bias.reshape(channels))

    def _folded(self):
        """The weight and bias without batch norm, as they are now."""
        if not self._bn:
            return self.weight, self.bias
        fuse = fuse_conv_bn_weights if self.weight.dim() > 2 else fuse_linear_bn_weights
        bn = self.bn
        return fuse(self.weight, self.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)

    def freeze_bn_stats(self):
        """Let the statistics be."""
        self.bn.eval()
        return self

    def update_bn_stats(self):
        """Let the statistics follow the batches."""
        self.bn.train()
        return self

    def to_float(self) -> nn.Module:
        """The float layer (and ReLU) with the trained weights."""
        base = next(c for c in type(self).__mro__ if c.__module__.startswith("jtorch.nn."))
        layer = base.__new__(base)
        nn.Module.__init__(layer)
        kept = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "qconfig")
        layer.__dict__.update({k: v for k, v in self.__dict__.items() if k not in kept})
        with jtorch.no_grad():
            weight, bias = self._folded()
            layer.weight = nn.Parameter(weight.detach())
            layer.bias = None if bias is None else nn.Parameter(bias.detach())
        if not self._relu:
            return layer
        return (nni.LinearReLU if base is nn.Linear else getattr(nni, f"ConvReLU{base.__name__[4:]}"))(layer, nn.ReLU())


def _layer(name: str, base: type, source: type, bn: bool = False, relu: bool = False) -> type:
    doc = f"``{source.__name__}`` whose weight is rounded in the forward pass."
    members = {"source": source, "_bn": bn, "_relu": relu, "__doc__": doc, "__module__": __name__}
    return type(name, (_Rounded, base), members)


Linear = _layer("Linear", nn.Linear, nn.Linear)
Conv1d = _layer("Conv1d", nn.Conv1d, nn.Conv1d)
Conv2d = _layer("Conv2d", nn.Conv2d, nn.Conv2d)
Conv3d = _layer("Conv3d", nn.Conv3d, nn.Conv3d)
LinearReLU = _layer("LinearReLU", nn.Linear, nni.LinearReLU, relu=True)
LinearBn1d = _layer("LinearBn1d", nn.Linear, nni.LinearBn1d, bn=True)


def _convolutions(kind: str, **options) -> tuple[type, ...]:
    """The fused convolutions of a kind, in one to three dimensions."""
    names = [(f"{kind}{n}d", getattr(nn, f"Conv{n}d")) for n in (1, 2, 3)]
    return tuple(_layer(name, base, getattr(nni, name), **options) for name, base in names)


ConvReLU1d, ConvReLU2d, ConvReLU3d = _convolutions("ConvReLU", relu=True)
ConvBn1d, ConvBn2d, ConvBn3d = _convolutions("ConvBn", bn=True)
ConvBnReLU1d, ConvBnReLU2d, ConvBnReLU3d = _convolutions("ConvBnReLU", bn=True, relu=True)


class _Looked:
    """Before an embedding: its table goes through ``weight_fake_quant``, a row with a grid of its own each."""

    def _observe(self, qconfig) -> None:
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        if qconfig.weight().qscheme is not qtypes.per_channel_affine_float_qparams:
            raise AssertionError(
                "Embedding weights requires a qscheme of torch.per_channel_affine_float_qparams Got "
                f"{qconfig.weight().qscheme}"
            )
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """The embedding to train in the place of ``mod``, with its table itself.

        Raises:
            AssertionError: ``mod`` is of another type, or has no ``qconfig`` for embeddings.
        """
        if type(mod) is not cls.source:
            raise AssertionError(f" qat.{cls.__name__}.from_float only works for {cls.source.__name__}")
        if not getattr(mod, "qconfig", None):
            raise AssertionError("Input float module must have a valid qconfig")
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        kept = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
        new.__dict__.update({k: v for k, v in mod.__dict__.items() if k not in kept})
        new._parameters.update(mod._parameters)
        new._observe(mod.qconfig)
        return new.train(mod.training)

    def to_float(self) -> nn.Module:
        """The float embedding with the trained table."""
        new = self.source.__new__(self.source)
        nn.Module.__init__(new)
        kept = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "qconfig")
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k not in kept})
        new.weight = nn.Parameter(self.weight.detach())
        return new


class Embedding(_Looked, nn.Embedding):
    """``nn.Embedding`` whose table is rounded in the forward pass."""

    source = nn.Embedding

    def __init__(
        self, num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
        sparse=False, _weight=None, device=None, dtype=None, qconfig=None,
    ):  # fmt: skip
        nn.Embedding.__init__(
            self, num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._observe(qconfig)

    def forward(self, input):
        return F.embedding(
            input, self.weight_fake_quant(self.weight), self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip


class EmbeddingBag(_Looked, nn.EmbeddingBag):
    """``nn.EmbeddingBag`` whose table is rounded in the forward pass."""

    source = nn.EmbeddingBag

    def __init__(
        self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean",
        sparse=False, _weight=None, include_last_offset=False, padding_idx=None, qconfig=None, device=None, dtype=None,
    ):  # fmt: skip
        nn.EmbeddingBag.__init__(
            self, num_embeddings, embedding_dim, max_norm, norm_type, scale_grad_by_freq, mode, sparse, _weight,
            include_last_offset, padding_idx, device=device, dtype=dtype,
        )  # fmt: skip
        self._observe(qconfig)

    def forward(self, input, offsets=None, per_sample_weights=None):
        return F.embedding_bag(
            input, self.weight_fake_quant(self.weight), offsets, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.mode, self.sparse, per_sample_weights, self.include_last_offset,
            self.padding_idx,
        )  # fmt: skip


#: Float module type to the one to train in its place, for ``prepare_qat``.
MAPPING = {
    c.source: c
    for c in (
        Linear, Conv1d, Conv2d, Conv3d, LinearReLU, LinearBn1d, ConvReLU1d, ConvReLU2d, ConvReLU3d, ConvBn1d, ConvBn2d,
        ConvBn3d, ConvBnReLU1d, ConvBnReLU2d, ConvBnReLU3d,
    )
}  # fmt: skip


def update_bn_stats(mod: nn.Module) -> None:
    """For ``model.apply``: let the statistics of fused batch norms follow the batches."""
    if isinstance(mod, _Rounded) and mod._bn:
        mod.update_bn_stats()


def freeze_bn_stats(mod: nn.Module) -> None:
    """For ``model.apply``: let the statistics of fused batch norms be."""
    if isinstance(mod, _Rounded) and mod._bn:
        mod.freeze_bn_stats()
