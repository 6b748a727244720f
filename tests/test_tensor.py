"""A Tensor as Python sees it: numbers, iteration, text, NumPy, copies, pickles, facts, and small tensor functions."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()


# --- numbers and truth ---------------------------------------------------------------------------------------------


@programs
def scalars(torch):
    x = torch.tensor(3.75)
    i = torch.tensor([[7]])
    return [
        x.item(), float(x), int(x), bool(x), complex(x), i.item(), int(i), float(i), [0, 1, 2, 3, 4, 5, 6, 7, 8][i],
        bool(torch.tensor(0)), bool(torch.tensor([True])), torch.tensor(1j).item(), x.tolist(), round(float(x)),
        torch.tensor(True).item(), torch.tensor(2.0, dtype=torch.bfloat16).item(), hex(i), range(10)[i],
        torch.tensor(float("nan")).item(), torch.tensor(2**62).item(),
    ]  # fmt: skip


@programs
def tolist(torch):
    return [
        torch.arange(6).reshape(2, 3).tolist(), torch.zeros(2, 0).tolist(), torch.tensor([True]).tolist(),
        torch.tensor([1.5], dtype=torch.float16).tolist(), torch.tensor([1 + 2j]).tolist(), torch.tensor(4).tolist(),
    ]  # fmt: skip


@programs
def lengths_and_iteration(torch):
    x = torch.arange(6.0).reshape(3, 2)
    a, b, c = x
    first, *rest = x
    return (
        len(x),
        a,
        b,
        c,
        rest,
        [r.sum() for r in x],
        list(zip(x, range(3), strict=True)),
        list(reversed(x)),
        max(x[:, 0]),
    )


@programs
def contains(torch):
    x = torch.tensor([1, 2, 3])
    return [2 in x, 5 in x, 2.0 in x, torch.tensor(3) in x, torch.tensor([1, 2, 3]) in x]


@programs
def comparisons_with_other_things(torch):
    x, nothing = torch.tensor([1.0, 2.0]), None
    return [x == nothing, x != nothing, x == "a", x != "a", (x == x).all(), x == 1, 2.0 != x, x < 2, 1 <= x]


@programs
def hashing(torch):
    x, y = torch.zeros(2), torch.zeros(2)
    d = {x: 1, y: 2}
    return [d[x], d[y], hash(x) == hash(x), hash(x) == hash(y), len({x, y, x}), x in d, id(x) == hash(x)]


@programs
def formats(torch):
    x = torch.tensor(3.14159)
    return [
        f"{x:.2f}", f"{x}", f"{torch.tensor(42):5d}|", f"{torch.tensor([1, 2])}", str(torch.tensor(True)),
        f"{torch.tensor(0.5):.0%}", repr(torch.zeros(2, dtype=torch.int32)), f"{x.item():8.3e}",
    ]  # fmt: skip


@programs
def arithmetic_with_numbers(torch):
    x = torch.tensor([1.0, -2.0])
    return [
        x + 1,
        1 + x,
        x - 1,
        1 - x,
        x * 2,
        2 * x,
        x / 4,
        4 / x,
        x // 2,
        3 // x,
        x % 3,
        5 % x.abs(),
        x**2,
        2**x,
        -x,
        +x,
        abs(x),
        x @ x,
        ~torch.tensor([True, False]),
        torch.tensor(5) & 3,
        6 | torch.tensor(1),
        3 ^ torch.tensor(5),
        torch.tensor(1) << 3,
        torch.tensor(16) >> 2,
        divmod(7, 2),
        x.add(1, alpha=3),
        True + x,
        x == True,  # noqa: E712 (the comparison is what is tested)
    ]  # noqa: E712


@programs
def unsupported_operands_defer(torch):
    class Other:
        def __radd__(self, x):
            return "radd"

        def __rmatmul__(self, x):
            return "rmatmul"

    return [torch.zeros(2) + Other(), torch.zeros(2) @ Other()]


# --- NumPy ---------------------------------------------------------------------------------------------------------


@programs
def numpy_out(torch):
    x = torch.arange(6.0).reshape(2, 3)
    return [
        x.numpy(), x.t().numpy(), np.asarray(x), np.array(x, dtype=np.int64), x.detach().numpy().dtype.name,
        torch.zeros(()).numpy(), torch.ones(2, requires_grad=True).detach().numpy(), x.numpy(force=True),
        np.asarray(x[0]).sum(), torch.tensor([1 + 2j]).numpy(), torch.tensor([True]).numpy(),
    ]  # fmt: skip


@programs
def numpy_in(torch):
    a = np.arange(6, dtype=np.float64).reshape(2, 3)
    return [
        torch.from_numpy(a), torch.tensor(a), torch.as_tensor(a.T), torch.from_numpy(a[:, ::2]),
        torch.tensor(a[0, 0]), torch.tensor([a[0], a[1]]), torch.asarray(a), torch.from_numpy(np.array(3)),
        torch.tensor(np.array([True])), torch.tensor(np.float32(1.5)), torch.tensor(np.array([1, 2], dtype=np.uint8)),
    ]  # fmt: skip


@programs
def numpy_scalars_as_operands(torch):
    x = torch.ones(2)
    return [x * np.float64(2.5), x + np.int64(3), np.float32(2) * x, x / np.float64(4), torch.full((2,), np.float32(3))]


@programs
def memory_that_is_not_written_in_deterministic_mode(torch):
    torch.use_deterministic_algorithms(True)
    try:
        return [
            (
                torch.empty(2, dtype=d), torch.empty_like(torch.ones(2, dtype=d)), torch.ones(2).new_empty(2, dtype=d),
                torch.empty_strided((2,), (1,), dtype=d), torch.ones(2, dtype=d).resize_(4),
            )
            for d in (torch.float32, torch.bfloat16, torch.complex64, torch.int8, torch.int64, torch.bool)
        ]  # fmt: skip
    finally:
        torch.use_deterministic_algorithms(False)


@programs
def numpy_arrays_as_operands(torch):
    found = []
    for x in (torch.tensor([1, 2], dtype=torch.int32), torch.tensor([1.0, 2.0]), torch.tensor([True, False])):
        for a in (np.array([3, 4]), np.array([3.0, 4.0], np.float32), np.array([3, 4], np.int8), np.array(2.5)):
            found += [x + a, x * a, x / a, x**a, x == a, a == x]
    return found


@programs
def numpy_functions_of_tensors(torch):
    x = torch.tensor([1.0, 4.0])
    return [
        np.sum(x.numpy()), np.mean(np.asarray(x)), np.concatenate([x, x]), np.stack([x, x]).shape,
        np.allclose(x, [1, 4]), np.max(np.asarray(x)),
    ]  # fmt: skip


@programs
def frombuffer(torch):
    return torch.frombuffer(bytearray(b"\x01\x00\x02\x00"), dtype=torch.int16)


@programs
def dlpack_to_numpy(torch):
    return np.from_dlpack(torch.arange(4.0)).copy()


@programs
def dlpack_from_numpy(torch):
    return torch.from_dlpack(np.arange(3.0))


# --- copies and pickles --------------------------------------------------------------------------------------------


@programs
def clone_and_copy(torch):
    x = torch.arange(3.0, requires_grad=True)
    c, d = x.clone(), copy.copy(x)
    e = copy.deepcopy(x)
    with torch.no_grad():
        x.add_(1)
    return c, d, e, c.requires_grad, d is x, e.is_leaf, e.requires_grad


@programs
def deepcopy_keeps_ties(torch):
    x = torch.zeros(4)
    model = {"whole": x, "part": x[1:3], "again": x, "grown": torch.ones(2, requires_grad=True)}
    model["grown"].grad = torch.full((2,), 3.0)
    made = copy.deepcopy(model)
    made["part"].fill_(5)
    return made, made["again"] is made["whole"], x, made["grown"].grad


@programs
def pickle_round_trip(torch):
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    y = pickle.loads(pickle.dumps({"x": x, "t": x.detach().t(), "d": torch.float16, "s": x.shape, "dev": x.device}))
    return y, type(y["s"]).__name__


@programs
def pickle_other_types(torch):
    return [pickle.loads(pickle.dumps(t)) for t in (
        torch.tensor(3), torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([True]),
        torch.zeros(0, 3))]  # fmt: skip


@programs
def save_and_load(torch):
    buffer = io.BytesIO()
    x = torch.arange(4.0)
    torch.save({"a": x, "b": x[1:]}, buffer)
    buffer.seek(0)
    made = torch.load(buffer)
    made["b"].zero_()
    return made


# --- facts ---------------------------------------------------------------------------------------------------------


@programs
def facts(torch):
    x = torch.zeros(2, 3, dtype=torch.float64)
    return [
        x.shape, x.size(), x.size(0), x.size(-1), x.dim(), x.ndim, x.ndimension(), x.numel(), x.nelement(), x.dtype,
        x.element_size(), x.itemsize, x.nbytes, x.stride(), x.stride(0), x.is_floating_point(), x.is_complex(),
        x.is_signed(), x.device, x.is_leaf, x.requires_grad, x.grad, x.grad_fn, x.is_sparse, x.is_quantized,
        str(x.layout), torch.numel(x), torch.is_tensor(x), torch.is_tensor(3), torch.is_floating_point(x),
        torch.is_complex(x), isinstance(x.shape, tuple), x.shape.numel(), x.shape[1:], x.shape + (4,),
        type(x.shape).__name__, x.output_nr, x.is_inference(), x.is_shared() in (True, False), x.is_pinned(),
        torch.is_nonzero(torch.tensor(2)), torch.equal(x, x.clone()), torch.equal(x, x[0]), x.retains_grad,
    ]  # fmt: skip


@programs
def sizes(torch):
    s = torch.Size([2, 3])
    return [
        s, s == (2, 3), s + torch.Size([4]), s[0], s[:1], s.numel(), list(s), repr(s), len(s),
        torch.Size((1,)) == (1,), torch.zeros(s).shape, torch.zeros(*s, 1).shape,
        torch.zeros(2, 3).view(torch.Size([6])).shape, s * 2,
    ]  # fmt: skip


@programs
def transposes(torch):
    x = torch.arange(24.0).reshape(2, 3, 4)
    return [x[0].T, x.mT, x[0].H, x.mH.shape, x.permute(2, 0, 1).shape, x[0, 0].t(), torch.tensor([[1 + 1j, 2j]]).H]


@programs
def new_methods(torch):
    x = torch.zeros(2, dtype=torch.float64)
    return [
        x.new_zeros(2, 3), x.new_ones((2,)), x.new_full((2,), 3), x.new_empty(2, 0), x.new_tensor([1, 2]),
        x.new([1, 2]), x.new(2, 0), x.new_zeros(2, dtype=torch.int32), x.new_ones(1, requires_grad=True),
        x.new_empty_strided((2, 0), (1, 1)).shape, x.new_tensor(3.5), x.new_full([1], True),
    ]  # fmt: skip


@programs
def factories(torch):
    return [
        torch.linspace(0, 1, 5), torch.logspace(0, 2, 3), torch.eye(2, 3), torch.tril_indices(3, 3),
        torch.arange(5, 0, -2), torch.full((2, 2), 7),
        torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij"), torch.empty(2, 0),
        torch.diag(torch.arange(3.0)), torch.zeros(()), torch.ones(2, 1),
        torch.cartesian_prod(torch.arange(2), torch.arange(2)), torch.combinations(torch.arange(3)),
        torch.vander(torch.arange(3.0)), torch.complex(torch.ones(1), torch.zeros(1)),
        torch.polar(torch.ones(1), torch.zeros(1)), torch.block_diag(torch.ones(1, 2), torch.ones(1)),
        torch.hann_window(4),
    ]  # fmt: skip


@programs
def method_aliases(torch):
    x = torch.arange(1.0, 5.0)
    return [
        x.mul(2), x.multiply(2), x.sub(1), x.subtract(1), x.div(2), x.divide(2), x.true_divide(2), x.absolute(),
        x.clip(2, 3), x.negative(), x.greater(2), x.less_equal(2), x.not_equal(2), x.swapaxes(0, 0), x.moveaxis(0, 0),
        x.fix(), x.arcsin(), torch.concat([x, x]), torch.concatenate([x, x]), torch.row_stack([x, x]),
        torch.greater_equal(x, 2),
    ]  # fmt: skip


@programs
def axis_and_keepdims(torch):
    x = torch.arange(6.0).reshape(2, 3)
    return [
        x.sum(axis=0), x.mean(axis=1, keepdims=True), torch.max(x, axis=1)[0], x.argmax(axis=0),
        torch.cat([x, x], axis=1), torch.stack([x, x], axis=-1).shape, torch.sum(x, axis=(0, 1)), x.std(axis=0),
        x.cumsum(axis=1),
    ]  # fmt: skip


@programs
def small_methods(torch):
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    return [
        x.trace(), x.det(), x.inverse(), x.triu(), x.diag(), x.sum_to_size(1, 2), x.fill_diagonal_(0),
        x.unflatten(0, (1, 2)), x.expand_as(torch.zeros(3, 2, 2)).shape, x.reshape_as(torch.zeros(4)),
        x.view_as(torch.zeros(4)), x.repeat(2, 1), x.tile(2), x.flip(0), x.roll(1), x.rot90(), x.cov(), x.dist(x * 2),
        x.renorm(2, 0, 1.0), x.lerp(x * 2, 0.5), x.addcmul(x, x, value=0.5), x.where(x > 0, torch.zeros(())),
        x.nan_to_num(), x.heaviside(torch.zeros(())), x.long().abs().flatten().bincount(), x.histc(4, -2, 4),
        x.logsumexp(0), x.aminmax(), x.topk(1), x.kthvalue(1), x.mode()[0], x.unique(), x.sort(descending=True)[0],
        x.msort(), x.quantile(0.5), x.count_nonzero(), x.isclose(x), x.allclose(x), x.ndim, x.corrcoef(),
        x.type_as(x.double()), x.data_ptr() == x.data_ptr(), x.index_fill(0, torch.tensor([0]), 1),
    ]  # fmt: skip


@programs
def multi_tensor_functions(torch):
    a, b, c = torch.ones(2, 3), torch.arange(12.0).reshape(3, 4), torch.ones(4, 2)
    return [
        torch.chain_matmul(a, b, c), torch.linalg.multi_dot([a, b, c]), torch.einsum("ij,jk->ik", a, b),
        torch.tensordot(a, b, 1), torch.broadcast_tensors(torch.ones(2, 1), torch.ones(3)),
        torch.broadcast_shapes((2, 1), (3,)), torch.hstack([a, a]).shape, torch.vstack([a, a]).shape,
        torch.dstack([a, a]).shape, torch.column_stack([a, a]).shape, torch.atleast_2d(torch.ones(2)),
        torch.kron(a, a).shape, torch.block_diag(a, b).shape, torch.cdist(a, a),
        torch.addmm(torch.ones(2, 4), a, b, beta=2), torch.bmm(a[None], b[None]), torch.split(b, [1, 2]),
        torch.where(a > 0), torch.stack([a, a]).shape,
    ]  # fmt: skip


@programs
def statistics(torch):
    x = torch.tensor([[1.0, 2.0, 4.0], [3.0, -1.0, 0.5]])
    f, a = torch.tensor([1, 2, 3]), torch.tensor([0.5, 1.0, 0.25])
    t = torch.tensor([0.0, 1.0, 3.0, 3.5])
    y = t**2
    return [
        torch.cov(x), torch.cov(x, correction=0), torch.cov(x, fweights=f), torch.cov(x, aweights=a),
        torch.cov(x, fweights=f, aweights=a), torch.cov(x[0]), torch.corrcoef(x), torch.gradient(y),
        torch.gradient(y, spacing=2.0), torch.gradient(y, spacing=(t,)), torch.gradient(x, dim=1),
        torch.gradient(y, spacing=(t,), edge_order=2), torch.gradient(y, edge_order=2), torch.trapz(y, t),
        torch.trapz(y, dx=2), torch.histogram(y, 3), torch.histogram(y, 2, range=(0.0, 10.0), density=True),
        torch.histogram(y, torch.tensor([0.0, 1.0, 20.0])), torch.unravel_index(torch.tensor([5, 3]), (2, 3)),
    ]  # fmt: skip


@programs
def matrices(torch):
    a = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    low, b = torch.linalg.cholesky(a), torch.tensor([[1.0], [2.0]])
    u, s, v = torch.svd(torch.arange(6.0).reshape(2, 3))
    q, r = torch.qr(a)
    return [
        torch.cholesky_inverse(low), u @ s.diag() @ v.T, s, u.shape, v.shape, q @ r, a.svd().S,
        torch.triangular_solve(b, low, upper=False)[0],
        torch.triangular_solve(b, low, upper=False, transpose=True)[0], torch.norm_except_dim(a, 2, 0),
    ]  # fmt: skip


@programs
def foreach(torch):
    a, b = [torch.ones(2), torch.arange(3.0)], [torch.full((2,), 2.0), torch.arange(3.0) + 1]
    made = [
        torch._foreach_add(a, b), torch._foreach_add(a, 1), torch._foreach_add(a, b, alpha=2),
        torch._foreach_clone(a), torch._foreach_max(b), torch._foreach_powsum(a, 3), torch._foreach_powsum(b),
        torch._foreach_mul(a, [2, 3]), torch._foreach_sqrt(b), torch._foreach_div(a, b),
        torch._foreach_lerp(a, b, 0.5), torch._foreach_addcmul(a, b, b, 0.1), torch._foreach_maximum(a, b),
        torch._foreach_neg(a), torch._foreach_norm(b), torch._foreach_pow(b, 2), torch._foreach_clamp_min(a, 0.5),
    ]  # fmt: skip
    torch._foreach_mul_(a, 3)
    torch._foreach_add_(a, b)
    torch._foreach_addcdiv_(a, b, b, -1.0)
    torch._foreach_copy_(b, a)
    torch._foreach_zero_(a)
    return made, a, b


@programs
def inspection(torch):
    x = torch.zeros(2)
    return [
        torch.is_same_size(x, x), torch.typename(x), torch.typename([]), torch.is_signed(x), torch.get_device(x),
        torch.is_inference(x), x.is_same_size(torch.zeros(1)), torch.tensor([3]).is_nonzero(), x.to_dense() is x,
        torch.is_conj(x), torch.is_neg(x), torch.sym_int(2.5), torch._check(True),
    ]  # fmt: skip


@programs
def default_tensor_type(torch):
    torch.set_default_tensor_type("torch.DoubleTensor")
    x = torch.zeros(1)
    torch.set_default_tensor_type(torch.FloatTensor)
    return x, torch.zeros(1)


@programs
def item_assignment_and_attributes(torch):
    x = torch.zeros(2)
    x.custom = "kept"
    y = x.detach()
    return x.custom, hasattr(y, "custom"), copy.deepcopy(x).custom


@programs
def subclass_and_isinstance(torch):
    class Mine(torch.Tensor):
        pass

    m = torch.ones(2).as_subclass(Mine)
    return isinstance(m, torch.Tensor), type(m).__name__, m.shape, isinstance(torch.ones(1), Mine)


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


ERRORS = {
    "item of many": (lambda t: t.zeros(2).item(), RuntimeError, "2 elements", "Scalar"),
    "float of many": (lambda t: float(t.zeros(2)), ValueError, "one element"),
    "bool of many": (lambda t: bool(t.zeros(2)), RuntimeError, "ambiguous"),
    "bool of none": (lambda t: bool(t.zeros(0)), RuntimeError, "no values"),
    "if many": (lambda t: 1 if t.zeros(2) > 0 else 2, RuntimeError, "more than one value"),
    "index of a float": (lambda t: [1, 2][t.tensor(1.0)], TypeError, "integer tensors"),
    "len of 0-d": (lambda t: len(t.tensor(1)), TypeError, "0-d tensor"),
    "iteration over 0-d": (lambda t: list(t.tensor(1)), TypeError, "0-d tensor"),
    "numpy with grad": (lambda t: t.zeros(1, requires_grad=True).numpy(), RuntimeError, "detach()"),
    "array with grad": (lambda t: np.asarray(t.zeros(1, requires_grad=True)), RuntimeError, "detach()"),
    "numpy of bfloat16": (lambda t: t.zeros(1, dtype=t.bfloat16).numpy(), TypeError, "BFloat16"),
    "contains text": (lambda t: "a" in t.zeros(1), RuntimeError, "str"),
    "size of a missing dimension": (lambda t: t.zeros(2).size(1), IndexError, "out of range", "1"),
    "deepcopy of a result": (lambda t: copy.deepcopy(t.zeros(1, requires_grad=True) * 2), RuntimeError, "graph leaves"),
    "dlpack with grad": (lambda t: np.from_dlpack(t.zeros(1, requires_grad=True)), (BufferError, RuntimeError), "grad"),
    "add text": (lambda t: t.zeros(1) + "a", TypeError),
    "add None": (lambda t: t.zeros(1) + None, TypeError),
    "add list": (lambda t: t.zeros(1) + [1.0], TypeError),
    "order with None": (lambda t: t.zeros(1) < None, TypeError),
    "unknown method": (lambda t: t.zeros(1).nothing(), AttributeError, "nothing"),
    "unknown function": (lambda t: t.nothing, AttributeError, "nothing"),
    "zeros of a negative size": (lambda t: t.zeros(-1), RuntimeError, "negative"),
    "arange step": (lambda t: t.arange(3, 0, 1), RuntimeError, "step"),
    "eye": (lambda t: t.eye(-1), RuntimeError, "-1"),
    "new data": (lambda t: t.tensor([1, "a"]), (TypeError, ValueError)),
    "missing argument": (lambda t: t.add(t.zeros(1)), TypeError, "other"),
    "check": (lambda t: t._check(False, lambda: "the reason"), RuntimeError, "the reason"),
    "check of a value": (lambda t: t._check_value(False), ValueError, "True"),
    "cov": (lambda t: t.cov(t.zeros(1, 2, 3)), RuntimeError, "two or fewer", "3 dimensions"),
    "unexpected argument": (lambda t: t.zeros(1).add(1, wrong=2), TypeError, "wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


# --- what differs from PyTorch -------------------------------------------------------------------------------------


def test_numpy_is_a_copy_in_both_directions():
    """XLA arrays are immutable, so neither side sees the other's writes."""
    x = jtorch.zeros(2)
    a = x.numpy()
    a[0] = 5
    assert x.tolist() == [0, 0] and a.flags.writeable
    b = np.zeros(2)
    y = jtorch.from_numpy(b)
    b[0] = 5
    assert y.tolist() == [0, 0]


