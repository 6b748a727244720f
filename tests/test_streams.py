"""The random streams against PyTorch's CPU generator: every bit of the values, and of the state afterwards."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import threading
import warnings
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from jtorch.streams import DEFAULT_SEED, HostStream, box_muller, capability, exact, layout, permutation, samplers

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(t) for t in ("float32", "float64", "float16")] + [BF16]
INTS = [np.dtype(t) for t in ("int64", "int32", "int16", "int8", "uint8")]
SIZES = [0, 1, 2, 7, 15, 16, 17, 31, 100, 1000, 16384, 16385, 33000]


def of(torch, dtype):
    return getattr(torch, dtype.name)


def pair(torch, seed=1234, skip=0):
    """A PyTorch generator and a stream in the same state."""
    generator, stream = torch.Generator().manual_seed(seed), HostStream(seed)
    if skip:
        torch.empty(skip).uniform_(generator=generator)
        stream.words(skip)
    return generator, stream


def bits(torch, value):
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).tobytes()
    return value.contiguous().view(torch.uint8).numpy().tobytes() if value.numel() else b""


def check(torch, expected, got, generator=None, stream=None):
    assert of(torch, got.dtype) == expected.dtype
    assert tuple(expected.shape) == got.shape
    if expected.dim() == 0:
        expected, got = expected.reshape(1), got.reshape(1)
    if bits(torch, expected) != bits(torch, got):
        a, b = (v.astype(np.float64).reshape(-1) for v in (expected.double().numpy(), got))
        where = np.flatnonzero(a != b)
        pytest.fail(f"{where.size} of {a.size} values differ, first at {where[:1]}: {a[where[:1]]} != {b[where[:1]]}")
    if generator is not None:
        assert generator.get_state().numpy().tobytes() == stream.get_state().tobytes()


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, -1, 42, 2**32, 2**32 + 1, 2**63, 2**64 - 1, -(2**63), DEFAULT_SEED])
def test_seeds(torch, seed):
    generator, stream = pair(torch, seed)
    assert generator.initial_seed() == stream.initial_seed()
    check(torch, torch.empty(700).uniform_(generator=generator), samplers.uniform(stream, 700), generator, stream)


def test_new_generator_has_the_default_seed(torch):
    assert torch.Generator().get_state().numpy().tobytes() == HostStream().get_state().tobytes()


@pytest.mark.parametrize("skip", [1, 3, 623, 624, 625, 1248, 5000])
def test_state_round_trip(torch, skip):
    generator, stream = pair(torch, 7, skip)
    torch.empty(3).normal_(generator=generator)  # leaves a normal in the cache
    samplers.normal(stream, 3)
    state = generator.get_state()
    assert state.numpy().tobytes() == stream.get_state().tobytes()
    for copied in (stream.clone(), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream)), HostStream(0)):
        copied.set_state(state.numpy())
        fork = torch.Generator()
        fork.set_state(state)
        check(torch, torch.empty(9).normal_(generator=fork), samplers.normal(copied, 9), fork, copied)


def test_engine_errors(torch):
    cases = [
        lambda g: g.manual_seed(2**64),
        lambda g: g.manual_seed(-(2**63) - 1),
        lambda g: g.manual_seed(True),
        lambda g: g.manual_seed(1.5),
        lambda g: g.manual_seed("3"),
        lambda g: g.manual_seed(np.int64(3)),
        lambda g: g.get_offset(),
        lambda g: g.set_offset(1),
    ]
    states = [np.zeros(5055, np.uint8), np.zeros(5056, np.uint8), np.zeros(5056, np.float32)]
    for case in cases:
        with pytest.raises(Exception) as theirs:  # noqa: B017
            case(torch.Generator())
        with pytest.raises(theirs.type, match=str(theirs.value).split("\n")[0]):
            case(HostStream())
    for state in states:
        with pytest.raises(Exception) as theirs:  # noqa: B017
            torch.Generator().set_state(torch.from_numpy(state))
        with pytest.raises(theirs.type, match=str(theirs.value).split("\n")[0]):
            HostStream().set_state(state)


def test_seed_is_fresh():
    stream = HostStream()
    first, second = stream.seed(), stream.seed()
    assert first != second and stream.initial_seed() == second


def test_scalar_doubles_leave_the_engine_behind_the_last_one_used():
    for used in (0, 1, 15, 16, 17, 100):
        ahead, plain = HostStream(3), HostStream(3)
        with ahead.scalar_doubles(100) as draw:
            values = [draw() for _ in range(used)]
        assert values == plain.doubles(used).tolist()
        assert ahead.get_state().tobytes() == plain.get_state().tobytes()


def test_threads_share_a_stream_without_losing_draws():
    stream, results = HostStream(5), []
    threads = [
        threading.Thread(target=lambda: results.append(samplers.normal(stream, 20000).tobytes())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    serial = HostStream(5)
    assert sorted(results) == sorted(samplers.normal(serial, 20000).tobytes() for _ in range(4))


# --- floating samplers -----------------------------------------------------------------------------------------------

CONTINUOUS = {
    "uniform": [(), (-0.01, 0.01), (1.0, 2.0), (3.0, 3.5), (-1e4, 1e-3), (100.0, 100.001), (2.0, 2.0)],
    "normal": [(), (0.0, 0.02), (1.0, 2.0), (-1000.0, 0.5), (0.3, 1e-3), (5.0, 0.0)],
    "exponential": [(), (3.7,), (1e-3,)],
    "log_normal": [(), (0.0, 0.25), (-2.0, 3.0)],
    "geometric": [(0.5,), (0.01,), (0.999,)],
    "cauchy": [(), (3.0, 0.1)],
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(torch, name, dtype):
    for parameters in CONTINUOUS[name]:
        generator, stream = pair(torch, 99)
        for n in SIZES:  # one after another, so that the cached normal carries over
            expected = getattr(torch.empty(n, dtype=of(torch, dtype)), name + "_")(*parameters, generator=generator)
            check(torch, expected, getattr(samplers, name)(stream, n, *parameters, dtype=dtype), generator, stream)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("n", [0, 1, 5, 8, 9, 1000])
def test_complex(torch, dtype, n):
    generator, stream = pair(torch)
    for name, parameters in (("normal", ()), ("normal", (1.0, 3.0)), ("uniform", (-1.0, 2.0))):
        expected = getattr(torch.empty(n, dtype=getattr(torch, dtype)), name + "_")(*parameters, generator=generator)
        got = getattr(samplers, name)(stream, n, *parameters, dtype=dtype)
        check(torch, torch.view_as_real(expected), got.view(got.real.dtype).reshape(n, 2), generator, stream)


def test_the_cached_normal_survives_other_draws_but_not_a_seed(torch):
    generator, stream = pair(torch, 3)
    for call, mine in (
        (lambda g: torch.empty(3).normal_(generator=g), lambda s: samplers.normal(s, 3)),
        (lambda g: torch.rand(50, generator=g), lambda s: samplers.uniform(s, 50)),
        (lambda g: torch.randn(50, generator=g), lambda s: samplers.normal(s, 50)),
        (lambda g: torch.empty(4).log_normal_(generator=g), lambda s: samplers.log_normal(s, 4)),
        (lambda g: torch.empty(4).double().normal_(3, 5, generator=g),
         lambda s: samplers.normal(s, 4, 3, 5, dtype=np.float64)),
    ):  # fmt: skip
        check(torch, call(generator), mine(stream), generator, stream)
    assert stream.cached_normal is not None and stream.manual_seed(1).cached_normal is None


def test_many_normals(torch):
    """2**19 pairs, of the 2**24 inputs there are of the float32 kernel's log and sin/cos."""
    generator, stream = pair(torch, 11)
    check(torch, torch.randn(1 << 20, generator=generator), samplers.normal(stream, 1 << 20), generator, stream)


