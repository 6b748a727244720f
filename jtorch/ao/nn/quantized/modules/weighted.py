"""What quantized layers with a weight have in common: int8 weights, their scales, and the grid of the output.

In a state dict: ``int_weight`` (int8), ``weight_scale`` (float32; one, or one for each output channel), ``float_bias``,
and ``scale`` and ``zero_point`` of the output. What can be computed from these (sums of weights, their order in memory)
is made when they are set or loaded, and not saved.
"""

from __future__ import annotations

import jtorch
from jtorch import nn

from .... import qtypes
from ....qtensor import QuantizedTensor, quantize_per_channel, quantize_per_tensor
from ... import qat
from ...intrinsic import _FusedModule


def float_parts(mod: nn.Module):
    """Of a float layer, fused or not: the layer, its quantized weight, and its bias."""
    if isinstance(mod, qat._Rounded):  # its observer has seen the weights that the activations were trained with
        weight, bias = mod._folded()
        mod.weight_fake_quant(weight)  # which sees the folded weight as well, unless its observer is switched off
        return mod, quantize_weight(weight, mod.weight_fake_quant.activation_post_process, observe=False), bias
    layer = mod[0] if isinstance(mod, _FusedModule) else mod
    return layer, quantize_weight(layer.weight, mod.qconfig.weight()), layer.bias


def quantize_weight(weight, observer, observe: bool = True) -> QuantizedTensor:
    """``weight`` on the grid that ``observer`` chooses for it (``observe=False``: has chosen).

    Raises:
        NotImplementedError: the observer is not for symmetric qint8, which the integer products are made for.
    """
    if observer.dtype is not qtypes.qint8 or getattr(observer, "qscheme", None) not in qtypes.SYMMETRIC:
        raise NotImplementedError(
            f"Weight observer must have dtype torch.qint8 and a symmetric qscheme, got dtype {observer.dtype} and "
            f"qscheme {getattr(observer, 'qscheme', None)}"
        )
    weight = weight.detach().to(jtorch.float32)
    if observe:
        observer(weight)
    scale, zero_point = observer.calculate_qparams()
    if observer.qscheme in qtypes.PER_TENSOR:
        q = quantize_per_tensor(weight, scale.item(), zero_point.item(), qtypes.qint8)
    else:
        if observer.ch_axis != 0:
            raise NotImplementedError(f"weights are quantized along dimension 0, but ch_axis is {observer.ch_axis}")
        q = quantize_per_channel(weight, scale, zero_point, 0, qtypes.qint8)
    if observer.quant_min > -128 or observer.quant_max < 127:
        q._ints = q._ints.clamp(observer.quant_min, observer.quant_max)
    return q


class WithOutputGrid(nn.Module):
    """Base of modules whose output has a scale, a zero point and a dtype of its own."""

    def _set_grid(self, scale: float = 1.0, zero_point: int = 0, dtype: qtypes.qdtype = qtypes.quint8) -> None:
        self.dtype = dtype
        self.register_buffer("scale", jtorch.tensor(scale, dtype=jtorch.float32))
        self.register_buffer("zero_point", jtorch.tensor(zero_point, dtype=jtorch.int64))

    def _observed_grid(self, observer) -> None:
        """Take the grid a calibrated observer chose."""
        scale, zero_point = observer.calculate_qparams()
        self._set_grid(scale.item(), zero_point.item(), observer.dtype)

    def _grid_repr(self) -> str:
        return f"scale={self.scale.item()}, zero_point={self.zero_point.item()}"


class WeightedQuantizedModule(WithOutputGrid):
    """Base of the quantized layers with a weight."""

    def _allocate(self, shape: tuple[int, ...], bias: bool, per_channel: bool, outputs: int | None = None) -> None:
        channels = shape[0] if outputs is None else outputs
        self.register_buffer("int_weight", jtorch.zeros(shape, dtype=jtorch.int8))
        self.register_buffer("weight_scale", jtorch.ones((channels,) if per_channel else ()))
        self.register_buffer("float_bias", jtorch.zeros(channels) if bias else None)
        for derived in ("_rows", "_row_sum"):
            self.register_buffer(derived, None, persistent=False)
        self._derive()

    def _derive(self) -> None:
        """Make what the products need from the weight: a matrix ``(O, K)``, and the sums of its rows."""
        self._rows = self._matrix(self.int_weight)
        self._row_sum = self._rows.sum(1, dtype=jtorch.int32)

    def _matrix(self, weight):
        return weight

    def set_weight_bias(self, w: QuantizedTensor, b) -> None:
        """Take a quantized weight (symmetric qint8) and a float bias or None.

        Raises:
            ValueError: the weight is of another dtype or shape, or its zero point is not 0.
        """
        if not isinstance(w, QuantizedTensor) or w.dtype is not qtypes.qint8:
            raise ValueError(f"the weight must be a quantized tensor of torch.qint8, got {getattr(w, 'dtype', w)}")
        if w.shape != self.int_weight.shape:
            raise ValueError(f"the weight must be of size {list(self.int_weight.shape)}, got {list(w.shape)}")
        per_tensor = w._axis is None
        if (w.q_zero_point() != 0) if per_tensor else bool((w.q_per_channel_zero_points() != 0).any()):
            raise ValueError("the zero point of the weight must be 0; quantize it symmetrically")
        device = self.int_weight.device
        self.int_weight = w.int_repr().to(device)
        scale = jtorch.tensor(w.q_scale()) if per_tensor else w.q_per_channel_scales()
        self.weight_scale = scale.to(jtorch.float32).to(device)
        self.float_bias = None if b is None else b.detach().to(jtorch.float32).to(device)
        self._derive()

    def weight(self) -> QuantizedTensor:
        """The weight, quantized."""
        if self.weight_scale.dim() == 0:
            return QuantizedTensor(self.int_weight, self.weight_scale.item(), 0, qtypes.qint8)
        zeros = jtorch.zeros_like(self.weight_scale, dtype=jtorch.int64)
        return QuantizedTensor(self.int_weight, self.weight_scale.to(jtorch.float64), zeros, qtypes.qint8, 0)

    def bias(self):
        """The bias, float32, or None."""
        return self.float_bias

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Also takes PyTorch's form: the weight is a quantized tensor, in linear layers in a pair with the bias."""
        packed = prefix + "_packed_params._packed_params"
        if packed in state_dict:
            weight, bias = state_dict.pop(packed)
            state_dict.pop(prefix + "_packed_params.dtype", None)
        elif isinstance(state_dict.get(prefix + "weight"), QuantizedTensor):
            weight, bias = state_dict.pop(prefix + "weight"), state_dict.pop(prefix + "bias", None)
        else:
            weight = None
        if weight is not None:
            self.set_weight_bias(weight, bias)
            for name in ("int_weight", "weight_scale", "float_bias"):
                value = getattr(self, name)
                if value is not None:
                    state_dict[prefix + name] = value
        elif prefix + "weight_scale" in state_dict:  # one, or one for each output
            self.weight_scale = jtorch.zeros_like(state_dict[prefix + "weight_scale"], device=self.weight_scale.device)
        if "zero_point" not in self._buffers:  # of dynamic layers, which PyTorch writes 1 and 0
            for name in ("scale", "zero_point"):
                state_dict.pop(prefix + name, None)
        elif prefix + "scale" in state_dict:
            for name in ("scale", "zero_point"):
                state_dict[prefix + name] = jtorch.as_tensor(state_dict[prefix + name]).reshape(())
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._derive()
