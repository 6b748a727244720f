"""Tables with rows of 8- or 4-bit integers; each row has a scale and a zero point, which are floats."""

from __future__ import annotations

import jtorch
from jtorch import nn
from jtorch.nn import functional as F

from .... import qtypes
from ....qtensor import QuantizedTensor, pack, quantize_per_channel, unpack
from ... import qat


class Embedding(nn.Module):
    """``nn.Embedding`` of integers: what is looked up is float32.

    In a state dict: ``int_weight`` (uint8; two 4-bit integers a byte), ``weight_scale`` and ``weight_zero_point``.

    Raises:
        AssertionError: the weight is of another shape.
        NotImplementedError: a dtype other than ``quint8`` and ``quint4x2``.
    """

    _sources = (nn.Embedding, qat.Embedding)

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx=None, max_norm=None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, sparse: bool = False, _weight=None, dtype=qtypes.quint8,
    ):  # fmt: skip
        super().__init__()
        if dtype not in (qtypes.quint8, qtypes.quint4x2):
            raise NotImplementedError(
                f"Unsupported dtype on quantized embedding! Supports quint8 and quint4x2. Got dtype: {dtype}"
            )
        self.num_embeddings, self.embedding_dim, self.dtype = num_embeddings, embedding_dim, dtype
        if _weight is None:
            zeros = jtorch.zeros(num_embeddings, embedding_dim)
            grid = jtorch.ones(num_embeddings), jtorch.zeros(num_embeddings)
            _weight = quantize_per_channel(zeros, *grid, 0, dtype)
        elif list(_weight.shape) != [num_embeddings, embedding_dim]:
            raise AssertionError(
                "Shape of weight does not match num_embeddings and embedding_dim: expected "
                f"{[num_embeddings, embedding_dim]}, got {list(_weight.shape)}"
            )
        self.set_weight(_weight)

    def set_weight(self, w: QuantizedTensor) -> None:
        """Take a table of the layer's dtype whose zero points are floats.

        Raises:
            RuntimeError: it is of another scheme.
        """
        if w.qscheme() is not qtypes.per_channel_affine_float_qparams or w.q_per_channel_axis():
            raise RuntimeError(
                f"expected rows quantized as torch.per_channel_affine_float_qparams along axis 0, got {w.qscheme()}"
            )
        self.dtype = w.dtype
        scale, zero_point = w.q_per_channel_scales(), w.q_per_channel_zero_points()
        self.register_buffer("int_weight", pack(w._ints) if w.dtype.bits == 4 else w.int_repr())
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero_point", zero_point)

    def weight(self) -> QuantizedTensor:
        """The table, quantized."""
        ints = unpack(self.int_weight, self.embedding_dim) if self.dtype.bits == 4 else self.int_weight
        return QuantizedTensor(ints, self.weight_scale, self.weight_zero_point, self.dtype, 0)

    def forward(self, indices):
        ints, scale = self.int_weight[indices], self.weight_scale[indices]
        offset = -self.weight_zero_point[indices] * scale
        if self.dtype.bits == 4:  # PyTorch's kernel has its grids in half precision
            ints, scale, offset = unpack(ints, self.embedding_dim), scale.half().float(), offset.half().float()
        return ints.to(jtorch.float32) * scale.unsqueeze(-1) + offset.unsqueeze(-1)

    @classmethod
    def from_float(cls, mod: nn.Module, use_precomputed_fake_quant: bool = False):
        """What a float embedding becomes, by its ``qconfig`` or the fake quantization it was trained with.

        Raises:
            AssertionError: ``mod`` is of another type, or its ``qconfig`` is not for embeddings.
        """
        if type(mod) not in cls._sources:
            raise AssertionError(f"nnq.{cls.__name__}.from_float only works for {cls.__name__}")
        if isinstance(mod, qat._Looked):
            observer = mod.weight_fake_quant
        else:
            if not hasattr(mod, "qconfig"):
                raise AssertionError(f"{cls.__name__} input float module must have qconfig defined")
            from ....quantization.qconfig import float_qparams_weight_only_qconfig

            observer = (mod.qconfig or float_qparams_weight_only_qconfig).weight()
        if observer.qscheme is not qtypes.per_channel_affine_float_qparams:
            raise AssertionError(
                f"{cls.__name__} quantization is only supported with float_qparams_weight_only_qconfig."
            )
        weight = mod.weight.detach().to(jtorch.float32)
        observer(weight)
        q = quantize_per_channel(weight, *observer.calculate_qparams(), 0, observer.dtype)
        return cls._like(mod, q)

    @classmethod
    def _like(cls, mod, q: QuantizedTensor):
        return cls(mod.num_embeddings, mod.embedding_dim, _weight=q, dtype=q.dtype)

    @classmethod
    def from_reference(cls, ref_embedding):
        """What a reference layer becomes."""
        return cls._like(ref_embedding, ref_embedding.get_quantized_weight())

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Also takes PyTorch's form, a quantized tensor."""
        packed = prefix + "_packed_params._packed_weight"
        if packed in state_dict:
            self.set_weight(state_dict.pop(packed))
            state_dict.pop(prefix + "_packed_params.dtype", None)
            state_dict.update({prefix + name: value for name, value in self._buffers.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def extra_repr(self) -> str:
        return (
            f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}, dtype={self.dtype}, "
            f"qscheme={qtypes.per_channel_affine_float_qparams}"
        )


class EmbeddingBag(Embedding):
    """``nn.EmbeddingBag`` of integers. Bags are summed up whatever ``mode`` says, as by PyTorch's kernel."""

    _sources = (nn.EmbeddingBag, qat.EmbeddingBag)

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm=None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "sum", sparse: bool = False, _weight=None,
        include_last_offset: bool = False, dtype=qtypes.quint8,
    ):  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, _weight=_weight, dtype=dtype)
        self.mode, self.pruned_weights, self.include_last_offset = mode, False, include_last_offset

    def forward(self, indices, offsets=None, per_sample_weights=None, compressed_indices_mapping=None):
        if compressed_indices_mapping is not None:
            raise NotImplementedError("EmbeddingBag: tables with pruned rows are not implemented")
        rows = super().forward(indices).reshape(-1, self.embedding_dim)
        return F.embedding_bag(
            jtorch.arange(len(rows)).reshape(indices.shape), rows, offsets, mode="sum",
            per_sample_weights=per_sample_weights, include_last_offset=self.include_last_offset,
        )  # fmt: skip

    @classmethod
    def _like(cls, mod, q: QuantizedTensor):
        return cls(
            mod.num_embeddings, mod.embedding_dim, mod.max_norm, mod.norm_type, mod.scale_grad_by_freq, mod.mode,
            mod.sparse, q, mod.include_last_offset, q.dtype,
        )  # fmt: skip
