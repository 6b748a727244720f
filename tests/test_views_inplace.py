"""Views and in-place writes: aliasing both ways, gradients through writes, what is refused, version counters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import jtorch

from .both import Table, check, check_raises, compare, plain

programs = Table()

# --- aliasing ------------------------------------------------------------------------------------------------------

#: name -> (shape of the base, the view)
VIEWS = {
    "int": ((4, 3), lambda x: x[1]),
    "negative int": ((4, 3), lambda x: x[-1]),
    "slice": ((4, 3), lambda x: x[1:3]),
    "step": ((5, 3), lambda x: x[::2, 1:]),
    "ellipsis": ((2, 3, 2), lambda x: x[..., 0]),
    "none": ((2, 3), lambda x: x[:, None]),
    "mixed": ((4, 3, 2), lambda x: x[1:3, None, 0]),
    "view": ((4, 3), lambda x: x.view(2, 6)),
    "view -1": ((4, 3), lambda x: x.view(-1)),
    "view_as": ((4, 3), lambda x: x.view_as(x.new_zeros(12))),
    "reshape": ((4, 3), lambda x: x.reshape(3, 4)),
    "flatten": ((2, 3, 2), lambda x: x.flatten(1)),
    "ravel": ((2, 3), lambda x: x.ravel()),
    "unflatten": ((2, 6), lambda x: x.unflatten(1, (2, 3))),
    "squeeze": ((1, 3, 1), lambda x: x.squeeze()),
    "squeeze dim": ((1, 3, 1), lambda x: x.squeeze(0)),
    "unsqueeze": ((3,), lambda x: x.unsqueeze(0)),
    "t": ((2, 3), lambda x: x.t()),
    "T": ((2, 3), lambda x: x.T),
    "mT": ((2, 2, 3), lambda x: x.mT),
    "transpose": ((2, 3, 2), lambda x: x.transpose(0, 2)),
    "permute": ((2, 3, 2), lambda x: x.permute(2, 0, 1)),
    "movedim": ((2, 3, 2), lambda x: x.movedim(0, -1)),
    "select": ((2, 3), lambda x: x.select(1, -1)),
    "narrow": ((5, 2), lambda x: x.narrow(0, 1, 3)),
    "narrow negative": ((5, 2), lambda x: x.narrow(0, -2, 2)),
    "diagonal": ((3, 4), lambda x: x.diagonal(1)),
    "diag_embed back": ((3, 3), lambda x: x.diagonal()),
    "expand same": ((2, 3), lambda x: x.expand(2, 3)),
    "unfold": ((6,), lambda x: x.unfold(0, 2, 2)),
    "as_strided of a transpose": ((3, 4), lambda x: x.t().as_strided((2, 2), (4, 2), 1)),
    "as_strided beyond a part": ((3, 4), lambda x: x[1:2, 1:].as_strided((2, 2), (5, 2), 0)),
    "as_strided": ((3, 4), lambda x: x.as_strided((2, 2), (4, 2), 1)),
    "detach": ((3,), lambda x: x.detach()),
    "data": ((3,), lambda x: x.data),
    "split": ((5, 2), lambda x: x.split(2)[1]),
    "chunk": ((4, 2), lambda x: x.chunk(2, 1)[1]),
    "unbind": ((3, 2), lambda x: x.unbind(1)[0]),
    "tensor_split": ((5,), lambda x: x.tensor_split(2)[0]),
    "hsplit": ((2, 4), lambda x: x.hsplit(2)[1]),
    "iteration": ((3, 2), lambda x: list(x)[2]),
    "swapaxes": ((2, 3), lambda x: x.swapaxes(0, 1)),
    "adjoint": ((2, 3), lambda x: x.adjoint()),
    "chain": ((4, 4), lambda x: x.t()[1:].transpose(0, 1)[::2]),
    "view of view of view": ((4, 6), lambda x: x.view(2, 2, 6)[1].t()[::3]),
    "view int32": ((4,), lambda x: x.view(x.new_zeros(1).int().dtype)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_aliases_its_base_both_ways(name):
    shape, view = VIEWS[name]

    def program(torch):
        x = torch.arange(float(np.prod(shape))).reshape(shape).clone()
        v = view(x)
        before = v.clone()
        v.mul_(2).add_(1)
        seen_by_base = x.clone()
        x.sub_(5)
        strides = [s for n, s in zip(v.shape, v.stride(), strict=True) if n != 1]
        return before, seen_by_base, v, x, v.shape, strides, v.storage_offset(), v.is_contiguous(), x._version

    check(program)


@programs
def complex_parts(torch):
    z = torch.tensor([1 + 2j, 3 - 1j])
    z.real.mul_(10)
    z.imag[0] = 7
    torch.view_as_real(z)[1, 1] = -2
    r = torch.zeros(2, 2)
    torch.view_as_complex(r)[0] = 1 + 5j
    z2 = z.clone()
    z2.real = torch.tensor([0.0, 1.0])
    return z, r, z2


@programs
def expanded_reads_its_base(torch):
    x = torch.ones(3, 1)
    e = x.expand(3, 4)
    x[1] = 5
    return e, e.stride(), e.is_contiguous(), e.contiguous().stride()


@programs
def reshape_copies_where_no_view_exists(torch):
    x = torch.arange(6.0).reshape(2, 3)
    r = x.t().reshape(-1)
    r.zero_()
    f = x.t().flatten()
    f.fill_(9)
    u = x[:, ::2].reshape(4)
    u.add_(100)
    e = torch.ones(1, 2).expand(3, 2).reshape(6)
    e[0] = 3
    return x, r, f, u, e, r.is_contiguous(), x.t().ravel().add_(1), x


@programs
def reshape_views_where_one_exists(torch):
    x = torch.arange(24.0).reshape(2, 3, 4)
    x.transpose(0, 1).unsqueeze(0).reshape(3, 2, 2, 2).zero_()
    y = torch.arange(12.0).reshape(3, 4)
    y[1:].reshape(-1).mul_(2)
    y[:, :2].reshape(3, 2, 1).add_(100)
    return x, y


@programs
def contiguous_and_clone_do_not_alias(torch):
    x = torch.arange(4.0).reshape(2, 2)
    a, b, c = x.t().contiguous(), x.clone(), x.contiguous()
    a.zero_(), b.zero_()
    return x, c is x, x.t().clone().stride()


@programs
def many_views_of_one_base(torch):
    x = torch.zeros(4, 4)
    rows = [x[i] for i in range(4)]
    cols = [x[:, i] for i in range(4)]
    for i in range(4):
        rows[i].add_(i)
        cols[i].mul_(i + 1)
    return x, rows, cols


@programs
def overlapping_views_see_each_other(torch):
    x = torch.arange(6.0)
    a, b = x[:4], x[2:]
    a += 10
    b *= 2
    return x, a, b


@programs
def writing_a_view_to_an_overlapping_view(torch):
    x = torch.arange(6.0)
    y = x.clone()
    x[1:] = x[:-1].clone()
    y[::2] = y[1::2]
    return x, y


@programs
def detach_and_data(torch):
    x = torch.ones(3, requires_grad=True)
    x.detach()[0] = 5
    x.data.mul_(2)
    x.data[1] = -1
    y = x * 2
    y.detach().add_(1)
    return x, y, x.data.requires_grad, x.detach().grad_fn, x.is_leaf


@programs
def data_set(torch):
    x = torch.ones(3, requires_grad=True)
    x.data = torch.arange(4.0)
    (x * x).sum().backward()
    return x, x.grad, x.shape


@programs
def data_writes_are_not_counted(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    y = (x * w).sum()
    before = x._version
    x.data.mul_(1)
    x.data[0] = 1
    y.backward()
    return w.grad, x._version - before


@programs
def copy_and_fill_of_numbers_leave_a_zero_gradient(torch):
    x = torch.ones(3, requires_grad=True)
    made = []
    for write in (lambda y: y.zero_(), lambda y: y.fill_(2), lambda y: y.copy_(torch.zeros(3)), lambda y: y.copy_(3.0),
                  lambda y: y[1:].fill_(7)):  # fmt: skip
        y = x * 2
        write(y)
        made += [y, torch.autograd.grad(y.sum(), x)[0]]
    y = x * 2
    y.normal_()
    return made, y.requires_grad, torch.autograd.grad(y.sum(), x)[0]


@programs
def data_set_shares_storage(torch):
    a, b = torch.zeros(2), torch.ones(2)
    a.data = b
    b.add_(1)
    a[0] = 9
    return a, b


@programs
def set_shares(torch):
    a, b = torch.zeros(3), torch.arange(4.0).reshape(2, 2)
    a.set_(b)
    a[0, 0] = 7
    return a, b


@programs
def copy_converts_and_broadcasts(torch):
    x = torch.zeros(2, 3, dtype=torch.int32)
    x.copy_(torch.tensor([1.9, -2.9, 3.0]))
    y = torch.zeros(2, 2)
    y.t().copy_(torch.tensor([[1, 2], [3, 4]]))
    return x, y, y.copy_(torch.tensor(5)) is y


@programs
def fill_and_zero(torch):
    x = torch.ones(2, 3)
    x[0].fill_(7)
    x[1, 1:].zero_()
    return (
        x,
        x.fill_(torch.tensor(2)),
        torch.fill(x, 4),
        torch.zeros(2, dtype=torch.int64).fill_(3.7),
        x.fill_diagonal_(0),
    )


@programs
def resize(torch):
    x = torch.arange(6.0)
    y = torch.arange(6.0)
    return x.resize_(2, 2), x.resize_(1), y.resize_as_(torch.zeros(3, 2)), y.shape


@programs
def shape_changing_in_place(torch):
    x = torch.arange(6.0).reshape(2, 3)
    a = x.clone().t_()
    b = x.clone().unsqueeze_(1)
    c = b.clone().squeeze_(1)
    d = x.clone().transpose_(0, 1)
    return a, b, c, d, a.shape, a.stride()


@programs
def inplace_operators(torch):
    x = torch.arange(1.0, 5.0)
    y = x
    x += 1
    x *= 2
    x -= torch.ones(4)
    x /= 3
    x **= 2
    x //= 0.5
    x %= 4
    i = torch.tensor([6, 3])
    i &= 3
    i |= 8
    i ^= 1
    i <<= 1
    i >>= 2
    b = torch.tensor([True, False])
    b &= torch.tensor([True, True])
    return x, y is x, i, b


@programs
def unary_inplace(torch):
    x = torch.tensor([0.3, -0.4])
    names = (
        "abs_",
        "exp_",
        "neg_",
        "sqrt_",
        "sigmoid_",
        "tanh_",
        "relu_",
        "sin_",
        "clamp_",
        "round_",
        "floor_",
        "log1p_",
    )
    return [getattr(x.clone().abs(), n)(*((0.0, 0.2) if n == "clamp_" else ())) for n in names]


@programs
def inplace_returns_self(torch):
    x = torch.zeros(2)
    return [x.add_(1) is x, x.zero_() is x, x.copy_(torch.ones(2)) is x, x.requires_grad_() is x]


@programs
def inplace_broadcasts_its_operand(torch):
    x = torch.ones(2, 3)
    return x.add_(torch.arange(3.0)), x.mul_(torch.tensor([[2.0], [3.0]])), x.sub_(1, alpha=2)


@programs
def out_arguments(torch):
    out = torch.empty(3)
    r = torch.add(torch.ones(3), 2, out=out)
    base = torch.zeros(2, 3)
    torch.mul(torch.ones(3), 5, out=base[1])
    resized = torch.empty(0)
    torch.exp(torch.zeros(2), out=resized)
    v, i = torch.empty(0), torch.empty(0, dtype=torch.int64)
    torch.max(torch.tensor([[1.0, 3.0]]), 1, out=(v, i))
    return r is out, out, base, resized, v, i


@programs
def version_counter(torch):
    x = torch.zeros(3)
    v = x[:2]
    seen = [x._version]
    x.add_(1)
    seen += [x._version, v._version]
    v.mul_(2)
    seen += [x._version]
    d = x.detach()
    d.add_(1)
    seen += [x._version, d._version]
    return seen


@programs
def facts_about_views(torch):
    x = torch.zeros(4, 3)
    v = x[1:, ::2]
    w = v.t()
    return [
        v._is_view(), x._is_view(), v._base is x, w._base is x, v.storage_offset(), w.stride(), v.is_contiguous(),
        w.is_contiguous(), v.data_ptr() == x[1].data_ptr(), x.data_ptr() == x.view(-1).data_ptr(),
        x.untyped_storage().nbytes(), v.untyped_storage().data_ptr() == x.untyped_storage().data_ptr(),
    ]  # fmt: skip


@programs
def memory_formats(torch):
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    y = x.to(memory_format=torch.channels_last)
    z = y * 2
    return [
        y, y.stride(), y.is_contiguous(), y.is_contiguous(memory_format=torch.channels_last), z.stride(),
        y.contiguous().stride(), torch.empty_like(y).stride(), x.permute(0, 2, 3, 1).contiguous().stride(),
        x.permute(0, 2, 3, 1).clone().stride(),
    ]  # fmt: skip


# --- gradients through writes --------------------------------------------------------------------------------------


@programs
def write_into_a_slice(torch):
    x = torch.arange(1.0, 5.0, requires_grad=True)
    y = x * 2
    y[1:3] = x[:2] ** 2
    y[0].mul_(x[3])
    (y * torch.arange(1.0, 5.0)).sum().backward()
    return y, x.grad


@programs
def write_through_a_view_then_use_the_base(torch):
    x = torch.ones(2, 3, requires_grad=True)
    base = x.clone()
    v = base.view(6)[::2]
    w = base.t()
    v.mul_(torch.arange(1.0, 4.0))
    w.add_(w * 2)
    base.exp_()
    (v.sum() + (w * 3).sum()).backward()
    return base, v, w, x.grad, v.requires_grad


@programs
def a_plain_base_gains_history(torch):
    base = torch.zeros(4)
    v = base[1:3]
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    v.copy_(x * x)
    (base.sum() + v[0] * 10).backward()
    return base, v, x.grad, base.requires_grad, v.requires_grad, base.is_leaf


@programs
def view_taken_before_the_base_gained_history(torch):
    base = torch.zeros(3)
    a, b = base[:2], base[1:]
    x = torch.tensor(3.0, requires_grad=True)
    a[1] = x * 2
    (b * torch.tensor([5.0, 7.0])).sum().backward()
    return x.grad, a, b, base


@programs
def overwriting_cuts_history(torch):
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.zero_()
    y[0] = x[1] * 4
    y.sum().backward()
    return y, x.grad


@programs
def detached_write_changes_values_not_history(torch):
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.detach().mul_(10)
    (y + 1).sum().backward()
    return y, x.grad


@programs
def no_grad_write_to_a_leaf(torch):
    x = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        x -= 0.5
        x[0] = 4
    (x * x).sum().backward()
    return x, x.grad, x.is_leaf, x.requires_grad


@programs
def no_grad_write_to_an_intermediate(torch):
    x = torch.ones(3, requires_grad=True)
    y = x * 3
    with torch.no_grad():
        y.add_(1)
    z = (y * torch.arange(3.0)).sum()
    z.backward()
    return y, x.grad


@programs
def accumulate_in_place(torch):
    x = torch.tensor(2.0, requires_grad=True)
    total = torch.zeros(())
    for i in range(1, 4):
        total += x**i
    total.backward()
    return total, x.grad


@programs
def fill_rows_in_a_loop(torch):
    x = torch.ones(3, requires_grad=True)
    out = torch.zeros(4, 3)
    h = x
    for i in range(4):
        h = torch.tanh(h * (i + 1))
        out[i] = h
    out.sum().backward()
    return out, x.grad, out.grad_fn is not None


@programs
def masked_and_clamped_in_place(torch):
    x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = x * 1.5
    y.clamp_(-1, 2)
    y.masked_fill_(y < 0, 0.25)
    y[y > 1] *= 3
    y.sum().backward()
    return y, x.grad


@programs
def inplace_after_save_in_no_conflict(torch):
    x = torch.ones(3, requires_grad=True)
    y = x + 1  # add saves nothing
    z = y * 2.0
    y.mul_(5)
    (y.sum() + z.sum()).backward()
    return x.grad


@programs
def relu_inplace(torch):
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = (x * 2).relu_()
    (y * y).sum().backward()
    return y, x.grad


@programs
def double_backward_through_writes(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x**3
    y[0] = y[1].clone() * x[0]
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), x)
    return g, h


@programs
def expand_write_of_a_single_element(torch):
    x = torch.zeros(1, 3, requires_grad=True)
    y = (x * 1).expand(1, 3)
    y.add_(2)
    y.sum().backward()
    return y, x.grad


@programs
def multi_output_views_read(torch):
    x = torch.arange(4.0, requires_grad=True)
    a, b = (x * 2).chunk(2)
    (a * b).sum().backward()
    return x.grad, a.grad_fn is not None


@programs
def hooks_follow_an_inplace_write(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()))
    y.mul_(3)
    y.sum().backward()
    return seen, x.grad


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


# --- what is refused -----------------------------------------------------------------------------------------------


def leaf_write(write):
    def program(torch):
        x = torch.ones(2, 2, requires_grad=True)
        write(x, torch)

    return program


def modified(save, change):
    """An operand or output that backward needs is overwritten before it runs."""

    def program(torch):
        x = torch.tensor([0.5, 0.25], requires_grad=True)
        a = x * 1.0
        out = save(a, torch)
        change(a, out)
        out.sum().backward()

    return program


def written_in_no_grad(torch):
    base = torch.ones(3, requires_grad=True) * 1
    with torch.no_grad():
        v = base[:2]
    v.mul_(2)


MODIFIED = "modified by an inplace operation"
ERRORS = {
    "leaf": (leaf_write(lambda x, t: x.add_(1)), RuntimeError, "leaf Variable that requires grad"),
    "leaf operator": (leaf_write(lambda x, t: x.__iadd__(1)), RuntimeError, "leaf Variable that requires grad"),
    "leaf index": (leaf_write(lambda x, t: x.__setitem__(0, 1.0)), RuntimeError, "leaf Variable that requires grad"),
    "leaf view": (leaf_write(lambda x, t: x[0].mul_(2)), RuntimeError, "view of a leaf Variable"),
    "leaf view of view": (leaf_write(lambda x, t: x.t()[0].zero_()), RuntimeError, "view of a leaf Variable"),
    "leaf copy_": (leaf_write(lambda x, t: x.copy_(t.zeros(2, 2))), RuntimeError, "leaf Variable"),
    "leaf uniform_": (leaf_write(lambda x, t: x.uniform_()), RuntimeError, "leaf Variable"),
    "leaf mask": (leaf_write(lambda x, t: x.__setitem__(x > 0, 1.0)), RuntimeError, "leaf Variable"),
    "view made in no_grad": (written_in_no_grad, RuntimeError, "no_grad"),
    "expanded": (lambda t: t.zeros(1).expand(3).add_(1), RuntimeError, "single memory location"),
    "view of non-contiguous": (lambda t: t.zeros(2, 3).t().view(6), RuntimeError, "reshape"),
    "view of expanded": (lambda t: t.zeros(1, 2).expand(3, 2).view(6), RuntimeError, "reshape"),
    "view of strided": (lambda t: t.zeros(4, 5)[:, ::2].view(12), RuntimeError, "reshape"),
    "broadcast output": (lambda t: t.zeros(1, 3).add_(t.zeros(2, 3)), RuntimeError, "[1, 3]", "[2, 3]"),
    "result type": (lambda t: t.zeros(2, dtype=t.int64).mul_(0.5), RuntimeError, "Float", "Long"),
    "copy_ shape": (lambda t: t.zeros(3).copy_(t.zeros(2)), RuntimeError, "3", "2"),
    "copy_ text": (lambda t: t.zeros(3).copy_("a"), TypeError, "must be Tensor", "str"),
    "fill_ with dimensions": (lambda t: t.zeros(3).fill_(t.zeros(3)), RuntimeError, "0-dimension"),
    "detach_ a view": (lambda t: t.zeros(3, requires_grad=True)[0].detach_(), RuntimeError, "view"),
    "resize_ requires grad": (lambda t: t.zeros(3, requires_grad=True).resize_(2), RuntimeError, "resize"),
    "data of another kind": (lambda t: setattr(t.zeros(2), "data", 3), TypeError, "tensor"),
    "select range": (lambda t: t.zeros(3).select(0, 3), IndexError, "index 3", "size"),
    "select of 0-d": (lambda t: t.zeros(()).select(0, 0), IndexError, "0-dim"),
    "narrow start": (lambda t: t.zeros(3).narrow(0, 4, 1), IndexError, "range", "4"),
    "narrow length": (lambda t: t.zeros(3).narrow(0, 1, 3), RuntimeError, "exceeds dimension size (3)"),
    "narrow negative length": (lambda t: t.zeros(3).narrow(0, 1, -1), RuntimeError, "non-negative"),
    "inference tensor": (lambda t: _inference(t), RuntimeError, "inference"),
    "saved exp": (modified(lambda a, t: a.exp(), lambda a, out: out.mul_(2)), RuntimeError, MODIFIED),
    "saved mul": (modified(lambda a, t: a * a, lambda a, out: a.add_(1)), RuntimeError, MODIFIED),
    "saved matmul": (modified(lambda a, t: a @ a, lambda a, out: a.zero_()), RuntimeError, MODIFIED),
    "saved through a view": (modified(lambda a, t: a * a, lambda a, out: a[:1].zero_()), RuntimeError, MODIFIED),
    "saved by an in-place write": (modified(lambda a, t: a.exp_(), lambda a, out: a.mul_(2)), RuntimeError, MODIFIED),
    "an operand that is the target": (modified(lambda a, t: a.mul_(a), lambda a, out: None), RuntimeError, MODIFIED),
}


def _inference(t):
    with t.inference_mode():
        x = t.ones(2)
    x.requires_grad_()


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.zeros(1).expand(3).add_(1),
        lambda t: t.zeros(2, 1).expand(2, 3).fill_(1),
        lambda t: t.zeros(1).expand(3).__setitem__(t.tensor([0]), 1.0),
        lambda t: t.zeros(5).unfold(0, 3, 1).copy_(t.ones(3, 3)),
    ],
)
def test_writing_repeated_elements_is_refused(write):
    """Also where PyTorch writes one of the values given for a place."""
    with pytest.raises(RuntimeError, match="single memory location"):
        write(jtorch)


def test_modified_names_shape_and_versions():
    x = jtorch.ones(2, 3, requires_grad=True)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"FloatTensor \[2, 3\].*version 1; expected version 0"):
        z.sum().backward()


# --- random programs -----------------------------------------------------------------------------------------------

VIEW_STEPS = ("select", "slice", "t", "flat", "unsqueeze", "diagonal", "view")
WRITE_STEPS = ("mul_", "add_tensor_", "copy_", "fill_", "index_", "exp-ish", "iadd_view")
PURE_STEPS = ("mul", "sum", "sin", "cat", "detach")


@st.composite
def random_program(draw):
    """Instructions: (kind, which tensor, which other tensor, small number)."""
    n = draw(st.integers(3, 8))
    kinds = st.sampled_from((*VIEW_STEPS, *VIEW_STEPS, *WRITE_STEPS, *WRITE_STEPS, *PURE_STEPS))
    return [
        (draw(kinds), draw(st.integers(0, 20)), draw(st.integers(0, 20)), draw(st.integers(0, 3))) for _ in range(n)
    ]


def interpret(torch, instructions, base_requires_grad):
    """Run instructions on a growing list of tensors; values, and gradients with respect to the leaves."""
    a = torch.tensor(np.linspace(0.5, 1.5, 12).reshape(3, 4)).requires_grad_()
    b = torch.tensor(np.linspace(-1.0, 1.0, 4)).requires_grad_()
    start = a * 1 if base_requires_grad else torch.tensor(np.linspace(1.0, 2.0, 12).reshape(3, 4))
    pool = [start, b * 2]
    errors = []
    for kind, i, j, k in instructions:
        x, y = pool[i % len(pool)], pool[j % len(pool)]
        try:
            made = step(torch, kind, x, y, k, a, b)
        except RuntimeError as error:
            errors.append((kind, "a leaf Variable" in str(error)))
            continue
        if made is not None:
            pool.append(made)
    total = sum((t * torch.tensor(np.cos(np.arange(t.numel(), dtype=np.float64)).reshape(t.shape))).sum() for t in pool)
    grads = ["none"]
    if total.requires_grad:
        try:
            grads = torch.autograd.grad(total, (a, b), allow_unused=True)
            grads = [torch.zeros(1) if g is None or not bool((g != 0).any()) else g for g in grads]
        except RuntimeError as error:
            grads = [str(error)[:90]]
    return [t.detach() for t in pool], [t.requires_grad for t in pool], [t._version for t in pool], errors, grads


def step(torch, kind, x, y, k, a, b):
    rows = x.shape[0] if x.dim() else 0
    if kind == "select":
        return x[k % rows] if rows else None
    if kind == "slice":
        return x[k % rows :: 1 + k % 2] if rows else None
    if kind == "t":
        return x.transpose(0, -1) if x.dim() > 1 else None
    if kind == "flat":
        return x.reshape(-1)
    if kind == "unsqueeze":
        return x.unsqueeze(0) if x.dim() < 4 else None
    if kind == "diagonal":
        return x.diagonal() if x.dim() > 1 else None
    if kind == "view":
        return x.view(x.numel())
    if kind == "mul_":
        x.mul_(1.0 + k / 2)
    elif kind == "add_tensor_":
        x.add_(b[k] * 3)
    elif kind == "copy_":
        x.copy_(y.reshape(-1)[0].clone() if y.numel() else b[0])
    elif kind == "fill_":
        x.fill_(0.5 + k)
    elif kind == "index_":
        if rows:
            x[k % rows] = a[0, k] * 2
    elif kind == "exp-ish":
        x.tanh_()
    elif kind == "iadd_view":
        if rows:
            v = x[-1]
            v += b[0]
    elif kind == "mul":
        return x * (1.5 + k)
    elif kind == "sum":
        return x.sum()
    elif kind == "sin":
        return x.sin()
    elif kind == "cat":
        return torch.cat([x.reshape(-1), y.reshape(-1)])
    elif kind == "detach":
        return x.detach()
    return None


@given(random_program(), st.booleans())
@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
def test_random_programs(instructions, base_requires_grad):
    """Final values, requires_grad, versions, which steps are refused, and gradients are PyTorch's.

    Where PyTorch finds that backward needs a value overwritten meanwhile, jtorch may have the gradient all the same:
    what it saved is immutable, and only operands and outputs saved as they are are watched.
    """
    torch = pytest.importorskip("torch")
    theirs = plain(interpret(torch, instructions, base_requires_grad), torch)
    # PyTorch takes a view of a base that had no history when it was taken, and has now, for a leaf
    assume(not any(leaf for _, leaf in theirs[3]))
    assume(all(np.isfinite(t["values"]).all() for t in theirs[0]))
    ours = plain(interpret(jtorch, instructions, base_requires_grad), jtorch)
    if isinstance(theirs[-1][0], str) and "modified" in theirs[-1][0]:
        ours, theirs = ours[:-1], theirs[:-1]
    compare(ours, theirs)