def test_numpy_array_with_a_tensor_is_a_tensor():
    x = jtorch.ones(2)
    a = np.arange(2.0)
    for made in (a + x, x + a, a * x, a - x, x @ np.ones(2, np.float32)):
        assert isinstance(made, jtorch.Tensor)
    assert (np.arange(2.0) - x).tolist() == [-1.0, 0.0]
    assert (np.ones(2, np.float32) == x).all()


def test_deterministic_mode_need_not_fill(monkeypatch):
    monkeypatch.setattr(jtorch.utils.deterministic, "fill_uninitialized_memory", False)
    jtorch.use_deterministic_algorithms(True)
    try:
        assert not jtorch.empty(2).isnan().any()
    finally:
        jtorch.use_deterministic_algorithms(False)


def test_ufuncs_give_arrays_or_tensors():
    x = jtorch.tensor([1.0, 4.0])
    assert np.asarray(np.sqrt(x)).tolist() == [1.0, 2.0]
    assert np.asarray(np.add(x, 1)).tolist() == [2.0, 5.0]


def test_dlpack_shares_and_protects():
    import jax

    x = jtorch.arange(3.0)
    a = jax.dlpack.from_dlpack(x)
    x.add_(1)  # the exported buffer is never written again
    jtorch.sync()
    assert np.asarray(a).tolist() == [0.0, 1.0, 2.0] and x.tolist() == [1.0, 2.0, 3.0]
    y = jtorch.from_dlpack(a)
    assert y.tolist() == [0.0, 1.0, 2.0] and y.dtype is jtorch.float32
    assert x.__dlpack_device__() == (1, 0)


