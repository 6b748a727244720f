"""What to quantize to: an observer for the outputs of a layer and one for its weight."""

from __future__ import annotations

from collections import namedtuple

import jtorch
from jtorch import nn

from .. import qtypes
from .fake_quantize import (
    FakeQuantize,
    FusedMovingAvgObsFakeQuantize,
    default_dynamic_fake_quant,
    default_embedding_fake_quant,
    default_embedding_fake_quant_4bit,
    default_fake_quant,
    default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant,
    default_fused_wt_fake_quant,
    default_per_channel_weight_fake_quant,
    default_weight_fake_quant,
    fused_per_channel_wt_fake_quant_range_neg_127_to_127,
    fused_wt_fake_quant_range_neg_127_to_127,
)
from .histogram import HistogramObserver
from .observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    NoopObserver,
    PlaceholderObserver,
    RecordingObserver,
    ReuseInputObserver,
    default_dynamic_quant_observer,
    default_float_qparams_observer,
    default_float_qparams_observer_4bit,
    default_observer,
    default_per_channel_weight_observer,
    default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127,
    weight_observer_range_neg_127_to_127,
)


class QConfig(namedtuple("QConfig", ["activation", "weight"])):
    """The observer classes for activations and weights (or what ``with_args`` made of them).

    Raises:
        ValueError: given an observer itself, which several layers would share.
    """

    __slots__ = ()

    def __new__(cls, activation, weight):
        if isinstance(activation, nn.Module) or isinstance(weight, nn.Module):
            raise ValueError(
                "QConfig received observer instance, please pass observer class instead. Use "
                "MyObserver.with_args(x=1) to override arguments to constructor if needed"
            )
        return super().__new__(cls, activation, weight)


default_qconfig = QConfig(default_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
default_quint8_weight_qconfig = QConfig(HistogramObserver, MinMaxObserver)
default_debug_qconfig = QConfig(weight=default_weight_observer, activation=RecordingObserver)
float16_dynamic_qconfig = QConfig(
    PlaceholderObserver.with_args(dtype=jtorch.float16, is_dynamic=True),
    PlaceholderObserver.with_args(dtype=jtorch.float16),
)
float16_static_qconfig = QConfig(*[PlaceholderObserver.with_args(dtype=jtorch.float16)] * 2)
float_qparams_weight_only_qconfig = QConfig(PlaceholderObserver, default_float_qparams_observer)
float_qparams_weight_only_qconfig_4bit = QConfig(PlaceholderObserver, default_float_qparams_observer_4bit)
default_reuse_input_qconfig = QConfig(ReuseInputObserver, NoopObserver)
_symmetric_activation = HistogramObserver.with_args(dtype=qtypes.qint8, reduce_range=False, eps=2**-12)
default_symmetric_qnnpack_qconfig = QConfig(_symmetric_activation, weight_observer_range_neg_127_to_127)
default_per_channel_symmetric_qnnpack_qconfig = QConfig(
    _symmetric_activation, per_channel_weight_observer_range_neg_127_to_127
)

default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)
default_qat_qconfig_v2 = QConfig(default_fused_act_fake_quant, default_fused_wt_fake_quant)
default_dynamic_qat_qconfig = QConfig(default_dynamic_fake_quant, default_weight_fake_quant)
default_weight_only_qconfig = QConfig(nn.Identity, default_weight_fake_quant)
default_activation_only_qconfig = QConfig(default_fake_quant, nn.Identity)
_no_activation = NoopObserver.with_args(dtype=jtorch.float32)
default_embedding_qat_qconfig = QConfig(_no_activation, default_embedding_fake_quant)
default_embedding_qat_qconfig_4bit = QConfig(_no_activation, default_embedding_fake_quant_4bit)
_symmetric_fake = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qtypes.qint8, reduce_range=False,
    eps=2**-12,
)  # fmt: skip
default_symmetric_qnnpack_qat_qconfig = QConfig(_symmetric_fake, fused_wt_fake_quant_range_neg_127_to_127)
default_per_channel_symmetric_qnnpack_qat_qconfig = QConfig(
    _symmetric_fake, fused_per_channel_wt_fake_quant_range_neg_127_to_127
)

_BACKENDS = {  # name: (leave one activation bit unused, weights)
    "fbgemm": (True, default_per_channel_weight_observer),
    "x86": (True, default_per_channel_weight_observer),
    "qnnpack": (False, default_weight_observer),
    "onednn": (False, default_per_channel_weight_observer),
}


def qconfig_equals(q1, q2) -> bool:
    """Whether two configurations have the same observers, with the same arguments."""
    return q1 == q2


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """PyTorch's configuration for static quantization on ``backend`` (the scales; the arithmetic is XLA's for all).

    Raises:
        AssertionError: an unknown backend or version.
    """
    if backend not in _BACKENDS:
        raise AssertionError(f"backend: {backend} not supported. backend must be one of {list(_BACKENDS)}")
    if version != 0:
        raise AssertionError(f"Version number: {version} in get_default_qconfig is not supported. It must be 0")
    reduce_range, weight = _BACKENDS[backend]
    return QConfig(HistogramObserver.with_args(reduce_range=reduce_range), weight)


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """PyTorch's configuration for quantization-aware training on ``backend``; see :func:`get_default_qconfig`.

    Raises:
        AssertionError: an unknown backend or version.
    """
    if backend not in _BACKENDS:
        raise AssertionError(f"backend: {backend} not supported. backend must be one of {list(_BACKENDS)}")
    if version not in (0, 1):
        raise AssertionError(f"Version number: {version} in get_default_qat_qconfig is not supported: 0 or 1 are")
    reduce_range = _BACKENDS[backend][0]
    make = FusedMovingAvgObsFakeQuantize if version else FakeQuantize
    activation = make.with_args(
        observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, reduce_range=reduce_range
    )
    weights = (
        (default_weight_fake_quant, default_per_channel_weight_fake_quant),
        (default_fused_wt_fake_quant, default_fused_per_channel_wt_fake_quant),
    )
    return QConfig(activation, weights[version][backend != "qnnpack"])
