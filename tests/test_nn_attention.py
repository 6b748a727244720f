"""``nn.attention``: flex_attention and its block masks against PyTorch's, kernel choice, causal biases."""

import warnings

import numpy as np
import pytest

import jtorch
from jtorch.nn.attention import SDPBackend, sdpa_kernel
from jtorch.nn.attention import flex_attention as flex
from jtorch.nn.attention.bias import causal_lower_right, causal_upper_left

from .both import check

RNG = np.random.default_rng(0)
B, H, SHARED, L, S = 2, 4, 2, 20, 24
Q, K, V = (RNG.normal(size=s).astype("float32") for s in ((B, H, L, 8), (B, SHARED, S, 8), (B, SHARED, S, 6)))
BIAS = RNG.normal(size=(H, L, S)).astype("float32")
DOCUMENT = RNG.integers(0, 3, S)


def inputs(grad=False):
    return [jtorch.tensor(x, requires_grad=grad) for x in (Q, K, V)]


def causal(b, h, q, kv):
    return q >= kv


def document(lib):
    of = lib.tensor(DOCUMENT)
    return lambda b, h, q, kv: of[q] == of[kv]


def late_heads(b, h, q, kv):
    return (q >= kv) & (h > 1)


def table(lib):
    bias = lib.tensor(BIAS)
    return lambda s, b, h, q, kv: s + bias[h, q, kv]


SCORES = {
    "none": lambda lib: None,
    "table": table,
    "alibi": lambda lib: lambda s, b, h, q, kv: s - (h + 1) * lib.where(q > kv, q - kv, kv - q) * 0.1,
    "capped": lambda lib: lambda s, b, h, q, kv: 5 * lib.tanh(s / 5),
}


