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
row("embedding bag, some empty", lambda nn: nn.EmbeddingBag(7, 3), I(5, high=7), np.array([0, 0, 2, 5, 5]))
row(
    "embedding bag, last offset",
    lambda nn: nn.EmbeddingBag(7, 3, mode="sum", include_last_offset=True),
    I(6, high=7),
    np.array([0, 1, 1, 6]),
)
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
row("adaptive avg pool 2d growing", lambda nn: nn.AdaptiveAvgPool2d((11, 2)), X(2, 3, 7, 5))
row("adaptive max pool 2d growing", lambda nn: nn.AdaptiveMaxPool2d((3, 8), return_indices=True), X(2, 3, 7, 5))
row("adaptive max pool 3d growing", lambda nn: nn.AdaptiveMaxPool3d((4, 2, 9), return_indices=True), X(2, 3, 3, 5, 4))
row("adaptive max pool 1d indices", lambda nn: nn.AdaptiveMaxPool1d(3, return_indices=True), X(2, 3, 8))
row("fractional max pool 2d", lambda nn: nn.FractionalMaxPool2d(2, output_size=(3, 2), return_indices=True),
    X(2, 3, 7, 5))  # fmt: skip
row("fractional max pool 3d", lambda nn: nn.FractionalMaxPool3d(2, output_ratio=0.5), X(1, 2, 6, 5, 4))
row("max unpool 1d", lambda nn: nn.MaxUnpool1d(2), X(1, 2, 2), np.array([[[0, 3], [1, 2]]]))
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


# --- functions beyond the layers -----------------------------------------------------------------------------------


def same(f, *, atol: float = 2e-5):
    """``f(lib, lib.nn.functional)`` must give the same numbers; gradients of what it returns are its own business."""
    outs = []
    for lib in (jtorch, torch):
        lib.manual_seed(7)
        outs.append([numbers(t) for t in flat(f(lib, lib.nn.functional))])
    for ours, theirs in zip(*outs, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-4)


def raises_same(f):
    """``f(lib, F)`` must raise the same type in both libraries, and nearly the same words."""
    found = []
    for lib in (jtorch, torch):
        with pytest.raises(Exception) as info:
            f(lib, lib.nn.functional)
        found.append(info.value)
    assert type(found[0]).__name__ == type(found[1]).__name__, found


@pytest.mark.parametrize(
    "name, args",
    [
        ("relu", ()), ("relu6", ()), ("leaky_relu", (0.3,)), ("elu", (0.5,)), ("selu", ()), ("celu", (0.5,)),
        ("silu", ()), ("mish", ()), ("hardtanh", (-0.5, 0.5)), ("hardswish", ()), ("hardsigmoid", ()),
        ("threshold", (0.1, 3.0)), ("dropout", (0.5, True)), ("alpha_dropout", (0.5, True)),
        ("rrelu", (0.1, 0.3, True)),
    ],
)  # fmt: skip
def test_in_place(name, args):
    def f(lib, F):
        x = lib.tensor(X(4, 5))
        y = getattr(F, name)(x, *args, inplace=True)
        assert y is x
        return x, getattr(F, name)(lib.tensor(X(4, 5)), *args)

    same(f)


@pytest.mark.parametrize("name", ["relu_", "elu_", "selu_", "celu_", "leaky_relu_", "hardtanh_", "rrelu_"])
def test_in_place_names(name):
    def f(lib, F):
        x = lib.tensor(X(4, 5))
        assert getattr(F, name)(x) is x
        return x

    same(f)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax_without_dim(name):
    for lib in (jtorch, torch):
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            getattr(lib.nn.functional, name)(lib.tensor(X(2, 3)))
    same(lambda lib, F: getattr(F, name)(lib.tensor(I(2, 3)), dim=0, dtype=lib.float64))