def test_uniform_extremes(torch):
    for a, b in ((-1.7e38, 1.7e38), (0.0, 3e38), (1e-40, 1e-39), (-1e-30, 1e-30)):
        generator, stream = pair(torch)
        expected = torch.empty(2000).uniform_(a, b, generator=generator)
        check(torch, expected, samplers.uniform(stream, 2000, a, b), generator, stream)
    for a, b in ((-8e307, 8e307), (1e-305, 1e-300), (3.0, 3.0000001)):
        generator, stream = pair(torch)
        expected = torch.empty(200, dtype=torch.float64).uniform_(a, b, generator=generator)
        check(torch, expected, samplers.uniform(stream, 200, a, b, dtype=np.float64), generator, stream)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("mean, std, a, b", [(0, 0.02, -2, 2), (0, 1, -1, 1.5), (0.1, 1, 1, 2), (0, 1, -0.1, 0.3)])
def test_trunc_normal(torch, dtype, mean, std, a, b):
    generator, stream = pair(torch, 21)
    expected = torch.empty(37, 50, dtype=of(torch, dtype))
    torch.nn.init.trunc_normal_(expected, mean, std, a, b, generator=generator)
    got = samplers.trunc_normal(stream, (37, 50), mean, std, a, b, dtype=dtype)
    check(torch, expected, got, generator, stream)


