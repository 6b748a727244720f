"""Small programs run by NumPy give what XLA gives, primitive by primitive, and are compiled in the end."""

from __future__ import annotations

import functools
import itertools
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jtorch as torch
from jtorch import config, debug
from jtorch.trace import blas, host
from jtorch.trace.host import Code, Unsupported
from jtorch.trace.primitives import RULES

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, 1e9, -1e10, 3e38, np.inf, -np.inf, np.nan]
FLOATS = np.array(SPECIAL, np.float32)
SMALL = np.array([0.1, 0.9, -0.3, 0.7, 0.0, -0.9, 0.5, 0.2], np.float32)
INTS = np.array([0, 1, -1, 7, -7, 2**31 - 1, -(2**31), 31, 32, 33], np.int32)
BYTES = np.array([0, 1, 3, 7, 8, 9, 200, 255], np.uint8)
BOOLS = np.array([True, False, True, True])
COMPLEX = np.array([1 + 2j, -3j, 0.5, -1 - 1j], np.complex64)
TABLE = np.arange(24, dtype=np.float32).reshape(4, 6)
TIES = np.array([[3, 1, 3, 2, 1], [0, 0, 5, -1, 5]], np.float32)


def against_xla(function, *arrays, rtol=2e-6, atol=1e-6):
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(function)(*arrays)
        wanted = jax.tree.leaves(jax.jit(function)(*arrays))
    with np.errstate(all="ignore"):
        got = Code(closed)([np.asarray(a) for a in arrays])
    for g, w in zip(got, wanted, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert g.dtype == w.dtype and g.shape == w.shape
        if w.dtype.name == "bfloat16" or w.dtype == np.float16:
            np.testing.assert_allclose(g.astype(np.float32), w.astype(np.float32), rtol=1e-2, atol=1e-6)
        else:
            np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)


UNARY = [
    lax.exp, lax.exp2, lax.expm1, lax.log, lax.log1p, lax.sin, lax.cos, lax.tan, lax.tanh, lax.sinh, lax.cosh, lax.sqrt,
    lax.rsqrt, lax.cbrt, lax.abs, lax.neg, lax.sign, lax.floor, lax.ceil, lax.is_finite, lax.logistic, lax.square,
    lax.erf, lax.erfc, lax.lgamma, lax.asin, lax.acos, lax.atan, lax.asinh, lax.acosh, lax.atanh, lax.erf_inv,
    lambda x: lax.digamma(jnp.where(x == 0, 0.3, x)), lax.bessel_i0e, lax.bessel_i1e,
    lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    lambda x: lax.integer_pow(x, 3), lambda x: lax.integer_pow(x, -2),
]  # fmt: skip


@pytest.mark.parametrize("function", UNARY, ids=lambda f: f.__name__)
def test_functions_of_a_float(function):
    wild = function not in (lax.sin, lax.cos, lax.tan, lax.lgamma)  # of huge numbers XLA's own are no better
    against_xla(function, FLOATS if wild else FLOATS[:10], rtol=2e-5)
    against_xla(function, FLOATS[:10].astype(np.float64), rtol=1e-7)
    against_xla(function, FLOATS[2:10].astype(jnp.bfloat16))