def test_gumbel_softmax():
    same(lambda lib, F: F.gumbel_softmax(lib.tensor(X(5, 4)), tau=0.7), atol=1e-4)
    same(lambda lib, F: F.gumbel_softmax(lib.tensor(X(5, 4)), hard=True))


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
def test_legacy_reduction():
    a, b = X(3, 4), X(3, 4, low=-1)
    same(lambda lib, F: F.mse_loss(lib.tensor(a), lib.tensor(b), False))
    same(lambda lib, F: F.mse_loss(lib.tensor(a), lib.tensor(b), reduce=False))
    same(lambda lib, F: F.nll_loss(lib.tensor(a), lib.tensor(I(3, high=4)), None, True, 1))
    same(lambda lib, F: lib.nn.L1Loss(size_average=False)(lib.tensor(a), lib.tensor(b)))
    for lib in (jtorch, torch):
        with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
            lib.nn.functional.l1_loss(lib.tensor(a), lib.tensor(b), size_average=False)


def test_reductions_by_number():
    for lib in (jtorch, torch):
        R = lib.nn._reduction
        assert [R.get_enum(word) for word in ("none", "mean", "sum")] == [0, 1, 2]
        with pytest.raises(ValueError, match="most is not a valid value for reduction"):
            R.get_enum("most")
        with pytest.warns(UserWarning, match="deprecated"):
            assert R.get_enum("elementwise_mean") == 1 and lib.nn.functional._Reduction is R
        assert R.legacy_get_string(False, None, emit_warning=False) == "sum"
        assert R.legacy_get_enum(None, False, emit_warning=False) == 0


def test_losses():
    x = X(3, 4)
    same(lambda lib, F: F.gaussian_nll_loss(lib.tensor(x), lib.tensor(X(3, 4, low=-1)), 0.3, full=True))
    with pytest.warns(UserWarning, match="batchmean"):
        jtorch.nn.functional.kl_div(jtorch.tensor(x), jtorch.tensor(P))
    logits = X(6, 2, 5)

    def ctc(lib, F):
        t = lib.tensor(logits, requires_grad=True)
        loss = F.ctc_loss(F.log_softmax(t, -1), lib.tensor([[1, 2, 2], [3, 4, 0]]), (6, 5), (3, 2))
        loss.backward()
        return loss, t.grad

    same(ctc)
    raises_same(lambda lib, F: F.triplet_margin_with_distance_loss(*[lib.tensor(x)] * 3, margin=-1.0))


def test_one_hot():
    same(lambda lib, F: F.one_hot(lib.tensor(I(2, 3))))
    same(lambda lib, F: F.one_hot(lib.tensor(I(3)), num_classes=9))
    raises_same(lambda lib, F: F.one_hot(lib.zeros(0, dtype=lib.int64)))
    raises_same(lambda lib, F: F.one_hot(lib.zeros(2)))


def test_normalize():
    same(lambda lib, F: F.normalize(lib.tensor(X(3, 4)), p=1, dim=0))
    same(lambda lib, F: F.normalize(lib.tensor(X(3, 4)), out=lib.empty(3, 4)))