# --- integers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*INTS, *FLOATS, np.dtype(bool)], ids=lambda d: d.name)
def test_random_over_the_whole_type(torch, dtype):
    generator, stream = pair(torch)
    for n in (0, 1, 1000, 20000):
        expected = torch.empty(n, dtype=of(torch, dtype)).random_(generator=generator)
        check(torch, expected, samplers.random_(stream, n, dtype=dtype), generator, stream)


RANGES = [
    (0, 1), (0, 2), (0, 10), (-5, 100), (0, 127), (0, 1000), (3, 2**28 + 2), (3, 2**28 + 3), (-(2**31), 2**31 - 1),
    (0, 2**40), (-(2**63), 2**63 - 1), (2**33, 2**33 + 5), (-(2**24), 2**24), (0, 65000), (0, 65505), (5, None),
    (0, None), (-(2**63), None),
]  # fmt: skip


@pytest.mark.parametrize(
    "dtype", [*INTS, *FLOATS, *(np.dtype(t) for t in ("bool", "uint16", "uint32", "uint64"))], ids=lambda d: d.name
)
@pytest.mark.filterwarnings("ignore:.*out of bounds")
def test_random_from_to(torch, dtype):
    for low, high in RANGES:
        for n in (5, 20000):
            generator, stream = pair(torch)
            try:
                expected = torch.empty(n, dtype=of(torch, dtype)).random_(low, high, generator=generator)
            except (RuntimeError, NotImplementedError) as error:
                with pytest.raises(type(error)) as mine:
                    samplers.random_from_to(stream, n, low, high, dtype=dtype)
                assert str(mine.value).startswith(str(error).split("\n")[0].split(", but got")[0])
            else:
                got = samplers.random_from_to(stream, n, low, high, dtype=dtype)
                check(torch, expected, got, generator, stream)


def test_randint_warns_where_a_float_skips_integers(torch):
    with pytest.warns(UserWarning, match="to - 1 is out of bounds"):
        samplers.randint(HostStream(), 4, 0, 2**25, dtype=np.float32)
    with pytest.raises(RuntimeError, match="random_ expects 'from' to be less than 'to', but got from=5 >= to=5"):
        samplers.randint(HostStream(), 4, 5, 5)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 399, 400, 401, 5000, 70000])
def test_randperm(torch, n):
    generator, stream = pair(torch, 8)
    check(torch, torch.randperm(n, generator=generator), samplers.randperm(stream, n), generator, stream)


def test_randperm_types(torch):
    for dtype in [*INTS, *FLOATS]:
        for n in (100, 300, 3000):
            generator, stream = pair(torch)
            try:
                expected = torch.randperm(n, dtype=of(torch, dtype), generator=generator)
            except RuntimeError as error:
                with pytest.raises(RuntimeError) as mine:
                    samplers.randperm(stream, n, dtype=dtype)
                assert str(mine.value) == str(error).split("\n")[0]
            else:
                check(torch, expected, samplers.randperm(stream, n, dtype=dtype), generator, stream)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000])