@pytest.mark.parametrize(
    "function",
    [lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.max, lax.min, lax.pow, lax.atan2, lax.nextafter,
     lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_functions_of_two_floats(function):
    x, y = (a.ravel() for a in np.meshgrid(FLOATS, FLOATS))
    if function in (lax.pow, lax.rem):
        bounded = (np.abs(x) < 1e8) & (np.abs(y) < 1e8) & ((x != 0) | (y != 0))
        x, y = x[bounded], y[bounded]
    against_xla(function, x, y, rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [lax.add, lax.mul, lax.div, lax.rem, lax.max, lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic,
     lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor, lax.lt],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_functions_of_two_integers(function):
    for values in (INTS, BYTES, INTS.astype(np.int64)):
        x, y = (a.ravel() for a in np.meshgrid(values, values))
        against_xla(function, x, y)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "float64", "bfloat16"])
def test_conversions(dtype):
    with np.errstate(over="ignore"):
        half = FLOATS.astype(np.float16)
    for values in (FLOATS, FLOATS.astype(np.float64), INTS, BYTES, BOOLS, half):
        against_xla(lambda x: lax.convert_element_type(x, jnp.dtype(dtype)), values)
    against_xla(lambda x: lax.convert_element_type(x, np.complex64), FLOATS)


SHAPES = {
    "broadcast": lambda x: lax.broadcast_in_dim(x, (2, 4, 3, 6), (1, 3)),
    "transpose": lambda x: lax.transpose(x, (1, 0)),
    "rev": lambda x: lax.rev(x, (1,)),
    "concatenate": lambda x: lax.concatenate([x, x[:, :2]], 1),
    "pad": lambda x: lax.pad(x, np.float32(7), [(1, 2, 1), (0, 1, 2)]),
    "pad cuts": lambda x: lax.pad(x, np.float32(7), [(-1, 2, 0), (2, -3, 1)]),
    "pad cuts between": lambda x: lax.pad(x, np.float32(7), [(-1, -2, 2), (-5, 1, 1)]),
    "slice": lambda x: lax.slice(x, (1, 0), (4, 5), (2, 3)),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (np.int32(3), np.int32(-2)), (2, 3)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, x[:2, :2] + 100, (np.int32(3), np.int32(1))),
    "iota": lambda x: x + lax.broadcasted_iota(np.float32, (4, 6), 1),
    "squeeze": lambda x: lax.squeeze(lax.expand_dims(x, (1,)), (1,)),
    "split": lambda x: lax.split(x, (1, 3, 2), 1),
    "sum": lambda x: (x.sum(0), x.max(1), x.min(), x.prod(1), (x > 3).all(1), (x > 3).any()),
    "of nothing": lambda x: (x[:0].sum(0), jnp.max(x[:0], 0, initial=-jnp.inf), (x[:0] > 1).all(0)),
    "arg": lambda x: (jnp.argmax(x % 5, 1), lax.argmin(x % 5, 0, np.int32)),
    "cumulative": lambda x: (
        lax.cumsum(x, 1),
        lax.cumprod(x, 0),
        lax.cummax(x, 1, reverse=True),
        lax.cummin(-x, 0),
        lax.cumlogsumexp(x, 1),
    ),
    "product": lambda x: (x @ x.T, jnp.einsum("ij,ik->kj", x, x), lax.dot_general(x, x, (([], []), ([0], [0])))),
    "half product": lambda x: lax.dot_general(
        x.astype(jnp.bfloat16), x.astype(jnp.bfloat16), (([1], [1]), ([], [])), preferred_element_type=np.float32
    ),
    "bits": lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, np.int32) + 1, np.float32),
    "where": lambda x: (jnp.where(x > 3, x, -x), lax.clamp(np.float32(2), x, np.float32(9))),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_reductions(name):
    against_xla(SHAPES[name], TABLE)


def test_complex():
    against_xla(lambda x: (x * x, x / (x + 1), jnp.exp(x), x.real, x.imag, jnp.conj(x), jnp.abs(x)), COMPLEX)
    against_xla(lambda x: lax.complex(x, x + 1), SMALL)


def test_order():
    against_xla(lambda x: lax.sort(x, dimension=1), TIES)
    against_xla(lambda x: lax.sort((x, lax.broadcasted_iota(np.int32, (2, 5), 1)), dimension=1, num_keys=1), TIES)
    against_xla(lambda x: lax.sort((x % 2, x), dimension=0, num_keys=2), TIES)
    against_xla(lambda x: lax.top_k(x, 3), TIES)
    against_xla(lambda x: (lax.top_k(x, 4), lax.top_k(-x, 4)), np.array([1, np.nan, 0.0, -0.0, -3], np.float32))
    against_xla(lambda x: lax.sort(x), np.array([1, np.nan, -np.inf, 0.0, np.nan, -3], np.float32))