def test_embedding_options():
    def renormed(lib, F):
        w = lib.tensor(X(5, 3))
        return F.embedding(lib.tensor([0, 3, 0]), w, max_norm=0.7, norm_type=1.0), w

    same(renormed)
    bags = (I(6), np.array([0, 2]), X(6))
    same(
        lambda lib, F: F.embedding_bag(
            lib.tensor(bags[0]), lib.tensor(X(5, 3)), lib.tensor(bags[1]), mode="sum",
            per_sample_weights=lib.tensor(bags[2]),
        )
    )  # fmt: skip
    with pytest.warns(UserWarning, match="order"):
        swapped = jtorch.nn.functional.embedding_bag(jtorch.eye(3), jtorch.tensor([0, 2]), jtorch.tensor([0]))
    assert swapped.tolist() == [[0.5, 0, 0.5]]
    with pytest.raises(RuntimeError, match="sparse"):
        weight = jtorch.zeros(2, 2, requires_grad=True)
        jtorch.nn.functional.embedding(jtorch.tensor([0]), weight, scale_grad_by_freq=True, sparse=True)
    raises_same(lambda lib, F: F.embedding(lib.tensor([7]), lib.zeros(2, 2)).sum().item())
    same(lambda lib, F: lib.nn.Embedding.from_pretrained(lib.tensor(X(4, 3)), padding_idx=1)(lib.tensor([1, 2])))


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_attention(p):
    q, k, v = X(2, 3, 4, 6), X(2, 3, 5, 6), X(2, 3, 5, 7)
    mask = I(4, 5, high=2).astype(bool)
    mask[:, 0] = True

    def f(lib, F, **options):
        return F.scaled_dot_product_attention(*map(lib.tensor, (q, k, v)), dropout_p=p, **options)

    same(f)
    same(lambda lib, F: f(lib, F, attn_mask=lib.tensor(mask)))
    same(lambda lib, F: f(lib, F, attn_mask=lib.tensor(X(3, 4, 5)), scale=0.3))
    same(lambda lib, F: f(lib, F, is_causal=True))
    raises_same(lambda lib, F: f(lib, F, is_causal=True, attn_mask=lib.tensor(mask)))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_masks(need_weights, batch_first):
    padding = np.array([[False, False, True], [False, True, True]])

    def f(lib, F, **options):
        lib.manual_seed(0)
        m = lib.nn.MultiheadAttention(8, 2, batch_first=batch_first)
        x = lib.tensor(X(2, 3, 8) if batch_first else X(3, 2, 8))
        options = {k: lib.tensor(o) if isinstance(o, np.ndarray) else o for k, o in options.items()}
        out, weights = m(x, x, x, need_weights=need_weights, **options)
        assert (weights is None) is not need_weights
        return out, weights

    same(lambda lib, F: f(lib, F, key_padding_mask=padding))
    causal = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    same(lambda lib, F: f(lib, F, attn_mask=causal, is_causal=True))
    same(lambda lib, F: f(lib, F, attn_mask=np.triu(np.ones((3, 3), bool), 1), average_attn_weights=False))
    added = np.where(padding, -9, 0).astype(np.float32)
    same(lambda lib, F: f(lib, F, attn_mask=np.stack([causal] * 4), key_padding_mask=added))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
def test_transformer_masks():
    def f(lib, F):
        lib.manual_seed(0)
        m = lib.nn.Transformer(8, 2, 2, 1, 16, dropout=0.0)
        mask = m.generate_square_subsequent_mask(4)
        padding = lib.tensor([[False, False, True], [False, False, False]])
        out = m(
            lib.tensor(X(3, 2, 8)), lib.tensor(X(4, 2, 8)), tgt_mask=mask, src_key_padding_mask=padding,
            memory_key_padding_mask=padding, tgt_is_causal=True,
        )  # fmt: skip
        return mask, out

    same(f, atol=1e-4)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("padding", ["end", "start"])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_padded_positions_of_an_encoder_in_evaluation(padding, grad, nested):
    def f(lib, F):
        lib.manual_seed(0)
        layer = lib.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        m = lib.nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).eval()
        mask = lib.tensor([[False, False, True], [False, False, False]])
        with lib.set_grad_enabled(grad):
            out = m(lib.tensor(X(2, 3, 8)), src_key_padding_mask=mask if padding == "end" else mask.flip(1))
        return out, (out == 0).all(-1)

    same(f, atol=1e-4)