def dense(score, allowed):
    """Attention by its formula, in NumPy and float64."""
    k, v = (x.repeat(H // SHARED, 1).astype("float64") for x in (K, V))
    s = np.einsum("bhqe,bhke->bhqk", Q, k) / np.sqrt(8)
    index = np.ix_(range(B), range(H), range(L), range(S))
    if score == "table":
        s = s + BIAS
    elif score == "alibi":
        s = s - (index[1] + 1) * np.abs(index[2] - index[3]) * 0.1
    elif score == "capped":
        s = 5 * np.tanh(s / 5)
    s = np.where(allowed, s, -np.inf)
    top = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = np.where(total == 0, -np.inf, np.log(total) + top)
    return np.einsum("bhqk,bhkd->bhqd", e / np.where(total == 0, 1, total), v), lse[..., 0]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("masked", [False, True])
def test_flex_attention_is_its_formula(score, masked):
    allowed = np.ones((B, H, L, S), bool)
    mask = None
    if masked:  # heads 0 and 1 are masked out wholly
        allowed &= (np.arange(L)[:, None] >= np.arange(S)) & (np.arange(H) > 1)[:, None, None]
        mask = flex.create_block_mask(late_heads, B, H, L, S, BLOCK_SIZE=8)
    expected, lse = dense(score, allowed)
    change = SCORES[score](jtorch)
    out = flex.flex_attention(*inputs(), change, mask, enable_gqa=True)
    again, aux = flex.flex_attention(
        *inputs(), change, mask, enable_gqa=True, return_aux=flex.AuxRequest(lse=True, max_scores=True)
    )
    np.testing.assert_allclose(out.numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(again.numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(aux.lse.numpy(), lse, atol=2e-6)
    assert (aux.max_scores <= aux.lse + 1e-6).all()


def test_gradients_reach_inputs_and_what_the_score_indexes():
    table = jtorch.tensor(BIAS, dtype=jtorch.float64, requires_grad=True)
    q, k, v = (jtorch.tensor(x[:1, :, :5], dtype=jtorch.float64, requires_grad=True) for x in (Q, K, V))

    def attend(q, k, v, table):
        return flex.flex_attention(
            q, k, v, lambda s, b, h, i, j: s * 0.5 + table[h, i, j],
            flex.create_block_mask(causal, None, None, 5, 5, BLOCK_SIZE=2), enable_gqa=True,
        )  # fmt: skip

    assert jtorch.autograd.gradcheck(attend, (q, k, v, table))


@pytest.mark.parametrize("lengths", [(L, S), (16, 16)])
def test_block_masks_are_pytorchs(lengths):
    pytest.importorskip("torch")

    def program(lib):
        module = flex if lib is jtorch else __import__("torch.nn.attention.flex_attention", fromlist=["x"])
        if lengths == (16, 16):
            made = [module.create_block_mask(causal, B, None, *lengths, device="cpu", BLOCK_SIZE=(4, 8))]
        else:
            masks = (causal, document(lib), late_heads)
            masks += (module.and_masks(causal, document(lib)), module.or_masks(late_heads, document(lib)))
            made = [module.create_block_mask(m, B, H, *lengths, device="cpu", BLOCK_SIZE=8) for m in masks]
        out = []
        for mask in made:
            tensors = [getattr(mask, f"{which}_num_blocks") for which in ("kv", "full_kv", "q", "full_q")]
            smaller = mask._adjust(9, 9)
            out.append((tensors, mask.to_dense(), mask.sparsity(), list(mask.shape), str(mask), str(mask[:, 0])))
            out.append((str(smaller), list(smaller.shape), mask.numel()))
        return out

    check(program)


def test_blocks_given_by_hand_count_as_well_as_the_function():
    rows = jtorch.tensor([[[1, 2]]], dtype=jtorch.int32), jtorch.tensor([[[[0, 1], [0, 1]]]], dtype=jtorch.int32)
    mask = flex.BlockMask.from_kv_blocks(*rows, BLOCK_SIZE=4, mask_mod=causal)
    x = jtorch.tensor(RNG.normal(size=(1, 1, 8, 4)).astype("float32"))
    expected = jtorch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    np.testing.assert_allclose(flex.flex_attention(x, x, x, block_mask=mask).numpy(), expected.numpy(), atol=1e-6)
    full = flex.BlockMask.from_kv_blocks(*rows, *rows, BLOCK_SIZE=4, mask_mod=causal)
    allowed = jtorch.ones(8, 8, dtype=jtorch.bool)
    allowed[:4, 4:] = False
    expected = jtorch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=allowed)
    np.testing.assert_allclose(flex.flex_attention(x, x, x, block_mask=full).numpy(), expected.numpy(), atol=1e-6)


def test_create_mask_of_a_score_function():
    mask = flex.create_mask(lambda s, b, h, q, kv: jtorch.where(q >= kv, s, -float("inf")), None, None, 3, 3)
    assert mask.tolist() == [[np.tri(3, dtype=bool).tolist()]]


def test_flex_attention_refuses():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="Try setting enable_gqa=True"):
        flex.flex_attention(q, k, v)
    with pytest.raises(NotImplementedError, match="must be 4D tensors"):
        flex.flex_attention(q[0], k[0], v[0])
    with pytest.raises(ValueError, match="same embedding dimension but got E=8 and E=6"):
        flex.flex_attention(q, v, v, enable_gqa=True)
    for lengths, word in (((L + 1, S), "larger"), ((L - 1, S), "smaller")):
        mask = flex.create_block_mask(causal, None, None, *lengths)
        with pytest.raises(ValueError, match=f"created for a {word} length"):
            flex.flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
    mask = flex.create_block_mask(causal, None, None, L, S)
    with pytest.raises(RuntimeError, match="mask_mod from a sliced BlockMask"):
        flex.flex_attention(q, k, v, block_mask=mask[:, :, 0], enable_gqa=True)
    with pytest.raises(RuntimeError, match="must return one value for each position"):
        flex.flex_attention(q, k, v, lambda s, b, h, i, j: s.reshape(-1), enable_gqa=True)
    with pytest.raises(AssertionError, match="Expected 4 or 5 positional args, got 2"):
        flex.create_mask(lambda a, b: a, 1, 1, 2, 2)


def test_a_result_lies_in_memory_as_its_query():
    def program(torch):
        attend = torch.nn.functional.scaled_dot_product_attention
        torch.manual_seed(0)
        q = torch.randn(2, 5, 36).chunk(3, -1)[0].view(2, 5, 3, 4).transpose(1, 2)
        k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 6)
        bias = torch.zeros(5, 5, requires_grad=True)
        out = [attend(q, k, k, is_causal=True), attend(k, q, q), attend(q, k, v), attend(q, k[:1], k[:1])]
        out += [attend(q, k, k, attn_mask=bias), attend(q, k, k, attn_mask=bias.detach())]
        out.append(attend(q.requires_grad_(), k, k).transpose(1, 2).view(2, 5, 12))  # without contiguous()
        (grad,) = torch.autograd.grad((out[-1] ** 2).sum(), q)
        return [(o.detach(), o.stride()) for o in out], grad

    check(program)


@pytest.mark.usefixtures("compiled_at_once")  # equal to the last digit
def test_sdpa_kernel():
    q, k, v = inputs()
    expected = jtorch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    for backends in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        with sdpa_kernel(backends, set_priority=True):
            out = jtorch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        assert (out == expected).all()
    with sdpa_kernel([]), pytest.raises(RuntimeError, match="No viable backend"):
        jtorch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"), sdpa_kernel("flash"):
        pass


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_mask_of_floats_goes_with_queries_of_another_type(dtype):
    attend = jtorch.nn.functional.scaled_dot_product_attention
    q = jtorch.tensor(Q).to(getattr(jtorch, dtype))
    mask = jtorch.arange(L * L, dtype=jtorch.float32).view(L, L) / 10
    out, exact = attend(q, q, q, attn_mask=mask), attend(q.float(), q.float(), q.float(), attn_mask=mask)
    assert out.dtype is q.dtype and (out - exact).abs().max().item() < 0.02


def test_causal_biases():
    def program(lib):
        if lib is not jtorch:
            from torch.nn.attention import bias as module
        else:
            module = jtorch.nn.attention.bias
        q, k, v = (lib.tensor(x[:, :SHARED]) for x in (Q, K, V))
        masks = (module.causal_upper_left(L, S), module.causal_lower_right(L, S))
        return [lib.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=m) for m in masks]

    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(program)
    assert causal_upper_left(2, 3).tolist() == [[True, False, False], [True, True, False]]
    assert causal_lower_right(2, 3).tolist() == [[True, True, False], [True, True, True]]


def test_second_derivatives_of_rows_that_see_one_key():
    # numbers so large that rows which see several keys heed one
    q, k, v = ((5 * jtorch.randn(2, n, 4, dtype=jtorch.float64)).requires_grad_() for n in (3, 5, 5))
    seen = jtorch.ones(3, 5, dtype=jtorch.bool).tril()
    weights = jtorch.linspace(-1, 1, 24, dtype=jtorch.float64).reshape(2, 3, 4)

    def second(out):
        first = jtorch.autograd.grad((out * weights).sum(), (q, k, v), create_graph=True)
        return jtorch.autograd.grad(sum((g * g).sum() for g in first), (q, k, v))

    got = second(jtorch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    scores = (q @ k.mT / 2).masked_fill(~seen, float("-inf"))
    for g, wanted in zip(got, second(jtorch.softmax(scores, -1) @ v), strict=True):
        assert jtorch.allclose(g, wanted, rtol=1e-8, atol=1e-8)