@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
def test_indices(mode):
    rows = np.array([[0, 3], [2, 1]])
    if mode != "promise_in_bounds":
        rows = np.array([[0, 3], [9, 1]])
    columns = np.array([5, 0])
    against_xla(lambda x, i: x.at[i].get(mode=mode, wrap_negative_indices=False), TABLE, rows)
    against_xla(lambda x, i, j: x.at[i, j].get(mode=mode), TABLE, rows, columns)
    against_xla(lambda x, i, j: x.at[i, 1:3].get(mode=mode), TABLE, rows, columns)
    against_xla(lambda x, i: jnp.take_along_axis(x, i, 1, mode=mode), TABLE, np.array([[0], [5], [2], [2]]))
    if mode == "promise_in_bounds":
        mode = "drop"
    for write in ("set", "add", "multiply", "min", "max"):
        against_xla(lambda x, i, w=write: getattr(x.at[i], w)(np.float32(5), mode=mode), TABLE, rows)
        against_xla(
            lambda x, i, j, w=write: getattr(x.at[i, j], w)(np.float32([7, 8]), mode=mode), TABLE, rows, columns
        )
        against_xla(lambda x, i, w=write: getattr(x.at[:, i], w)(TABLE[:, :2], mode=mode), TABLE, np.array([1, 1]))
    batched = np.array([[0], [1], [2], [1]])
    against_xla(lambda x, i: jax.vmap(lambda a, b: a[b])(x, i), TABLE, batched)
    against_xla(lambda x, i: jax.vmap(lambda a, b: a.at[b].add(1))(x, i), TABLE, batched)


IMAGE = np.random.default_rng(0).normal(size=(4, 6, 9, 8)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(6, 6, 3, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 3), "padding": [(1, 2), (0, 1)], "rhs_dilation": (2, 1)},
        {"window_strides": (1, 1), "padding": [(-1, 2), (3, -2)], "lhs_dilation": (2, 3)},
        {"window_strides": (2, 1), "padding": "VALID", "groups": 3},
        {"window_strides": (1, 1), "padding": "VALID", "batches": 2},
        {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("CNHW", "IOHW", "HWNC")},
    ],
    ids=str,
)
def test_convolutions(options):
    options = dict(options)
    groups, batches = options.pop("groups", 1), options.pop("batches", 1)

    def convolve(x, k):
        return lax.conv_general_dilated(x, k, feature_group_count=groups, batch_group_count=batches, **options)

    kernel = KERNEL[:, : 6 // groups]
    image = IMAGE.transpose(1, 0, 2, 3) if "dimension_numbers" in options else IMAGE
    against_xla(convolve, image, kernel, rtol=1e-4, atol=1e-4)
    against_xla(jax.grad(lambda x, k: convolve(x, k).sum(), (0, 1)), image, kernel, rtol=1e-4, atol=1e-4)


def test_windows():
    against_xla(lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 2), (1, 1, 2, 1), "SAME"), IMAGE, atol=1e-5)
    for start, which in ((-np.inf, lax.max), (np.inf, lax.min)):
        padding = [(0, 0), (0, 0), (1, 2), (0, 1)]
        against_xla(
            lambda x, s=start, w=which, p=padding: lax.reduce_window(
                x, np.float32(s), w, (1, 1, 3, 2), (1, 1, 2, 1), p, window_dilation=(1, 1, 2, 1)
            ),
            IMAGE,
        )


def test_control_flow():
    against_xla(lambda x: lax.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, x), TABLE)
    doubled = lambda x: lax.while_loop(lambda s: s.sum() < 1000, lambda s: s * 2, x)  # noqa: E731
    against_xla(doubled, TABLE)
    against_xla(jax.vmap(doubled), TABLE)  # a condition for each row
    for reverse in (False, True):
        against_xla(
            lambda x, r=reverse: lax.scan(lambda c, row: (c + row.sum(), c * row), np.float32(1), x, reverse=r), TABLE
        )