@pytest.mark.parametrize(
    "options, why",
    [
        ({}, "batch_first"),
        ({"batch_first": True, "norm_first": True}, "norm_first"),
        ({"batch_first": True, "bias": False}, "bias=False"),
        ({"batch_first": True, "activation": "tanh"}, "activation_relu_or_gelu"),
        ({"batch_first": True, "nhead": 1}, "num_heads is odd"),
    ],
)
def test_an_encoder_says_why_it_computes_padded_positions(options, why):
    for lib in (jtorch, torch):
        o = {"nhead": 2, **options, **({"activation": lib.tanh} if "activation" in options else {})}
        with pytest.warns(UserWarning, match=f"use_nested_tensor is False because .*{why}"):
            m = lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(8, dim_feedforward=16, **o), 1)
        assert not m.use_nested_tensor


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lib, F: lib.nn.Dropout(1.5),
        lambda lib, F: F.dropout(lib.zeros(2), -0.1),
        lambda lib, F: lib.nn.Conv2d(3, 4, 3, groups=2),
        lambda lib, F: lib.nn.Conv2d(2, 4, 3, padding="same", stride=2),
        lambda lib, F: lib.nn.Conv2d(2, 4, 3, padding_mode="no"),
        lambda lib, F: lib.nn.GroupNorm(2, 5),
        lambda lib, F: lib.nn.BatchNorm1d(3)(lib.zeros(1, 3)),
        lambda lib, F: lib.nn.BatchNorm2d(3)(lib.zeros(2, 3)),
        lambda lib, F: lib.nn.Linear(3, 4)(lib.zeros(2, 5)),
        lambda lib, F: lib.nn.LSTM(3, 4)(lib.zeros(2, 2, 5)),
        lambda lib, F: lib.nn.LSTM(3, 4)(lib.zeros(2, 2, 2, 3)),
        lambda lib, F: lib.nn.GRU(3, 4)(lib.zeros(2, 2, 3), lib.zeros(1, 3, 4)),
        lambda lib, F: lib.nn.GRU(3, 4, proj_size=2),
        lambda lib, F: lib.nn.LSTM(3, 4, dropout=2.0),
        lambda lib, F: lib.nn.MultiheadAttention(7, 2),
        lambda lib, F: lib.nn.MultiheadAttention(0, 2),
        lambda lib, F: lib.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
        lambda lib, F: lib.nn.Embedding(3, 2, padding_idx=5),
        lambda lib, F: lib.nn.ConvTranspose2d(1, 1, 3, stride=2)(lib.zeros(1, 1, 3, 3), output_size=(20, 20)),
        lambda lib, F: lib.nn.TripletMarginLoss(margin=0),
        lambda lib, F: lib.nn.Softmax2d()(lib.zeros(2)),
        lambda lib, F: lib.nn.Hardtanh(2, 1),
        lambda lib, F: lib.nn.init.xavier_uniform_(lib.zeros(3)),
        lambda lib, F: lib.nn.init.eye_(lib.zeros(3)),
        lambda lib, F: lib.nn.init.calculate_gain("no"),
        lambda lib, F: lib.nn.init.kaiming_uniform_(lib.zeros(2, 2), mode="no"),
    ],
)
def test_wrong_arguments(wrong):
    raises_same(wrong)


# --- initial values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shape, options",
    [
        ("uniform_", (3, 4), {"a": -2.0, "b": 1.0}), ("normal_", (5, 7), {"mean": 1.0, "std": 0.1}),
        ("trunc_normal_", (6, 5), {"std": 0.5, "a": -0.4, "b": 0.6}), ("trunc_normal_", (40,), {"a": 1.5, "b": 2.0}),
        ("constant_", (2, 2), {"val": 3.0}), ("ones_", (2,), {}), ("zeros_", (2,), {}), ("eye_", (3, 4), {}),
        ("dirac_", (4, 3, 3), {}), ("dirac_", (6, 2, 3, 2), {"groups": 3}),
        ("xavier_uniform_", (4, 3, 2), {"gain": 2.0}), ("xavier_normal_", (4, 5), {}),
        ("kaiming_uniform_", (4, 5), {"a": 0.3}), ("kaiming_normal_", (4, 5, 3), {"mode": "fan_out"}),
        ("sparse_", (6, 4), {"sparsity": 0.4}),
    ],
)  # fmt: skip
def test_init(name, shape, options):
    for use_generator in (False, True):
        found = []
        for lib in (jtorch, torch):
            lib.manual_seed(3)
            if use_generator and name not in ("constant_", "ones_", "zeros_", "eye_", "dirac_"):
                options = {**options, "generator": lib.Generator().manual_seed(5)}
            t = lib.empty(shape, requires_grad=True)
            assert getattr(lib.nn.init, name)(t, **options) is t
            found.append(numbers(t))
        np.testing.assert_array_equal(*found)


def test_init_orthogonal():
    for shape in ((4, 6), (6, 4), (3, 2, 2)):
        found = []
        for lib in (jtorch, torch):
            lib.manual_seed(3)
            found.append(numbers(lib.nn.init.orthogonal_(lib.empty(shape), gain=2.0)))
        np.testing.assert_allclose(*found, atol=5e-6)