def test_shuffles_equal_their_loops(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        draws = rng.integers(0, np.arange(n, 0, -1))[: n - 1].astype(np.uint32)
        assert np.array_equal(permutation.swaps(draws, n), permutation._swap_loop(draws, n))
        draws = rng.integers(0, np.arange(1, n + 1))
        slots = np.empty(n, np.int64)
        for i, z in enumerate(draws):
            slots[i] = i
            slots[i] = slots[z]
            slots[z] = i
        assert np.array_equal(permutation.inside_out(draws), slots)


# --- coin flips and categories ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.3, 0.5, 0.9, 1 - 1e-16, 1.0])
def test_bernoulli(torch, p):
    for dtype in [*INTS, *FLOATS, np.dtype(bool)]:
        generator, stream = pair(torch)
        for n in (0, 3, 1000, 20000):
            expected = torch.empty(n, dtype=of(torch, dtype)).bernoulli_(p, generator=generator)
            got = samplers.bernoulli(stream, n, p, dtype=dtype)
            check(torch, expected, got, generator, stream)
    generator, stream = pair(torch)
    expected = torch.empty(5, 1001, dtype=torch.bool).bernoulli_(p, generator=generator)
    check(torch, expected, samplers.bernoulli_mask(stream, (5, 1001), p), generator, stream)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_bernoulli_with_tensor(torch, dtype):
    generator, stream = pair(torch)
    p = torch.rand(30, 70).to(of(torch, dtype))
    mine = p.float().numpy().astype(dtype) if dtype != np.float64 else p.numpy()
    check(torch, torch.bernoulli(p, generator=generator), samplers.bernoulli_tensor(stream, mine), generator, stream)
    x = torch.empty(70, 30, dtype=torch.int32).t()
    x.bernoulli_(p, generator=generator)
    got = samplers.bernoulli_tensor(stream, mine, dtype=np.int32, strides=x.stride())
    check(torch, x, got, generator, stream)
    x = torch.empty(4, 70)
    x.bernoulli_(p[0], generator=generator)
    got = samplers.bernoulli_tensor(stream, mine[0], (4, 70), dtype=np.float32)
    check(torch, x, got, generator, stream)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_multinomial(torch, dtype):
    torch.manual_seed(0)
    for shape, k, replacement in (
        ((7,), 1, False), ((50,), 20, False), ((6, 90), 5, False), ((6, 90), 1, True), ((6, 90), 40, True),
        ((1000,), 3000, True), ((0, 3), 2, False),
    ):  # fmt: skip
        generator, stream = pair(torch)
        w = torch.rand(shape).to(of(torch, dtype))
        mine = w.numpy() if dtype == np.float64 else w.float().numpy().astype(dtype)
        expected = torch.multinomial(w, k, replacement, generator=generator)
        got = samplers.multinomial(stream, mine, k, replacement)
        if dtype in (np.float16, BF16) and not replacement and k > 1:  # ties: the order within one is not PyTorch's
            agree = [len(set(a) & set(b)) for a, b in zip(np.atleast_2d(expected), np.atleast_2d(got), strict=True)]
            assert sum(agree) >= 0.8 * got.size
            assert generator.get_state().numpy().tobytes() == stream.get_state().tobytes()
        else:
            check(torch, expected, got, generator, stream)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_poisson(torch, dtype):
    generator, stream = pair(torch)
    rates = torch.tensor([0.0, 0.1, 1.0, 5.0, 9.9, 10.0, 12.5, 100.0, 1000.0]).repeat(60).to(of(torch, dtype))
    mine = rates.numpy() if dtype == np.float64 else rates.float().numpy().astype(dtype)
    check(torch, torch.poisson(rates, generator=generator), samplers.poisson(stream, mine), generator, stream)


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=lambda d: d.name)
def test_gamma_and_dirichlet(torch, dtype):
    generator, stream = pair(torch)
    alpha = torch.tensor([0.0, 1e-3, 0.1, 0.9, 1.0, 1.5, 10.0, 300.0], dtype=of(torch, dtype)).repeat(50, 1)
    expected = torch._standard_gamma(alpha, generator=generator)
    check(torch, expected, samplers.standard_gamma(stream, alpha.numpy()), generator, stream)
    alpha = alpha[:, 2:].contiguous()
    expected = torch._sample_dirichlet(alpha, generator=generator)
    got = samplers.dirichlet(stream, alpha.numpy())
    if dtype == np.float64:  # the order of the sum over the categories is not PyTorch's
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-15)
        expected = torch.from_numpy(got)
    check(torch, expected, got, generator, stream)