def test_derivatives_are_inlined():
    against_xla(jax.grad(lambda x: jnp.sum(jax.nn.softplus(x) * jax.nn.relu(x))), SMALL)


def test_what_numpy_does_otherwise_is_refused():
    for function, array in (
        (lambda x: x.sort(), COMPLEX),
        (lambda x: lax.reduce_precision(x, 5, 10), SMALL),
        (lambda x: lax.zeta(x, x), SMALL),
        (lambda x: x.astype(jnp.float8_e4m3fn), SMALL),
    ):
        with pytest.raises(Unsupported):
            against_xla(function, array)


def test_every_rule_is_a_primitive_of_jax():
    from jax.extend.core import primitives

    known = {p.name for p in vars(primitives).values() if hasattr(p, "name")}
    unlisted = {  # in no public module
        "layout_constraint", "lu_pivots_to_permutation", "optimization_barrier", "platform_index", "scatter-sub",
        "split", "stack", "tile",
    }  # fmt: skip
    assert set(RULES) - known <= unlisted and len(RULES) > 100


SQUARE = np.array([[[4, 1, 0], [1, 3, -1], [0, -1, 5]], [[2, 0.5, 0.1], [0.5, 1, 0.2], [0.1, 0.2, 3]]], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_linear_algebra(dtype):
    a, b = SQUARE.astype(dtype), SQUARE[:, :, :2].astype(dtype)
    if dtype == "complex64":
        a = a + 1j * np.triu(a, 1) - 1j * np.tril(a, -1)
    against_xla(jnp.linalg.cholesky, a, rtol=1e-5)
    against_xla(lambda a: jnp.linalg.eigh(a)[0], a, rtol=1e-5)
    against_xla(lambda a: jnp.abs(jnp.linalg.eigh(a)[1]), a, rtol=1e-4)
    against_xla(lambda a: jnp.linalg.svd(a, compute_uv=False), a, rtol=1e-5)
    against_xla(lambda a: [jnp.abs(x) for x in jnp.linalg.svd(a[:, :2], full_matrices=False)], a, rtol=1e-4)
    against_xla(jnp.linalg.solve, a, b, rtol=1e-5)
    against_xla(jnp.linalg.inv, a[0], rtol=1e-5)
    against_xla(jnp.linalg.det, a, rtol=1e-5)
    for mode, x in itertools.product(("reduced", "complete"), (a, a[:, :2], a[..., :2])):
        against_xla(functools.partial(jnp.linalg.qr, mode=mode), x, rtol=1e-4, atol=1e-5)
    for left, lower, transpose, conjugate, unit in itertools.product([True, False], repeat=5):
        solve = functools.partial(
            lax.linalg.triangular_solve, left_side=left, lower=lower, transpose_a=transpose, conjugate_a=conjugate,
            unit_diagonal=unit,
        )  # fmt: skip
        against_xla(solve, a, b if left else b.swapaxes(1, 2), rtol=1e-4)


def test_matrices_that_lapack_fails_at():
    against_xla(jnp.linalg.cholesky, np.stack([-SQUARE[0], SQUARE[1]]))
    against_xla(jnp.linalg.inv, np.stack([0 * SQUARE[0], SQUARE[1]])[1], rtol=1e-5)
    with pytest.raises(Unsupported):
        against_xla(lambda a: jnp.linalg.solve(a, a), 0 * SQUARE[0])


def test_fourier_transforms():
    x = np.random.default_rng(0).standard_normal((3, 4, 6)).astype(np.float32)
    for function in (jnp.fft.fft, jnp.fft.ifft2, jnp.fft.rfft, jnp.fft.rfft2, jnp.fft.irfft, jnp.fft.fftn):
        against_xla(function, x if function is not jnp.fft.irfft else x + 1j * x[::-1], rtol=1e-5, atol=1e-5)


def test_what_nobody_reads_is_left_out():
    closed = jax.make_jaxpr(lambda x: (lax.zeta(x, x), x + 1)[1])(1.0)
    code = Code(closed)
    assert code.length == 1 and code([np.float32(2)]) == [3]


# --- programs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def interpreting(monkeypatch):
    monkeypatch.setattr(config, "interpret", True)


def test_a_small_program_is_not_compiled(interpreting):
    before = debug.counters()
    for i in range(3, 9):
        x = torch.arange(i * 2.0, requires_grad=True).reshape(i, 2)
        assert (x * 2 + i).sum().item() == sum(2 * k + i for k in range(2 * i))
    after = debug.counters()
    assert after["compiles"] == before["compiles"] and after["interpreted"] - before["interpreted"] == 6


def test_bags_of_every_length_are_not_compiled(interpreting):
    before = debug.counters()
    bags = torch.nn.EmbeddingBag(9, 2)
    for length in range(5, 9):
        bags(torch.arange(length), torch.tensor([0, 2, 5])).sum().backward()
        assert bags.weight.grad.sum().item() == pytest.approx(4 + 6 * (length - 5))  # the last bag is empty at first
    assert debug.counters()["compiles"] == before["compiles"]


def test_it_is_compiled_sooner_the_larger_it_is(interpreting):
    def runs(program, times):
        before = debug.counters()
        results = [program().item() for _ in range(times)]
        after = debug.counters()
        assert all(abs(r - results[0]) < 1e-3 * abs(results[0]) for r in results)
        return after["interpreted"] - before["interpreted"], after["compiles"] - before["compiles"]

    assert runs(lambda: (torch.ones(3) * 7).sum(), 15) == (15, 0)
    times, compiled = runs(lambda: torch.softmax(torch.ones(500, 301), 1).sum(), 150)
    assert 60 <= times < 150 and compiled == 1
    assert runs(lambda: torch.softmax(torch.ones(800, 801), 1).mean(), 3) == (0, 1)
    # calls that one line has met at another shape
    assert runs(lambda: torch.softmax(torch.ones(800, 801), 1).sum(), 3) == (3, 0)


def test_a_captured_function_is_compiled_at_once(interpreting):
    step = torch.compile(lambda x: (x * 3).sum())
    before = debug.counters()
    assert [step(torch.ones(2)).item() for _ in range(4)] == [6] * 4
    after = debug.counters()
    assert after["compiles"] - before["compiles"] == 1 and after["interpreted"] == before["interpreted"]


@pytest.fixture
def steps(interpreting):
    """``steps(n)``: so many training steps from one line; ``(compiled, interpreted)``."""
    debug.clear_executables()
    p = torch.ones(5, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)

    def steps(n):
        before = debug.counters()
        for _ in range(n):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
        torch.sync()
        after = debug.counters()
        return tuple(after[key] - before[key] for key in ("compiles", "interpreted"))

    return steps


def test_a_small_training_step_is_compiled_when_that_has_paid(steps, monkeypatch):
    monkeypatch.setattr(host, "_COMPILING", 0)
    monkeypatch.setattr(host, "_PER_COMPILED", 20 * host._FUNCTION)
    monkeypatch.setattr(host, "_SMALL_STEP", 5)
    compiled, interpreted = steps(40)
    assert compiled == 1 and 5 < interpreted < 20
    assert steps(10) == (0, 0)


def test_a_training_step_that_is_not_small_is_compiled_at_once(steps, monkeypatch):
    monkeypatch.setattr(host, "_SMALL_STEP", 10**9)
    assert steps(3) == (1, 0)


def test_a_training_step_that_must_be_repeatable_is_compiled_at_once(steps):
    torch.use_deterministic_algorithms(True)
    try:
        assert steps(3) == (1, 0)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def train(interpreting, monkeypatch):
    """``train(n, ...)``: steps on batches of these sizes, from one line; ``(losses, compiled, interpreted)``.

    The model stands for one whose steps are too large to be interpreted hundreds of times.
    """
    monkeypatch.setattr(host, "_SMALL_STEP", 10**9)

    def train(*sizes):
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.MaxPool1d(2), torch.nn.Linear(2, 1))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.arange(p.numel()).reshape(p.shape) / 10)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        before, losses = debug.counters(), []
        for n in sizes:
            loss = (model(torch.arange(3.0 * n).reshape(n, 3) / n) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss)
        losses = [loss.item() for loss in losses]
        after = debug.counters()
        return losses, *(after[key] - before[key] for key in ("compiles", "interpreted"))

    debug.clear_executables()
    return train


