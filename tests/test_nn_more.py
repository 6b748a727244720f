"""Pruning, orthogonal weights, losses and products of special shapes, and packed sequences that do not recompile."""

import copy
import pickle
import warnings

import jax
import numpy as np
import pytest

import jtorch
from jtorch.nn.utils import parametrizations, prune
from jtorch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
)

from .both import check, check_raises


def X(*shape, dtype="float32"):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(dtype)


# --- pruning -------------------------------------------------------------------------------------------------------


def model(lib):
    lib.manual_seed(0)
    return lib.nn.Sequential(lib.nn.Linear(6, 5), lib.nn.Conv2d(3, 4, 3), lib.nn.Linear(5, 2))


def methods(lib):
    return __import__(f"{lib.__name__}.nn.utils.prune", fromlist=["x"])


def one_after_another(lib):
    m, p = model(lib), methods(lib)
    p.l1_unstructured(m[0], "weight", 0.3)
    p.random_unstructured(m[0], "weight", 4)
    p.ln_structured(m[0], "weight", 0.4, 2, 0)
    p.random_structured(m[0], "weight", 1, 1)
    p.identity(m[0], "bias")
    p.l1_unstructured(m[0], "bias", 1, importance_scores=lib.arange(5.0))
    p.random_structured(m[1], "weight", 0.5, -1)
    p.ln_structured(m[1], "weight", 1, float("inf"), 1)
    p.custom_from_mask(m[2], "bias", lib.tensor([1.0, 0]))
    return m


def together(lib):
    m, p = model(lib), methods(lib)
    p.l1_unstructured(m[0], "weight", 0.3)
    places = [(m[0], "weight"), (m[2], "weight"), (m[1], "weight")]
    p.global_unstructured(places, p.L1Unstructured, amount=0.4)
    p.global_unstructured(places[:2], p.RandomUnstructured, amount=0.2)
    return m


def made_permanent(lib):
    m, p = one_after_another(lib), methods(lib)
    assert p.is_pruned(m)
    for i, name in ((0, "weight"), (0, "bias"), (1, "weight"), (2, "bias")):
        p.remove(m[i], name)
    assert not p.is_pruned(m)
    return m


@pytest.mark.parametrize("pruned", [one_after_another, together, made_permanent])
def test_pruning_is_pytorchs(pruned):
    def program(lib):
        m = pruned(lib)
        x = lib.tensor(X(2, 6), requires_grad=True)
        m[0](x).sum().backward()
        grads = [p.grad for p in m[0].parameters()]
        return [list(m.state_dict()), list(m.state_dict().values()), m[0](x), x.grad, grads]

    check(program)


def test_amounts_to_prune():
    def program(lib):
        p = methods(lib)
        return [
            p._compute_nparams_toprune(0.2, 10), p._compute_nparams_toprune(3, 10),
            p._validate_pruning_amount_init(0.5), p._validate_pruning_amount(0.9, 1),
        ]  # fmt: skip

    check(program)
    with pytest.raises(ValueError, match="to prune=19"):
        prune._validate_pruning_amount(20, 19)


def test_a_pruning_method_of_ones_own():
    class EveryOther(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    m = jtorch.nn.Linear(4, 2)
    EveryOther.apply(m, "weight")
    EveryOther.apply(m, "weight")
    assert m.weight_mask.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert isinstance(next(iter(m._forward_pre_hooks.values())), prune.PruningContainer)
    assert EveryOther().prune(jtorch.ones(2, 2)).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    "do, error, words",
    [
        (lambda p, m: p.l1_unstructured(m, "weight", -1), ValueError, "non-negative integer"),
        (lambda p, m: p.l1_unstructured(m, "weight", 1.5), ValueError, "in the range [0, 1]"),
        (lambda p, m: p.l1_unstructured(m, "weight", "a"), TypeError, "Must be int or float"),
        (lambda p, m: p.l1_unstructured(m, "weight", 100), ValueError, "number of parameters to prune=30"),
        (lambda p, m: p.ln_structured(m, "bias", 1, 2, 0), ValueError, "multidimensional tensors"),
        (lambda p, m: p.ln_structured(m, "weight", 1, 2, 2), IndexError, "Invalid index 2"),
        (lambda p, m: p.custom_from_mask(m, "weight", m.bias), AssertionError, "must match"),
        (lambda p, m: p.l1_unstructured(m, "weight", 1, m.bias), AssertionError, "the same shape as parameter weight"),
        (lambda p, m: p.remove(m, "weight"), ValueError, "has to be pruned before pruning can be removed"),
        (lambda p, m: p.global_unstructured([(m, "weight")], p.LnStructured, amount=1, n=2), TypeError, "Only"),
    ],
)
def test_refused_pruning_changes_nothing(do, error, words):
    def program(lib):
        return do(methods(lib), model(lib)[0])

    check_raises(program, error, words)
    layer = model(jtorch)[0]
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    with pytest.raises(error):
        do(prune, layer)
    assert list(layer._parameters) == ["weight", "bias"] and not prune.is_pruned(layer)
    assert all((t == before[name]).all() for name, t in layer.state_dict().items())