def test_gumbel_and_rrelu(torch):
    torch.manual_seed(5)
    stream = HostStream(5)
    logits = torch.zeros(20, 30)
    expected = torch.nn.functional.gumbel_softmax(logits, hard=True).argmax(-1)
    assert np.array_equal(samplers.gumbel(stream, (20, 30)).argmax(-1), expected.numpy())
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(6)
        stream.manual_seed(6)
        slopes = samplers.rrelu_slopes(stream, 500, 0.125, 1 / 3, dtype=np.dtype(str(dtype)[6:]))
        expected = torch.rrelu(torch.full((500,), -1.0, dtype=dtype), 0.125, 1 / 3, True)
        check(torch, -expected, slopes, torch.default_generator, stream)


# --- memory order ----------------------------------------------------------------------------------------------------


def layouts(torch):
    yield torch.empty(5, 7).t()
    yield torch.empty(2, 3, 4, 5).permute(2, 0, 3, 1)
    yield torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    yield torch.empty(6, 10)[:, ::2]
    yield torch.empty(12, 4)[::3, 1:]
    yield torch.empty(4, 1, 6).transpose(0, 2)
    yield torch.empty(1, 40)
    yield torch.empty(40, 1).t()
    yield torch.empty(0, 4).t()
    yield torch.empty(30, 30)[3]
    yield torch.empty(30, 30)[:, 3]
    yield torch.empty(())


@pytest.mark.parametrize("name, parameters", [("uniform", (-1.0, 1.0)), ("normal", (0.5, 2.0)), ("bernoulli", (0.5,)),
                                              ("exponential", ()), ("log_normal", ()), ("random_", ()),
                                              ("random_from_to", (0, 50))])  # fmt: skip
def test_memory_order(torch, name, parameters):
    method = {"random_": "random_", "random_from_to": "random_"}.get(name, name + "_")
    for x in layouts(torch):
        generator, stream = pair(torch, 31)
        getattr(x, method)(*parameters, generator=generator)
        got = getattr(samplers, name)(stream, tuple(x.shape), *parameters, dtype=np.float32, strides=x.stride())
        check(torch, x, got, generator, stream)
        assert layout.is_contiguous(x.shape, x.stride()) == x.is_contiguous()


# --- the other builds ------------------------------------------------------------------------------------------------


def test_fused_multiply_add_is_rounded_once():
    rng = np.random.default_rng(0)
    a = rng.random(300)
    for b, c in ((1e-3, 3.0), (7.7, -2.5), (2.0**-30, 1.0), (1e300, -1e299), (1e-310, 1e-309)):
        expected = [exact._fma_fraction(v, b, c) for v in a.tolist()]
        assert exact.fma64(a, b, c).tolist() == expected
    a32 = rng.random(5000).astype(np.float32)
    b, c = float(np.float32(1e-3)), float(np.float32(3.1))
    got = exact.fma32(a32, b, c)
    for v, w in zip(a32.tolist()[:500], got[:500], strict=True):
        true = Fraction(v) * Fraction(b) + Fraction(c)
        below, above = np.nextafter(w, np.float32(0)), np.nextafter(w, np.float32(9))
        assert abs(Fraction(float(w)) - true) <= min(abs(Fraction(float(o)) - true) for o in (below, above))