def test_init_warnings():
    with pytest.warns(UserWarning, match="zero-element"):
        jtorch.nn.init.kaiming_uniform_(jtorch.empty(0, 3))
    with pytest.warns(FutureWarning, match="deprecated"):
        jtorch.nn.init.xavier_uniform(jtorch.empty(2, 3))


# --- packed sequences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_packing(enforce_sorted, batch_first):
    lengths = [4, 2, 1] if enforce_sorted else [2, 4, 1]

    def f(lib, F):
        rnn = lib.nn.utils.rnn
        x = lib.tensor(X(3, 5, 2) if batch_first else X(5, 3, 2))
        packed = rnn.pack_padded_sequence(x, lib.tensor(lengths), batch_first, enforce_sorted)
        padded, back = rnn.pad_packed_sequence(packed, batch_first, padding_value=-1.0, total_length=6)
        return *packed, padded, back, *rnn.unpack_sequence(packed)

    same(f)


def test_padding():
    parts = [X(3, 2), X(1, 2), X(4, 2)]

    def f(lib, F):
        rnn = lib.nn.utils.rnn
        ts = [lib.tensor(p) for p in parts]
        return (
            rnn.pad_sequence(ts), rnn.pad_sequence(ts, True, 3.0), rnn.pad_sequence(ts, padding_side="left"),
            *rnn.pack_sequence(ts, enforce_sorted=False),
        )  # fmt: skip

    same(f)
    raises_same(lambda lib, F: lib.nn.utils.rnn.pad_sequence([]))
    raises_same(lambda lib, F: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(3, 2, 1), [1, 3]))
    raises_same(lambda lib, F: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(3, 2, 1), [3, 0]))


@pytest.mark.parametrize("kind, options", [
    ("RNN", {}), ("GRU", {"bidirectional": True, "num_layers": 2}),
    ("LSTM", {"bidirectional": True, "num_layers": 2, "dropout": 0.3}), ("LSTM", {"proj_size": 2}),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_packed_recurrence(kind, options):
    def f(lib, F):
        lib.manual_seed(0)
        layer = getattr(lib.nn, kind)(2, 4, **options)
        x = lib.tensor(X(5, 3, 2), requires_grad=True)
        packed = lib.nn.utils.rnn.pack_padded_sequence(x, [3, 5, 1], enforce_sorted=False)
        out, state = layer(packed)
        out, lengths = lib.nn.utils.rnn.pad_packed_sequence(out)
        (out.square().sum() + sum(s.sum() for s in flat(state))).backward()
        return out, lengths, *flat(state), x.grad, *(p.grad for p in layer.parameters())

    same(f)


def test_torch_names():
    """``torch.dropout`` and the like, whose arguments differ from ``nn.functional``'s."""
    names = jtorch.nn.torch_names.FUNCTIONS
    assert all(hasattr(torch, name) or hasattr(torch.ops.aten, name) for name in names)
    x, w = X(4, 3), X(5, 3)

    def f(lib, F):
        of = (lambda n: names[n]) if lib is jtorch else (lambda n: getattr(lib, n))
        t = lib.tensor(x)
        return (
            of("dropout")(t, 0.5, True), of("embedding")(lib.tensor(w), lib.tensor([1, 4])),
            of("batch_norm")(t, None, None, None, None, True, 0.1, 1e-5, False), of("feature_dropout")(t, 0.5, True),
            of("threshold")(t, 0.1, 2.0),
        )  # fmt: skip

    same(f)


def test_copies_of_layers_keep_an_activation_that_is_a_module_as_pytorchs_do():
    def f(lib, F):
        lib.manual_seed(0)
        options = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "dropout": 0.0, "batch_first": True}
        x = lib.tensor(X(2, 3, 8))
        encoder = lib.nn.TransformerEncoder(
            lib.nn.TransformerEncoderLayer(activation=lib.nn.SiLU(), **options), 2, enable_nested_tensor=False
        )
        decoder = lib.nn.TransformerDecoder(lib.nn.TransformerDecoderLayer(activation=lib.nn.SiLU(), **options), 2)
        return [encoder(x), decoder(x, x)]

    same(f)