def test_deepcopy_is_independent_of_a_pending_value():
    x = jtorch.ones(2) * 3
    y = copy.deepcopy(x)
    x.add_(1)
    assert y.tolist() == [3.0, 3.0] and x.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "matmul"])
def test_reflected_operators_take_tensors(name, torch):
    ours, theirs = (getattr(t.ones(2) * 4, f"__r{name}__")(t.full((2,), 3.0)) for t in (jtorch, torch))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["div", "rdiv", "idiv"])
def test_operators_of_python_2(name, torch):
    ours, theirs = (getattr(t.ones(2) * 4, f"__{name}__")(t.full((2,), 3.0)) for t in (jtorch, torch))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_what_is_warned_of_once():
    """float() of what has a history; with set_warn_always every time."""
    from jtorch.errors import once

    x = jtorch.tensor(2.0, requires_grad=True)
    said, once.said = once.said, set()
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            assert float(x) == complex(x) == float(x.detach()) == x.item() == 2
            with jtorch.no_grad():
                float(x)
            assert [w.filename for w in found] == [__file__]
            jtorch.set_warn_always(True)
            float(x)
            assert len(found) == 2 and jtorch.is_warn_always_enabled()
    finally:
        jtorch.set_warn_always(False)
        once.said = said
    with pytest.raises(RuntimeError, match="to be the same dimension as input"):
        jtorch.diff(jtorch.ones(3), prepend=jtorch.ones(1, 1))