# --- orthogonal weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trivialization", [True, False])
@pytest.mark.parametrize("kind", [None, "cayley", "householder"])
@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 3)])
def test_orthogonal_is_pytorchs(shape, kind, trivialization):
    def program(lib):
        lib.manual_seed(0)

        class Holder(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = lib.nn.Parameter(lib.tensor(X(*shape, dtype="float64")))

        m = Holder()
        lib.nn.utils.parametrizations.orthogonal(m, "weight", kind, use_trivialization=trivialization)
        weight = m.weight
        (weight * lib.tensor(X(*shape, dtype="float64"))).sum().backward()
        return [weight, list(m.state_dict()), list(m.state_dict().values()), [p.grad for p in m.parameters()]]

    check(program)


def test_an_orthogonal_weight_stays_so_in_training():
    layer = parametrizations.orthogonal(jtorch.nn.Linear(4, 4, bias=False))
    optimizer = jtorch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        layer(jtorch.tensor(X(5, 4))).square().sum().sin().backward()
        optimizer.step()
    np.testing.assert_allclose((layer.weight @ layer.weight.T).detach().numpy(), np.eye(4), atol=1e-5)
    with jtorch.no_grad():
        layer.weight = jtorch.eye(4)
    np.testing.assert_allclose(layer.weight.detach().numpy(), np.eye(4), atol=1e-6)
    for bad, words in ((jtorch.nn.Linear(3, 3), "orthogonal_map has to be one of"), (jtorch.nn.ReLU(), "no parameter")):
        with pytest.raises(ValueError, match=words):
            parametrizations.orthogonal(bad, orthogonal_map="qr")


# --- losses, products, small things --------------------------------------------------------------------------------


def test_chunked_cross_entropy_needs_less_memory():
    """The gradient's program holds no matrix of all logits."""
    from jtorch.ops.linear_cross_entropy import _linear_cross_entropy

    rows, features, classes = 512, 16, 1024
    shapes = [((rows, features), "float32"), ((classes, features), "float32"), ((rows,), "int32")]

    def memory(chunk):
        def loss(x, w, y):
            return _linear_cross_entropy(x, w, y, None, None, chunk=chunk)

        program = jax.jit(jax.grad(loss, (0, 1))).lower(*(jax.ShapeDtypeStruct(*s) for s in shapes)).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(rows) > rows * classes * 4
    assert memory(32) < rows * classes * 4 / 4


def test_linear_cross_entropy_options_refuse():
    make = jtorch.nn.LinearCrossEntropyOptions
    for options, words in (
        ({"acc_policy": "x"}, "invalid acc_policy: 'x'"),
        ({"chunking_method": "aspect_ratio:0"}, "invalid chunking_method"),
        ({"batch_chunk_size": 0}, "must be positive int or None, got 0"),
        ({"acc_dtype": jtorch.int32}, "acc_dtype must be one of"),
    ):
        with pytest.raises(ValueError, match=words):
            make(**options)
    x, w, y = jtorch.ones(8, 4), jtorch.ones(5, 4), jtorch.zeros(8, dtype=jtorch.int64)
    with pytest.raises(ValueError, match="give different chunk sizes"):
        options = make(batch_chunk_size=3, chunking_method="aspect_ratio")
        jtorch.nn.functional.linear_cross_entropy(x, w, y, options=options)
    with pytest.warns(UserWarning, match="``options`` ignored"):
        jtorch.nn.functional.linear_cross_entropy(x, w, y, options=make(), label_smoothing=0.1)
    with pytest.raises(IndexError, match="out of bounds"):
        jtorch.nn.functional.linear_cross_entropy(x, w, y + 5, options=make(batch_chunk_size=2)).item()


ENDS = np.array([4, 12, 16], np.int32)


@pytest.mark.parametrize(
    "a, b, ends",
    [((16, 16), (3, 16, 8), ENDS), ((8, 16), (16, 8), ENDS), ((3, 4, 16), (16, 16), ENDS),
     ((3, 4, 16), (3, 16, 8), None)],
    ids=["rows", "inner", "columns", "batch"],
)  # fmt: skip
def test_grouped_mm(a, b, ends):
    def program(lib):
        x, y = (lib.tensor(X(*s), requires_grad=True) for s in (a, b))
        out = lib.nn.functional.grouped_mm(x, y, offs=None if ends is None else lib.tensor(ends))
        (out * out).sum().backward()
        return [out, x.grad / 16, y.grad / 16]  # the gradients' sums have terms of this size

    check(program)


def test_grouped_mm_refuses():
    a, b, ends = jtorch.ones(4, 4), jtorch.ones(2, 4, 4), jtorch.tensor([2, 4], dtype=jtorch.int32)
    grouped = jtorch.nn.functional.grouped_mm
    for given, words in (
        ((a, b, None), "Have to provide offsets"),
        ((a, b, ends.long()), "Offsets have to be int32"),
        ((a, b, ends[:1]), "batch sizes have to match"),
        ((a[:, :3], b, ends), "contraction dimension"),
        ((a.double(), b.double(), ends), "BF16, FP16 or FP32"),
    ):
        with pytest.raises(RuntimeError, match=words):
            grouped(*given[:2], offs=given[2])


def test_scaled_mm():
    def program(lib):
        F = lib.nn.functional
        a = lib.tensor(X(32, 64)).to(lib.float8_e4m3fn)
        b = lib.tensor(X(16, 64)).to(lib.float8_e4m3fn).t()
        tensor, row = F.ScalingType.TensorWise, F.ScalingType.RowWise
        whole = F.scaled_mm(a, b, lib.tensor(2.0), tensor, lib.tensor(0.5), tensor, output_dtype=lib.float32)
        rows = lib.arange(32.0)[:, None], row, lib.arange(16.0)[None], row
        return [whole, F.scaled_mm(a, b, *rows, output_dtype=lib.bfloat16)]

    check(program)
    F = jtorch.nn.functional
    x, block = jtorch.ones(4, 4), F.ScalingType.BlockWise1x32
    with pytest.raises(NotImplementedError, match="use TensorWise or RowWise"):
        F.scaled_mm(x, x, jtorch.ones(1), block, jtorch.ones(1), block)


def test_conv_tbc():
    check(lambda lib: lib.conv_tbc(lib.tensor(X(7, 2, 3)), lib.tensor(X(3, 3, 4)), lib.tensor(X(4)), 1))


def test_factory_kwargs_and_container():
    check(lambda lib: lib.nn.factory_kwargs({"dtype": 1, "factory_kwargs": {"device": 2}}))
    check_raises(lambda lib: lib.nn.factory_kwargs({"size": 1}), TypeError, "unexpected kwargs {'size'}")
    twice = {"dtype": 1, "factory_kwargs": {"dtype": 2}}
    check_raises(lambda lib: lib.nn.factory_kwargs(twice), TypeError, "dtype specified twice")
    with pytest.warns(FutureWarning, match="nn.Container"):
        assert list(jtorch.nn.Container(a=jtorch.nn.ReLU())._modules) == ["a"]


def test_convert_conv_weight_memory_format():
    def program(lib):
        convert = lib.nn.utils.convert_conv2d_weight_memory_format
        m = convert(lib.nn.Sequential(lib.nn.Conv2d(2, 3, 2), lib.nn.Conv1d(2, 3, 2)), lib.channels_last)
        return [list(p.stride()) for p in m.parameters()]

    check(program)


def test_fractional_max_pool_checks_its_samples():
    with pytest.raises(RuntimeError, match=r"at least 2 rows \(the input's batch\) of size \(3, 2\)"):
        jtorch.nn.functional.fractional_max_pool2d(jtorch.ones(2, 3, 6, 6), 2, 3, _random_samples=jtorch.zeros(2, 3, 3))


# --- packed sequences ----------------------------------------------------------------------------------------------


def lengths_of(rng, longest=11):
    return np.concatenate([rng.integers(2, longest, 5), [longest]])


@pytest.mark.parametrize("kind", ["pack_sequence", "pack_padded", "padded"])
def test_sequences_of_any_lengths_are_one_program(kind):
    rng = np.random.default_rng(0)
    layer, head = jtorch.nn.GRU(3, 4, batch_first=True, bidirectional=True), jtorch.nn.Linear(8, 2)
    optimizer = jtorch.optim.Adam([*layer.parameters(), *head.parameters()])
    before = jtorch.debug.counters()["compiles"]
    for _ in range(8):
        lengths = lengths_of(rng)
        sequences = [jtorch.tensor(rng.normal(size=(n, 3)).astype("float32")) for n in lengths]
        optimizer.zero_grad()
        if kind == "pack_sequence":
            _, state = layer(pack_sequence(sequences, enforce_sorted=False))
            out = jtorch.cat([state[0], state[1]], -1)
        else:
            x = pad_sequence(sequences, batch_first=True)
            if kind == "pack_padded":
                packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
                x, n = pad_packed_sequence(layer(packed)[0], batch_first=True)
                out = x.sum(1) / n[:, None]
            else:
                inside = jtorch.arange(x.shape[1]) < jtorch.tensor(lengths)[:, None]
                out = (layer(x)[0] * inside[..., None]).sum(1)
        head(out).square().mean().backward()
        optimizer.step()
    assert jtorch.debug.counters()["compiles"] - before <= 2


def test_packed_sequences_are_pytorchs():
    lengths = [3, 7, 1, 5]

    def program(lib):
        utils = lib.nn.utils.rnn
        lib.manual_seed(0)
        layer = lib.nn.LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=True)
        x = X(9, 4, 3)
        for i, n in enumerate(lengths):
            x[n:, i] = np.nan  # what is outside must not matter
        x = lib.tensor(x, requires_grad=True)
        packed = utils.pack_padded_sequence(x, lengths, enforce_sorted=False)
        data, sizes, order, inverse = packed
        out, state = layer(packed)
        padded, n = utils.pad_packed_sequence(out, padding_value=-1.0, total_length=10)
        (lib.nan_to_num(padded).sum() + state[0].square().sum()).backward()
        again = utils.PackedSequence(packed.data * 2, packed.batch_sizes, order, inverse)
        sequences = utils.unpack_sequence(utils.pack_sequence([lib.tensor(X(n, 2)) for n in lengths], False))
        return [
            data, sizes, order, inverse, out.data, list(state), padded, n, x.grad[:7].isnan().any(),
            [p.grad for p in layer.parameters()], layer(again)[0].data.shape, sequences, packed[1], len(packed),
            packed._replace(data=data[:0]).data, packed.is_cuda, packed.to(lib.float64).data.dtype,
        ]  # fmt: skip

    check(program)


