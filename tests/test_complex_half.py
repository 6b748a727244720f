"""Complex and half-precision tensors: what is easily of the wrong dtype, on the wrong branch or rounded twice."""

from __future__ import annotations

import math

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

table = Table()
HALVES = ("float16", "bfloat16")


def draw(torch, *shape, dtype="complex128", seed=0, scale=1.0, grad=False):
    """Normal numbers that are the same in both libraries."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * scale
    if dtype.startswith("complex"):
        x = x + 1j * rng.standard_normal(shape) * scale
    return torch.tensor(x).to(getattr(torch, dtype)).requires_grad_(grad)


def with_gradients(torch, result, *inputs):
    """The result and the gradients of a weighted sum of its parts."""
    parts = torch.view_as_real(result) if result.is_complex() else result
    weights = torch.arange(1, parts.numel() + 1, dtype=parts.dtype).reshape(parts.shape)
    return result, torch.autograd.grad((parts * weights).sum(), inputs)


# --- complex -------------------------------------------------------------------------------------------------------


@table
def logarithms_of_sums_keep_their_turns(torch):
    """The imaginary part of ``logaddexp`` and ``logcumsumexp`` is that of the larger operand, beyond pi too."""
    x, y = draw(torch, 6, scale=5, grad=True), draw(torch, 6, seed=1, scale=5, grad=True)
    return [
        with_gradients(torch, torch.logaddexp(x, y), x, y), with_gradients(torch, torch.logcumsumexp(x, 0), x),
    ]  # fmt: skip


@table
def logarithms_of_sums_of_the_very_large_and_small(torch):
    x = torch.tensor([-math.inf, -2000, 2000 + 1j, -math.inf], dtype=torch.complex128)
    y = torch.tensor([1 + 1j, 2000, -2000 + 1j, -math.inf], dtype=torch.complex128)
    return torch.logaddexp(x, y), torch.logcumsumexp(y, 0)


@table
def powers_of_two(torch):
    x, y = draw(torch, 5, grad=True), draw(torch, 5, seed=1, grad=True)
    return with_gradients(torch, torch.ldexp(x, y), x, y)


@table
def weighted_covariance(torch):
    x, weights = draw(torch, 3, 5, grad=True), torch.tensor([0.1, 0.5, 0.2, 1.0, 0.7], dtype=torch.float64)
    return with_gradients(torch, torch.cov(x, aweights=weights, fweights=torch.tensor([1, 2, 3, 1, 2])), x)


@table
def distances_are_real(torch):
    x, y = draw(torch, 4, 3, grad=True), draw(torch, 4, 3, seed=1, grad=True)
    orders = (0, 1, 2, 3, math.inf)
    return [with_gradients(torch, torch.nn.functional.pairwise_distance(x, y, p=p), x, y) for p in orders[1:]] + [
        torch.nn.functional.pairwise_distance(x, y, p=0).detach()
    ]


@table
def triplet_losses_are_real(torch):
    a, p, n = (draw(torch, 4, 3, seed=i, grad=True) for i in range(3))
    return [
        with_gradients(torch, loss(a, p, n, swap=True), a, p, n)
        for loss in (
            torch.nn.functional.triplet_margin_loss, torch.nn.functional.triplet_margin_with_distance_loss,
        )
    ]  # fmt: skip


@table
def low_rank_decompositions(torch):
    """Of one seed: the random subspace, not only its singular values; vectors have no phase of their own."""
    torch.manual_seed(3)
    u, s, v = torch.svd_lowrank(draw(torch, 4, 6), q=2, niter=1)
    x = draw(torch, 7, 3, dtype="float64", grad=True)
    a, b, c = torch.pca_lowrank(x, q=2)
    return u @ v.mH, s, u.shape, v.shape, with_gradients(torch, b, x), (a @ c.mH).detach()


@table
def products_over_nothing(torch):
    x, y = draw(torch, 3, 2, 0), draw(torch, 0, 4)
    return x @ y, torch.nn.functional.linear(draw(torch, 3, 2, 0), draw(torch, 4, 0))


@table
def masked_results(torch):
    x = draw(torch, 3, 4)
    mask = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    mean, total = torch.masked.mean, torch.masked.cumsum
    return mean(x, 1, mask=mask), torch.masked._output_mask(mean, x, 1, mask=mask), total(x, 0, mask=mask)


# --- half precision ------------------------------------------------------------------------------------------------


@table
def chains_are_rounded_once(torch):
    found = []
    for dtype in HALVES:
        x, g = draw(torch, 6, 50, dtype=dtype, scale=3), draw(torch, 6, 50, dtype=dtype, seed=1)
        y = x.float().softmax(1).to(x.dtype)
        found += [torch.exp2(x), torch._softmax_backward_data(g, y, 1, x.dtype)]
    return found


@table
def sums_by_index_are_of_float32(torch):
    """In bfloat16 itself, 256 + 1 is 256."""
    found = []
    for dtype in HALVES:
        zeros, ones = torch.zeros(3, dtype=getattr(torch, dtype)), torch.ones(5000, dtype=getattr(torch, dtype))
        at, leaf = torch.zeros(5000, dtype=torch.int64), zeros.clone().requires_grad_()
        found += [
            zeros.scatter_add(0, at, ones),
            zeros.scatter_reduce(0, at, ones, "sum"),
            zeros.scatter_reduce(0, at, ones, "mean"),
            zeros.index_reduce(0, at, ones, "mean"),
            torch.autograd.grad(leaf.gather(0, at).sum(), leaf),
        ]
    return found


@table
def statistics_have_the_parameters_dtype(torch):
    found = []
    for dtype in HALVES:
        x, wide = draw(torch, 4, 3, 5, dtype=dtype), draw(torch, 3, dtype="float32")
        narrow = wide.to(x.dtype)
        found += torch.native_batch_norm(x, narrow, narrow, None, None, True, 0.1, 1e-5)[1:]
        found += torch.native_batch_norm(x, wide, wide, wide, wide.abs(), True, 0.1, 1e-5)[1:]
        found += torch.native_layer_norm(x, (5,), None, None, 1e-5)[1:]
    return found


@pytest.mark.parametrize("name", table)
def test_as_pytorch(name):
    check(table[name])


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_of_rows_do_not_saturate(dtype):
    """PyTorch's CPU kernels add these in half precision, its CUDA kernels in float32."""
    rows = jtorch.zeros(2, 3, dtype=getattr(jtorch, dtype), requires_grad=True)
    at = jtorch.zeros(5000, dtype=jtorch.int64)
    embedding = jtorch.nn.functional.embedding
    for read in (lambda: rows[at], lambda: rows.index_select(0, at), lambda: embedding(at, rows)):
        (grad,) = jtorch.autograd.grad(read().sum(), rows)
        expected = jtorch.tensor([[5000.0] * 3, [0.0] * 3]).to(rows.dtype)
        assert grad.dtype is rows.dtype and jtorch.equal(grad, expected)
    (grad,) = jtorch.autograd.grad(embedding(at, rows, scale_grad_by_freq=True).sum(), rows)
    assert abs(grad[0, 0].item() - 1) < 0.02


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_as_exact_as_pytorchs(dtype, causal):
    """Queries are not rounded again when they are scaled: the error is no larger than PyTorch's."""
    torch = pytest.importorskip("torch")

    def attended(library, wide):
        q, k, v = (draw(library, 4, 6, 8, dtype=dtype, seed=i, scale=5) for i in range(3))
        q, k, v = (x.double() if wide else x for x in (q, k, v))
        out = library.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        assert str(out.dtype) == ("torch.float64" if wide else f"torch.{dtype}")
        return out.double().numpy()

    exact = attended(torch, True)
    error, theirs = (np.abs(attended(library, False) - exact).max() for library in (jtorch, torch))
    assert error <= 1.01 * theirs


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
def test_images_are_read_where_pytorch_reads_them(dtype, mode, padding, corners):
    """Places are worked out in half precision, step by step: the results are equal to the last bit."""
    torch = pytest.importorskip("torch")

    def read(library):
        image, grid = draw(library, 2, 3, 5, 6, dtype=dtype), draw(library, 2, 40, 7, 2, dtype=dtype, seed=1)
        out = library.nn.functional.grid_sample(image, grid, mode, padding, corners)
        return out.double().numpy()

    np.testing.assert_array_equal(read(jtorch), read(torch))