def test_training_steps_of_many_shapes_are_interpreted(train, monkeypatch):
    sizes = (4, 5, 6, 7, 6, 5, 8)
    losses, compiled, interpreted = train(*sizes)
    assert (compiled, interpreted) == (1, 6)
    monkeypatch.setattr(config, "interpret", False)
    np.testing.assert_allclose(losses, train(*sizes)[0], rtol=1e-5)


def test_the_last_batch_of_each_epoch_is_interpreted(train):
    assert train(*(4, 4, 4, 3) * 5)[1:] == (1, 5)


def test_a_new_size_that_stays_is_compiled(train):
    assert train(4, 4, 9, 9, 9, 9)[1:] == (2, 1)


def test_indices_are_checked(interpreting):
    x = torch.zeros(7)
    with pytest.raises(IndexError, match="out of"):
        x[torch.tensor([3, 11])].tolist()
    x[torch.tensor([2])] = 4
    assert x.tolist() == [0, 0, 4, 0, 0, 0, 0]
    with pytest.raises(IndexError):
        x.index_put_((torch.tensor([19]),), torch.tensor(1.0))
        x.tolist()
    assert x.tolist() == [0, 0, 4, 0, 0, 0, 0]


def test_results_share_no_memory(interpreting):
    x = torch.arange(5.0)
    x.tolist()
    y = x.reshape(5, 1).reshape(5)
    z = y.clone()
    x.add_(1)
    assert z.tolist() == [0, 1, 2, 3, 4] and x.tolist() == [1, 2, 3, 4, 5]
    z.mul_(0)
    assert x.tolist() == [1, 2, 3, 4, 5]


