"""Integers and bools: result dtypes and arithmetic are PyTorch's."""

from __future__ import annotations

import pytest

import jtorch

from .both import check, check_raises

torch = pytest.importorskip("torch")

INTEGERS = ("uint8", "int16")


def _both(run, dtype: str, *values):
    """``run(module, *tensors)`` in both libraries; a tuple of ``(dtype, values)``, or the exception's type."""
    found = []
    for module in (jtorch, torch):
        tensors = [module.tensor(v).to(getattr(module, dtype)) for v in values]
        try:
            out = run(module, *tensors)
        except Exception as error:  # noqa: BLE001 (the exception is the result)
            found.append(type(error).__name__)
        else:
            found.append((str(out.dtype).removeprefix("torch."), out.tolist()))
    return found


def _same(run, dtype: str, *values):
    ours, theirs = _both(run, dtype, *values)
    assert ours == theirs


V, W, M = [100, 3, 2], [7, 0, 100], [[100, 100, 1], [100, 100, 2]]
#: What promotes to int64, and what stays and wraps around.
CASES = {
    "vander": lambda t, v, w, m: t.vander(v, 3),
    "vander of one column": lambda t, v, w, m: t.vander(v, 1),
    "linalg.vander": lambda t, v, w, m: t.linalg.vander(v),
    "sum_to_size": lambda t, v, w, m: m.sum_to_size(2, 1),
    "sum_to_size of the same size": lambda t, v, w, m: m.sum_to_size(2, 3),
    "sum_to_size of one number": lambda t, v, w, m: v[0].sum_to_size(()),
    "masked.cumsum": lambda t, v, w, m: t.masked.cumsum(m, 0, mask=m > 1),
    "masked.cumprod": lambda t, v, w, m: t.masked.cumprod(m, 1),
    "masked.cumsum as int64": lambda t, v, w, m: t.masked.cumsum(m, 0, dtype=t.int64),
    "einsum: inner": lambda t, v, w, m: t.einsum("i,i->", v, w),
    "einsum: sum": lambda t, v, w, m: t.einsum("i->", v),
    "einsum: all outer summed": lambda t, v, w, m: t.einsum("i,j->i", v, w),
    "einsum: matrix product": lambda t, v, w, m: t.einsum("ij,kj", m, m),
    "einsum: diagonal": lambda t, v, w, m: t.einsum("ii->i", m[:, :2]),
    "einsum: trace": lambda t, v, w, m: t.einsum("ii", m[:, :2]),
    "einsum: kept ellipsis": lambda t, v, w, m: t.einsum("...i->...", m),
    "sum": lambda t, v, w, m: m.sum(0),
    "prod": lambda t, v, w, m: m.prod(1),
    "mean": lambda t, v, w, m: m.mean(),
    "wrap-around": lambda t, v, w, m: m * m + m,
    "floor_divide": lambda t, v, w, m: -v // (w + 1),
    "remainder": lambda t, v, w, m: -v % (w + 1),
    "fmod": lambda t, v, w, m: t.fmod(-v, w + 1),
    "div trunc": lambda t, v, w, m: t.div(-v, 7, rounding_mode="trunc"),
    "true division": lambda t, v, w, m: v / 2,
    "shifts": lambda t, v, w, m: (-v >> 1) + (v << 2),
    "comparison": lambda t, v, w, m: v > -1,
    "matmul": lambda t, v, w, m: m @ v,
    "addmm": lambda t, v, w, m: t.addmm(m[:, :2], m, m.T, beta=2, alpha=3),
    "special functions": lambda t, v, w, m: t.ceil(v) + t.sgn(-v),
    "bitwise_not": lambda t, v, w, m: ~v,
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", CASES)
def test_integers(name, dtype):
    _same(CASES[name], dtype, V, W, M)


A, B, AT = [False, True, False, True], [True, True, False, False], [0, 0, 1, 3]
#: The sum of bools is whether any is true, their product whether all are.
BOOLS = {
    "index_add": lambda t, a, b, i: t.index_add(a, 0, i, b),
    "index_add, alpha False": lambda t, a, b, i: t.index_add(a, 0, i, b, alpha=False),
    "index_put": lambda t, a, b, i: t.index_put(a, (i,), b, accumulate=True),
    "put": lambda t, a, b, i: t.Tensor.put(a, i, b, accumulate=True),
    "scatter_add": lambda t, a, b, i: t.scatter_add(a, 0, i, b),
    "addr": lambda t, a, b, i: t.addr(t.zeros(4, 4, dtype=t.bool), a, b),
    "addr, beta False": lambda t, a, b, i: t.addr(t.ones(4, 4, dtype=t.bool), a, b, beta=False),
    "addr, alpha False": lambda t, a, b, i: t.addr(a, a, b, alpha=False),
    "index_reduce": lambda t, a, b, i: t.index_reduce(a, 0, i, b, "amax"),
    "linalg.vander": lambda t, a, b, i: t.linalg.vander(a),
    "sum_to_size": lambda t, a, b, i: a.sum_to_size(1),
    "abs": lambda t, a, b, i: abs(a),
    "subtraction": lambda t, a, b, i: a - b,
    "addition": lambda t, a, b, i: a + b,
    "mean": lambda t, a, b, i: a.mean(),
    "cumsum": lambda t, a, b, i: a.cumsum(0),
    "cumsum as bool": lambda t, a, b, i: a.cumsum(0, dtype=t.bool),
    "masked.cumprod": lambda t, a, b, i: t.masked.cumprod(a, 0),
    **{
        f"scatter_reduce {reduce}, {kept}": lambda t, a, b, i, reduce=reduce, kept=kept: t.scatter_reduce(
            a, 0, i, b, reduce, include_self=kept
        )
        for reduce in ("sum", "prod", "amax", "amin", "mean")
        for kept in (True, False)
    },
}


@pytest.mark.filterwarnings("ignore:index_reduce.. is in beta")
@pytest.mark.parametrize("name", BOOLS)
def test_bools(name):
    def run(module, a, b):
        return BOOLS[name](module, a, b, module.tensor(AT))

    _same(run, "bool", A, B)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_images_of_bytes(mode, antialias):
    """Bytes are resampled in fixed point: equal, not merely close."""
    values = torch.randint(0, 256, (2, 3, 17, 13), generator=torch.Generator().manual_seed(0)).tolist()
    for size in ((7, 5), (30, 13), (3, 40)):
        for corners in (False, True):

            def run(module, x, size=size, corners=corners):
                return module.nn.functional.interpolate(x, size, mode=mode, align_corners=corners, antialias=antialias)

            _same(run, "uint8", values)


def test_images_of_bytes_with_scales_of_their_own():
    values = torch.randint(0, 256, (1, 2, 10, 20), generator=torch.Generator().manual_seed(0)).tolist()
    _same(lambda module, x: module.ops.aten._upsample_bilinear2d_aa(x, [3, 3], False, 1.7, 0.9), "uint8", values)


_ZERO = {
    "number": lambda t: t.tensor([1, 2]) // 0,
    "number, remainder": lambda t: t.tensor([1, 2]) % 0,
    "number, fmod": lambda t: t.fmod(t.tensor([1, 2]), 0),
    "number, div": lambda t: t.div(t.tensor([1, 2]), 0, rounding_mode="floor"),
    "number, in place": lambda t: t.tensor([1, 2]).floor_divide_(0),
    "uint8": lambda t: t.tensor([1, 2], dtype=t.uint8) // 0,
    "tensor": lambda t: (t.tensor([1, 2]) // t.tensor([0, 1])).tolist(),
    "tensor, remainder": lambda t: t.remainder(t.tensor([1, 2]), t.tensor([1, 0])).tolist(),
    "tensor, fmod": lambda t: t.fmod(t.tensor([1, 2]), t.tensor(0)).tolist(),
    "tensor, div": lambda t: t.div(t.tensor([1, 2]), t.tensor(0), rounding_mode="trunc").tolist(),
    "reflected": lambda t: (5 // t.tensor([0, 1])).tolist(),
    "reflected remainder": lambda t: (5 % t.tensor([0, 1])).tolist(),
    "0-d": lambda t: (t.tensor(5) // t.tensor(0)).item(),
    "bool": lambda t: (t.tensor(True) // t.tensor(0)).item(),
    "used": lambda t: ((t.tensor([1, 2]) // t.tensor([0, 1])).float() * 2).sum().item(),
}


@pytest.mark.parametrize("name", _ZERO)
def test_integers_divided_by_zero(name):
    check_raises(_ZERO[name], RuntimeError, "ZeroDivisionError")


@pytest.mark.parametrize("program", [
    lambda t: t.tensor([1, 2]) ** -1, lambda t: t.tensor([1, -1, 0]).pow_(-2), lambda t: t.pow(t.tensor(3), -3),
    lambda t: t.tensor([1], dtype=t.uint8) ** -1,
])  # fmt: skip
def test_integers_to_negative_powers(program):
    check_raises(program, RuntimeError, "negative integer powers")


def test_division_that_is_defined():
    def program(t):
        empty = t.zeros(0, dtype=t.int64)
        return [
            t.tensor([-8, 7]) // t.tensor([3, -2]), t.tensor([-8, 7]) % t.tensor([3, -2]), empty // 0,
            empty // t.tensor([0]), t.tensor([1.0, 2.0]) // 0, t.tensor([1, 2]) // 0.0, t.tensor([1, 2]) / 0,
            t.tensor([1, 2]) % 0.0, t.pow(t.tensor([1, 2]), t.tensor(-1)), t.pow(2, t.tensor([-1, 2])),
            t.tensor([1, 2]).float() ** -1, t.tensor([2]) ** -1.0,
        ]  # fmt: skip

    check(program)


def test_a_division_by_zero_spoils_what_depends_on_it_only():
    kept, sound = jtorch.tensor([4, 6]), jtorch.tensor([1.0, 2.0])
    other = sound * 2
    kept //= jtorch.tensor([2, 0])
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError \(in floor_divide, recorded at .*test_integer_dtypes"):
        kept.tolist()
    assert other.tolist() == [2.0, 4.0] and (sound + 1).tolist() == [2.0, 3.0]


def test_a_captured_division_sees_its_number():
    halved = jtorch.compile(lambda x, n: x // n)
    x = jtorch.tensor([4, 6])
    for n in (2, 2, 2, 3):
        assert halved(x, n).tolist() == [4 // n, 6 // n]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        halved(x, 0)
    for divisor in ([2, 1], [2, 1], [1, 2]):
        assert halved(x, jtorch.tensor(divisor)).tolist() == [4 // divisor[0], 6 // divisor[1]]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        halved(x, jtorch.tensor([1, 0])).tolist()


def test_divisions_under_vmap():
    divided = jtorch.vmap(lambda a, b: a // b)
    assert divided(jtorch.tensor([4, 6]), jtorch.tensor([2, 4])).tolist() == [2, 1]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        divided(jtorch.tensor([4, 6]), jtorch.tensor([2, 0])).tolist()


@pytest.mark.parametrize("name", ("int8", "int32", "int64", "uint8", "uint16"))
def test_numbers_too_large_for_a_tensor(name):
    def program(t):
        with pytest.raises(RuntimeError) as caught:
            t.tensor([1e30], dtype=getattr(t, name))
        return str(caught.value)

    check(program)