NUMBERS = {
    "a large factor": lambda t, x, y: x * -1e9,
    "a small factor": lambda t, x, y: 1e-6 * x,
    "a factor in a tensor": lambda t, x, y: x * t.tensor(0.1),
    "a large divisor": lambda t, x, y: (x * 3e4) / 1e6,
    "a number divided": lambda t, x, y: 0.3 / y,
    "a number rounded and added": lambda t, x, y: x + 0.1,
    "a product added": lambda t, x, y: t.add(x, y, alpha=0.37),
    "a product subtracted": lambda t, x, y: x.sub(y, alpha=0.37),
    "addcmul": lambda t, x, y: t.addcmul(x, x, y, value=0.1),
    "addcdiv": lambda t, x, y: t.addcdiv(x, x, y, value=1e-6),
    "lerp": lambda t, x, y: t.lerp(x, y, 0.1),
    "floor_divide": lambda t, x, y: x.detach() // 1e-4,
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_beside_halves(name, dtype):
    """A factor is not rounded to half precision: 0 * -1e9 is 0, in float16 too. Bit for bit as in PyTorch."""
    values = np.linspace(-2, 2, 64)  # whole vectors: PyTorch rounds a remainder otherwise

    def program(torch):
        x = torch.tensor(values).to(getattr(torch, dtype)).requires_grad_()
        out = NUMBERS[name](torch, x, torch.tensor(values[::-1].copy() ** 2 + 0.1).to(x.dtype))
        made = [out.dtype, out.float().tolist()]
        if out.requires_grad:
            out.sum().backward()
            made.append(x.grad.float().tolist())
        return made

    torch = pytest.importorskip("torch")
    np.testing.assert_equal(program(jtorch)[1:], program(torch)[1:])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_soft_margin_beyond_the_largest_exponential(dtype):
    """The loss is infinite, as PyTorch's; its gradient is the one of the line that it is there, not NaN."""
    x = jtorch.tensor([-200.0, 3.0], dtype=getattr(jtorch, dtype)).requires_grad_()
    loss = jtorch.nn.functional.soft_margin_loss(x, jtorch.ones_like(x), reduction="none")
    assert loss[0].item() == math.inf and 0 < loss[1].item() < 0.05
    (grad,) = jtorch.autograd.grad(loss.sum(), x)
    assert grad[0].item() == -1


def test_complex_half_is_refused():
    """XLA has no complex32: naming it is fine, a tensor of it is not."""
    x = jtorch.ones(2, 2, dtype=jtorch.float16)
    assert jtorch.complex32.is_complex
    for make in (lambda: x.chalf(), lambda: x.to(jtorch.chalf), lambda: jtorch.view_as_complex(x)):
        with pytest.raises(NotImplementedError, match="complex32"):
            make()


def test_errors():
    check_raises(lambda torch: torch.view_as_complex(torch.ones(2, 2, dtype=torch.bfloat16)), RuntimeError, "BFloat16")
    check_raises(lambda torch: torch.pca_lowrank(torch.ones(2, 3), q=3), ValueError, "q(=3)")
    check_raises(lambda torch: torch.pca_lowrank(torch.ones(2, 3), niter=-1), ValueError, "niter(=-1)")