def test_what_is_not_needed_any_more_is_let_go(interpreting):
    """The most memory is that of a few intermediate results, not of all."""
    x = torch.zeros(300, 100)
    x.sum().item()
    tracemalloc.start()
    y = x
    for i in range(50):
        y = (y + i).sin()
    before = debug.counters()["interpreted"]
    y.sum().item()
    assert debug.counters()["interpreted"] == before + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 4 * x.numel()


def test_its_compiled_form_can_be_looked_at(interpreting):
    (torch.ones(11) * 3).sum().item()
    assert "HloModule" in debug.last_trace().hlo()


@pytest.mark.skipif(blas._library() is None, reason="NumPy brings no OpenBLAS along")
def test_products_take_one_thread(interpreting, monkeypatch):
    """A thread to wait for may be kept from running by other programs; NumPy's own setting comes back."""
    get, put = blas._library()
    seen, inner, own = [], blas.one_thread.__enter__, get()
    monkeypatch.setattr(blas._OneThread, "__enter__", lambda self: (inner(), seen.append(get()))[0])
    put(2)
    try:
        (torch.ones(65, 64) @ torch.ones(64, 65)).sum().item()
        (torch.ones(8, 8) @ torch.ones(8, 8)).sum().item()  # not divided anyway
        assert seen == [1] and get() == 2
        with blas.one_thread, blas.one_thread:
            assert get() == 1
        assert get() == 2
    finally:
        put(own)