def test_packed_sequence_is_a_tuple_in_every_way():
    packed = pack_sequence([jtorch.tensor(X(n, 2)) for n in (3, 1)])
    assert isinstance(packed, tuple) and repr(packed).startswith("PackedSequence(data=tensor(")
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed)), PackedSequence(*packed)):
        assert type(other) is PackedSequence
        assert (other.data == packed.data).all() and (other[1] == packed.batch_sizes).all()
    assert [None if x is None else tuple(x.shape) for x in tuple(packed)] == [(4, 2), (3,), None, None]


def test_pack_refuses():
    for given, words in (
        (([jtorch.ones(1), jtorch.ones(2)],), "must be sorted in decreasing order"),
        (([jtorch.ones(1), jtorch.ones(0)],), "has to be greater than 0"),
        (([jtorch.ones(2, 1), jtorch.ones(1, 2)],), "sizes after the first must be equal"),
    ):
        with pytest.raises(RuntimeError, match=words):
            pack_sequence(*given)
    with pytest.raises(RuntimeError, match="at most the number of steps, 2, but the longest is 3"):
        pack_padded_sequence(jtorch.ones(2, 1, 1), [3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pad_sequence([jtorch.ones(2), jtorch.ones(1)], padding_side="left").tolist() == [[1, 0], [1, 1]]


def test_sizes_and_types_that_do_not_matter():
    check(lambda t: [
        t.nn.functional.nll_loss(-t.arange(3.0), t.tensor([1])),
        t.nn.functional.multi_margin_loss(t.arange(3.0), t.tensor([1]), reduction="none"),
        t.nn.BatchNorm2d(3)(t.zeros(0, 3, 2, 2, dtype=t.float64)),
        t.pdist(t.tensor([[float("nan"), 0.0], [2.0, 1.0], [float("inf"), 1.0]]), 0),
        [t.zeros(1, device="meta").type(), repr(t.nn.ParameterDict({"a": t.zeros(1, device="meta")}))],
        list(t.nn.utils.spectral_norm(t.nn.Linear(2, 2)).state_dict()._metadata.items()),
    ])  # fmt: skip


def test_warnings_of_layers():
    def said(t):
        F, grid = t.nn.functional, t.zeros(1, 2, 2, 2)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            F.grid_sample(t.zeros(1, 1, 2, 2), grid)
            F.affine_grid(t.zeros(1, 2, 3), (1, 1, 2, 2))
            F.affine_grid(t.zeros(1, 2, 3), (1, 1, 2, 1), align_corners=True)
            F.affine_grid(t.zeros(1, 2, 3), (1, 1, 2, 1), align_corners=False)
            t.nn.InstanceNorm1d(3)(t.zeros(4, 5))
        return [(w.category.__name__, str(w.message)) for w in found]

    check(said)
