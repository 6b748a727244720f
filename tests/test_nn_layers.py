"""Every layer against PyTorch: initial values for a seed, printed form, outputs, gradients and state afterwards."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import jtorch.nn

torch = pytest.importorskip("torch")

ROWS: dict[str, tuple] = {}


def row(name: str, make, *inputs, train: bool = True, atol: float = 2e-5, grads: bool = True):
    """A layer: ``make(nn)`` builds it from either library, ``inputs`` are NumPy arrays (or functions of a library)."""
    if name in ROWS:
        raise ValueError(f"{name} is in the table twice")
    ROWS[name] = (make, inputs, train, atol, grads)


def X(*shape, low=-2.0, high=2.0):
    rng = np.random.default_rng(zlib.crc32(repr((shape, low, high)).encode()))
    return rng.uniform(low, high, shape).astype(np.float32)


def I(*shape, high=5):  # noqa: E743 (indices)
    rng = np.random.default_rng(zlib.crc32(repr((shape, high)).encode()))
    return rng.integers(0, high, shape)


def signs(*shape):
    return (I(*shape, high=2) * 2 - 1).astype(np.float32)


# --- linear, convolution, embedding --------------------------------------------------------------------------------

row("linear", lambda nn: nn.Linear(3, 4), X(5, 3))
row("linear 3d without bias", lambda nn: nn.Linear(3, 4, bias=False), X(2, 5, 3))
row("bilinear", lambda nn: nn.Bilinear(3, 4, 2), X(5, 3), X(5, 4))
row("identity", lambda nn: nn.Identity(54, unused=1), X(2, 3))
row("conv1d", lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), X(2, 4, 9))
row("conv1d circular", lambda nn: nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), X(2, 2, 7))
row("conv2d", lambda nn: nn.Conv2d(2, 3, (3, 2), padding=(1, 0), dilation=(1, 2)), X(2, 2, 6, 7))
row("conv2d same reflect", lambda nn: nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), X(2, 2, 6, 5))
row("conv2d same even kernel", lambda nn: nn.Conv2d(2, 3, 2, padding="same"), X(2, 2, 4, 5))
row("conv2d unbatched", lambda nn: nn.Conv2d(2, 3, 3, bias=False), X(2, 6, 5))
row("conv3d replicate", lambda nn: nn.Conv3d(1, 2, 2, padding=1, padding_mode="replicate"), X(1, 1, 3, 4, 3))
row("conv transpose 1d", lambda nn: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, groups=2), X(2, 4, 5))
row("conv transpose 2d", lambda nn: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, bias=False), X(2, 2, 4, 3))
row("conv transpose 3d", lambda nn: nn.ConvTranspose3d(1, 2, 2, dilation=2), X(1, 1, 3, 2, 3))
row("embedding", lambda nn: nn.Embedding(7, 3, padding_idx=2), I(2, 5, high=7))
row("embedding negative padding", lambda nn: nn.Embedding(5, 2, padding_idx=-1, scale_grad_by_freq=True), I(6))
row("embedding max norm", lambda nn: nn.Embedding(5, 4, max_norm=1.0), I(4))
row("embedding bag", lambda nn: nn.EmbeddingBag(7, 3), I(9, high=7), np.array([0, 4, 4, 7]))
row("embedding bag sum", lambda nn: nn.EmbeddingBag(7, 3, mode="sum", padding_idx=1), I(3, 4, high=7))
row("embedding bag max", lambda nn: nn.EmbeddingBag(7, 3, mode="max"), I(3, 4, high=7))

# --- normalisation and dropout -------------------------------------------------------------------------------------

row("batch norm 1d", lambda nn: nn.BatchNorm1d(3), X(5, 3))
row("batch norm 1d of 3d", lambda nn: nn.BatchNorm1d(3, momentum=None), X(5, 3, 4))
row("batch norm 2d eval", lambda nn: nn.BatchNorm2d(3), X(2, 3, 4, 5), train=False)
row("batch norm 2d plain", lambda nn: nn.BatchNorm2d(3, affine=False, track_running_stats=False), X(2, 3, 4, 5))
row("batch norm 2d without bias", lambda nn: nn.BatchNorm2d(3, bias=False), X(2, 3, 4, 5))
row("batch norm 3d", lambda nn: nn.BatchNorm3d(2, eps=1e-3, momentum=0.3), X(2, 2, 3, 2, 3))
row("instance norm 1d", lambda nn: nn.InstanceNorm1d(3), X(2, 3, 6))
row("instance norm 2d stats", lambda nn: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), X(2, 3, 4, 5))
row(
    "instance norm 2d stats eval", lambda nn: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    X(2, 3, 4, 5), train=False,
)  # fmt: skip
row("instance norm 3d unbatched", lambda nn: nn.InstanceNorm3d(3), X(3, 2, 3, 4))
row("layer norm", lambda nn: nn.LayerNorm(6), X(2, 3, 6))
row("layer norm 2 dims", lambda nn: nn.LayerNorm([3, 6], bias=False), X(2, 3, 6))
row("layer norm plain", lambda nn: nn.LayerNorm(6, elementwise_affine=False), X(2, 6))
row("group norm", lambda nn: nn.GroupNorm(2, 6), X(2, 6, 3, 2))
row("group norm plain", lambda nn: nn.GroupNorm(3, 6, affine=False), X(2, 6, 3))
row("rms norm", lambda nn: nn.RMSNorm(6), X(2, 3, 6))
row("rms norm eps", lambda nn: nn.RMSNorm((3, 6), eps=1e-5, elementwise_affine=False), X(2, 3, 6))
row("local response norm", lambda nn: nn.LocalResponseNorm(3, alpha=0.1), X(2, 5, 4))
row("dropout", lambda nn: nn.Dropout(0.3), X(4, 5))
row("dropout eval", lambda nn: nn.Dropout(0.3), X(4, 5), train=False)
row("dropout everything", lambda nn: nn.Dropout(1.0), X(4, 5))
row("dropout1d", lambda nn: nn.Dropout1d(0.4), X(3, 4, 5))
row("dropout1d unbatched", lambda nn: nn.Dropout1d(0.4), X(4, 5))
row("dropout2d", lambda nn: nn.Dropout2d(0.4), X(3, 4, 2, 3))
row("dropout3d", lambda nn: nn.Dropout3d(0.4), X(3, 4, 2, 3, 1))
row("alpha dropout", lambda nn: nn.AlphaDropout(0.4), X(3, 4))
row("feature alpha dropout", lambda nn: nn.FeatureAlphaDropout(0.4), X(3, 4, 5))

# --- activations ---------------------------------------------------------------------------------------------------

for _name, _args in {
    "ReLU": (), "ReLU6": (), "SELU": (), "SiLU": (), "Mish": (), "Hardswish": (), "Hardsigmoid": (), "Hardtanh": (),
    "LeakyReLU": (0.2,), "ELU": (0.7,), "CELU": (1.3,), "Threshold": (0.3, 2.0), "Sigmoid": (), "Tanh": (),
    "LogSigmoid": (), "Softsign": (), "Tanhshrink": (), "Softplus": (2.0, 1.5), "Softshrink": (0.4,),
    "Hardshrink": (), "GELU": (), "GLU": (), "PReLU": (), "RReLU": (), "Softmax": (1,), "LogSoftmax": (-1,),
    "Softmin": (0,),
}.items():  # fmt: skip
    row(_name, lambda nn, n=_name, a=_args: getattr(nn, n)(*a), X(3, 6, low=-4, high=4))
row("GELU tanh", lambda nn: nn.GELU("tanh"), X(3, 6))
row("PReLU channels", lambda nn: nn.PReLU(4, init=0.1), X(2, 4, 3))
row("RReLU eval", lambda nn: nn.RReLU(0.1, 0.4), X(3, 6), train=False)
row("Softmax2d", lambda nn: nn.Softmax2d(), X(2, 3, 2, 2))
for _name in ("ReLU", "SiLU", "Hardtanh", "ELU", "LeakyReLU", "Dropout"):
    row(
        f"{_name} in place",
        lambda nn, n=_name: nn.Sequential(nn.Linear(6, 6), getattr(nn, n)(inplace=True)), X(3, 6),
    )  # fmt: skip

# --- pooling, padding, shapes --------------------------------------------------------------------------------------

row("max pool 1d", lambda nn: nn.MaxPool1d(3, stride=2, padding=1), X(2, 3, 8))
row("max pool 2d", lambda nn: nn.MaxPool2d(2), X(2, 3, 6, 5))
row("max pool 2d indices", lambda nn: nn.MaxPool2d((3, 2), stride=(2, 1), return_indices=True), X(2, 3, 6, 5))
row("max pool 2d ceil", lambda nn: nn.MaxPool2d(3, 2, ceil_mode=True), X(2, 3, 6, 6))
row("max pool 3d", lambda nn: nn.MaxPool3d(2), X(1, 2, 4, 4, 4))
row("avg pool 1d", lambda nn: nn.AvgPool1d(3, 2), X(2, 3, 8))
row("avg pool 2d", lambda nn: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), X(2, 3, 6, 5))
row("avg pool 3d", lambda nn: nn.AvgPool3d(2, divisor_override=3), X(1, 2, 4, 4, 4))
row("lp pool 1d", lambda nn: nn.LPPool1d(2, 3), X(2, 3, 8))
row("lp pool 2d", lambda nn: nn.LPPool2d(1.2, 2, stride=1), X(2, 3, 4, 5, low=0.1))
row("adaptive avg pool 1d", lambda nn: nn.AdaptiveAvgPool1d(3), X(2, 3, 8))
row("adaptive avg pool 2d", lambda nn: nn.AdaptiveAvgPool2d((3, None)), X(2, 3, 7, 5))
row("adaptive max pool 2d", lambda nn: nn.AdaptiveMaxPool2d((2, 3)), X(2, 3, 7, 5))
row("adaptive max pool 1d indices", lambda nn: nn.AdaptiveMaxPool1d(3, return_indices=True), X(2, 3, 8))
row("max unpool 2d", lambda nn: nn.MaxUnpool2d(2), X(1, 1, 2, 2), np.array([[[[0, 3], [9, 14]]]]))
for _n, _shape in ((1, (2, 2, 5)), (2, (2, 2, 4, 5)), (3, (1, 2, 3, 4, 5))):
    for _kind in ("Reflection", "Replication", "Circular", "Zero"):
        row(f"{_kind} pad {_n}d", lambda nn, k=_kind, n=_n: getattr(nn, f"{k}Pad{n}d")(1), X(*_shape))
row("constant pad 2d", lambda nn: nn.ConstantPad2d((1, 0, 2, -1), 3.5), X(2, 2, 4, 5))
row("flatten", lambda nn: nn.Flatten(), X(2, 3, 4))
row("unflatten", lambda nn: nn.Unflatten(1, (2, 3)), X(2, 6, 4))
row("unfold", lambda nn: nn.Unfold((2, 3), padding=1, stride=2), X(2, 2, 5, 6))
row("fold", lambda nn: nn.Fold((4, 5), (2, 2)), X(2, 8, 12))
row("pixel shuffle", lambda nn: nn.PixelShuffle(2), X(1, 8, 2, 3))
row("pixel unshuffle", lambda nn: nn.PixelUnshuffle(2), X(1, 2, 4, 6))
row("channel shuffle", lambda nn: nn.ChannelShuffle(2), X(1, 6, 2, 3))
row("upsample nearest", lambda nn: nn.Upsample(scale_factor=2), X(1, 2, 3, 4))
row("upsample bilinear", lambda nn: nn.Upsample(size=(5, 7), mode="bilinear"), X(1, 2, 3, 4))
row("upsampling bilinear 2d", lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), X(1, 2, 3, 4))
row("upsampling nearest 2d", lambda nn: nn.UpsamplingNearest2d(size=4), X(1, 2, 3, 4))
row("pairwise distance", lambda nn: nn.PairwiseDistance(p=1), X(3, 4), X(3, 4, low=-1))
row("cosine similarity", lambda nn: nn.CosineSimilarity(dim=-1), X(3, 4), X(3, 4, low=-1))

# --- losses --------------------------------------------------------------------------------------------------------

P = X(3, 4, low=0.05, high=0.95)
row("L1Loss", lambda nn: nn.L1Loss(), X(3, 4), X(3, 4, low=-1))
row("MSELoss", lambda nn: nn.MSELoss(reduction="sum"), X(3, 4), X(3, 4, low=-1))
row("SmoothL1Loss", lambda nn: nn.SmoothL1Loss(beta=0.5), X(3, 4), X(3, 4, low=-1))
row("HuberLoss", lambda nn: nn.HuberLoss(delta=0.7), X(3, 4), X(3, 4, low=-1))
row("NLLLoss", lambda nn: nn.NLLLoss(ignore_index=1), X(5, 4), I(5, high=4))
row("CrossEntropyLoss", lambda nn: nn.CrossEntropyLoss(label_smoothing=0.1), X(5, 4), I(5, high=4))
row("CrossEntropyLoss 2d", lambda nn: nn.CrossEntropyLoss(reduction="none"), X(2, 4, 3, 2), I(2, 3, 2, high=4))
row("CrossEntropyLoss of probabilities", lambda nn: nn.CrossEntropyLoss(), X(3, 4), P, grads=False)
row("BCELoss", lambda nn: nn.BCELoss(), P, I(3, 4, high=2).astype(np.float32), grads=False)
row("BCEWithLogitsLoss", lambda nn: nn.BCEWithLogitsLoss(), X(3, 4), P)
row("KLDivLoss", lambda nn: nn.KLDivLoss(reduction="batchmean"), X(3, 4, low=-4, high=-0.1), P)
row("PoissonNLLLoss", lambda nn: nn.PoissonNLLLoss(full=True), X(3, 4), X(3, 4, low=0.5, high=5))
row("GaussianNLLLoss", lambda nn: nn.GaussianNLLLoss(), X(3, 4), X(3, 4, low=-1), P)
row("HingeEmbeddingLoss", lambda nn: nn.HingeEmbeddingLoss(), X(3, 4), signs(3, 4), grads=False)
row("MarginRankingLoss", lambda nn: nn.MarginRankingLoss(0.5), X(4), X(4, low=-1), signs(4), grads=False)
row("CosineEmbeddingLoss", lambda nn: nn.CosineEmbeddingLoss(0.1), X(3, 4), X(3, 4, low=-1), signs(3), grads=False)
row("SoftMarginLoss", lambda nn: nn.SoftMarginLoss(), X(3, 4), signs(3, 4), grads=False)
row("MultiLabelMarginLoss", lambda nn: nn.MultiLabelMarginLoss(), X(2, 4), np.array([[3, 0, -1, 1], [1, -1, 0, 2]]))
row("MultiLabelSoftMarginLoss", lambda nn: nn.MultiLabelSoftMarginLoss(), X(3, 4), I(3, 4, high=2).astype(np.float32),
    grads=False)  # fmt: skip
row("MultiMarginLoss", lambda nn: nn.MultiMarginLoss(p=2), X(5, 4), I(5, high=4))
row("TripletMarginLoss", lambda nn: nn.TripletMarginLoss(swap=True), X(3, 4), X(3, 4, low=-1), X(3, 4, low=0))
row("TripletMarginWithDistanceLoss", lambda nn: nn.TripletMarginWithDistanceLoss(margin=2.0), X(3, 4),
    X(3, 4, low=-1), X(3, 4, low=0))  # fmt: skip

# --- recurrent -----------------------------------------------------------------------------------------------------

row("rnn", lambda nn: nn.RNN(3, 4), X(5, 2, 3))
row("rnn relu", lambda nn: nn.RNN(3, 4, 2, "relu", bias=False), X(5, 2, 3))
row("gru", lambda nn: nn.GRU(3, 4, 2, bidirectional=True), X(5, 2, 3))
row("gru batch first", lambda nn: nn.GRU(3, 4, batch_first=True), X(2, 5, 3), X(1, 2, 4))
row("lstm", lambda nn: nn.LSTM(3, 4), X(5, 2, 3))
row("lstm stack", lambda nn: nn.LSTM(3, 4, 2, dropout=0.4, bidirectional=True, batch_first=True), X(2, 5, 3))
row("lstm projection", lambda nn: nn.LSTM(3, 4, 2, proj_size=2), X(5, 2, 3))
row("lstm unbatched", lambda nn: nn.LSTM(3, 4), X(5, 3))
row("rnn cell", lambda nn: nn.RNNCell(3, 4, nonlinearity="relu"), X(2, 3))
row("lstm cell", lambda nn: nn.LSTMCell(3, 4), X(2, 3))
row("gru cell", lambda nn: nn.GRUCell(3, 4, bias=False), X(2, 3), X(2, 4))

# --- attention -----------------------------------------------------------------------------------------------------

row("mha", lambda nn: nn.MultiheadAttention(8, 2), X(3, 2, 8), X(4, 2, 8), X(4, 2, 8, low=-1))
row("mha dropout", lambda nn: nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True), *[X(2, 3, 8)] * 3)
row(
    "mha everything",
    lambda nn: nn.MultiheadAttention(8, 2, bias=True, add_bias_kv=True, add_zero_attn=True, kdim=5, vdim=6),
    X(3, 2, 8), X(4, 2, 5), X(4, 2, 6),
)  # fmt: skip
row("mha unbatched", lambda nn: nn.MultiheadAttention(8, 4, bias=False), *[X(3, 8)] * 3)
row("encoder layer", lambda nn: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2), X(3, 2, 8))
row(
    "encoder layer norm first",
    lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True, bias=False),
    X(2, 3, 8),
)  # fmt: skip
row("decoder layer", lambda nn: nn.TransformerDecoderLayer(8, 2, 16, dropout=0.2), X(3, 2, 8), X(4, 2, 8))
row(
    "transformer", lambda nn: nn.Transformer(8, 2, 1, 2, 16, batch_first=True, norm_first=True), X(2, 3, 8), X(2, 4, 8),
    atol=1e-4,
)  # fmt: skip


def flat(out):
    """Tensors of a nested result, in order."""
    if isinstance(out, (tuple, list)):
        return [t for o in out for t in flat(o)]
    return [] if out is None else [out]


def numbers(t):
    return t.detach().numpy()


def run(lib, make, inputs, train, grads):
    """Build a layer, call it and go backward: everything that must agree."""
    lib.manual_seed(1234)
    layer = make(lib.nn)
    layer.train(train)
    start = {k: numbers(v).copy() for k, v in layer.state_dict().items()}
    args = [lib.tensor(x) for x in inputs]
    if grads:
        for a in args:
            if a.is_floating_point():
                a.requires_grad_()
    lib.manual_seed(99)
    outs = flat(layer(*args))
    total = 0
    for i, out in enumerate(outs):
        if out.requires_grad:
            weights = lib.tensor(np.cos(np.arange(out.numel()) + i).astype(np.float32)).reshape(out.shape)
            total = total + (out * weights).sum()
    if not isinstance(total, int):
        total.backward()
    found = {f"out {i}": numbers(o) for i, o in enumerate(outs)}
    found |= {f"grad of input {i}": None if a.grad is None else numbers(a.grad) for i, a in enumerate(args)}
    found |= {f"grad of {n}": None if p.grad is None else numbers(p.grad) for n, p in layer.named_parameters()}
    found |= {f"{k} afterwards": numbers(v) for k, v in layer.state_dict().items()}
    return layer, start, found


@pytest.mark.filterwarnings("ignore:(Using padding='same' with even|LSTM with projections):UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("name", ROWS)
def test_layer(name):
    make, inputs, train, atol, grads = ROWS[name]
    theirs, their_start, their_run = run(torch, make, inputs, train, grads)
    ours, our_start, our_run = run(jtorch, make, inputs, train, grads)
    assert repr(ours) == repr(theirs)
    assert list(our_start) == list(their_start)
    for key, expected in their_start.items():
        assert our_start[key].dtype == expected.dtype and our_start[key].shape == expected.shape, key
        np.testing.assert_array_equal(our_start[key], expected, err_msg=key)
    assert list(our_run) == list(their_run)
    for key, expected in their_run.items():
        if expected is None:
            assert our_run[key] is None, key
            continue
        assert our_run[key].dtype == expected.dtype, key
        np.testing.assert_allclose(our_run[key], expected, atol=atol, rtol=2e-4, err_msg=f"{name}: {key}")