def test_default_capability(torch, tmp_path, monkeypatch):
    """The build for x86 without AVX2, run in a process of its own."""
    script = (
        "import torch; torch.manual_seed(4)\n"
        "assert torch.backends.cpu.get_cpu_capability() == 'DEFAULT'\n"
        "torch.save([torch.randn(1000), torch.empty(1000).uniform_(-0.1, 0.3), torch.empty(9).normal_(1, 3).double(),\n"
        "            torch.randn(100).double().normal_(2, 3)], r'" + str(tmp_path / "values.pt") + "')\n"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    if "get_cpu_capability() == 'DEFAULT'" in done.stderr:
        pytest.skip("this PyTorch build has one capability only")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(capability, "capability", lambda: "default")
    stream = HostStream(4)
    values = torch.load(tmp_path / "values.pt")
    check(torch, values[0], samplers.normal(stream, 1000))
    check(torch, values[1], samplers.uniform(stream, 1000, -0.1, 0.3))
    check(torch, values[2].float(), samplers.normal(stream, 9, 1, 3))
    samplers.normal(stream, 100)
    check(torch, values[3], samplers.normal(stream, 100, 2, 3, dtype=np.float64))


# --- without PyTorch -------------------------------------------------------------------------------------------------


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def test_golden_values():
    """What PyTorch prints after ``manual_seed(0)``."""
    first = lambda f, *a, **k: f(HostStream(0), *a, **k)  # noqa: E731
    assert np.allclose(first(samplers.uniform, 3), [0.4963, 0.7682, 0.0885], atol=5e-5)
    assert np.allclose(first(samplers.normal, 3), [1.5410, -0.2934, -2.1788], atol=5e-5)
    assert np.allclose(first(samplers.normal, 16)[:3], [-1.1258, -1.1524, -0.2506], atol=5e-5)
    assert first(samplers.randint, 5, 0, 10).tolist() == [4, 9, 3, 0, 3]
    assert first(samplers.randperm, 10).tolist() == [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]


@pytest.mark.skipif(capability.capability() != "avx2", reason="the digests are of the AVX2 build's rounding")
def test_golden_digests():
    stream = HostStream(2**40 + 17)
    assert digest(samplers.uniform(stream, 1000, -0.3, 0.2)) == "d6987df93552829b"
    assert digest(samplers.normal(stream, 1007)) == "7ec26d88550bb326"
    assert digest(samplers.normal(stream, 13, 1, 2, dtype=BF16)) == "3c2892d976e96fc7"
    assert digest(samplers.bernoulli_mask(stream, 3000, 0.9)) == "136b45e73ae7df1d"
    assert digest(samplers.randperm(stream, 1000), samplers.random_(stream, 10)) == "d16bf3f0e5be1b5e"
    assert digest(samplers.exponential(stream, 500, 2.0)) == "2214bd3838f382a5"
    assert digest(stream.get_state()) == "dadf76ce531a2c9c"


def test_parameters_are_checked():
    stream = HostStream()
    for call, message in (
        (lambda: samplers.uniform(stream, 4, 2, 1), "found from=2 > to=1"),
        (lambda: samplers.uniform(stream, 4, 0, 1e39), "to is out of bounds for float"),
        (lambda: samplers.uniform(stream, 4, dtype=np.int64), "\"check_uniform_bounds\" not implemented for 'Long'"),
        (lambda: samplers.normal(stream, 4, 0, -1), "normal expects std >= 0.0, but found std -1"),
        (lambda: samplers.exponential(stream, 4, 0), "exponential_ expects lambda > 0.0, but found lambda=0"),
        (lambda: samplers.geometric(stream, 4, 1), r"geometric_ expects p to be in \(0, 1\), but got p=1"),
        (lambda: samplers.log_normal(stream, 4, 0, 0), "log_normal_ expects std > 0.0, but found std=0"),
        (lambda: samplers.cauchy(stream, 4, 0, 0), "cauchy_ expects sigma > 0.0, but found sigma=0"),
        (lambda: samplers.bernoulli(stream, 4, 1.5), r"bernoulli_ expects p to be in \[0, 1\], but got p=1.5"),
        (lambda: samplers.randperm(stream, -1), "negative dimension -1"),
        (lambda: samplers.multinomial(stream, np.ones(3, int), 1), "floating-point dtypes for input, got: Long"),
        (lambda: samplers.multinomial(stream, np.ones(3), 4), "cannot sample n_sample > prob_dist.size"),
        (lambda: samplers.multinomial(stream, np.zeros(3), 2), "sum of probabilities <= 0"),
        (lambda: samplers.multinomial(stream, np.array([1, np.nan]), 1), "contains either `inf`, `nan` or element < 0"),
        (lambda: samplers.poisson(stream, np.array([-1.0])), "expected rate to be non-negative"),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=message):
            call()
    fresh = HostStream()
    assert stream.get_state().tobytes() == fresh.get_state().tobytes()  # a refused call draws nothing


def test_capability_is_one_of_three(monkeypatch):
    assert capability.capability() in ("avx2", "default", "other")
    k = np.arange(32, dtype=np.int32) * 500_000
    quick = box_muller.box_muller(k)
    monkeypatch.setattr(capability, "capability", lambda: "default")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.allclose(quick, box_muller.box_muller(k), atol=3e-6)
