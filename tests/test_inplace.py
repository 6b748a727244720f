"""In-place writes: what is written, gradients through writes, what is refused, version counters."""

from __future__ import annotations

import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()


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
def writes_to_what_no_gradient_needs(torch):
    """Not the factor that requires grad alone, no addend, nor what a loss makes its logarithms of."""
    functional, found = torch.nn.functional, []
    x, w, b, v = (torch.arange(1.0, 10).reshape(3, 3) % k for k in (4, 5, 7, 3))
    for call, written in (
        (lambda w: functional.linear(x, w), ()),
        (lambda x: x @ w, ()),
        (lambda x: torch.addmm(b, x, w), ()),
        (lambda x: functional.linear(x, w, v[0]), (v,)),
        (lambda x: functional.group_norm(x[None] * 1, 3, v[0] + 1, b[0]), (b,)),
        (lambda x: functional.cross_entropy(x, torch.tensor([0, 2, 1])), ()),
        (lambda x: torch.linalg.inv(x + 5 * torch.eye(3)), ()),
    ):
        leaf = torch.ones(3, 3, requires_grad=True)
        operand = leaf * 2 + b
        result = call(operand)
        for t in (operand, *written):
            t.mul_(2)
        found.append(torch.autograd.grad((result * v).sum() if result.dim() else result, leaf))
    return found


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


def leaf_that_is_a_view(change):
    return lambda torch: change(torch.arange(6.0).view(2, 3).requires_grad_())


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
    "leaf that is a view": (leaf_that_is_a_view(lambda x: x.add_(1)), RuntimeError, "view of a leaf Variable"),
    "view of it": (leaf_that_is_a_view(lambda x: x[0].add_(1)), RuntimeError, "view of a leaf Variable"),
    "part of it": (leaf_that_is_a_view(lambda x: x.__setitem__((0, 0), 5)), RuntimeError, "view of a leaf Variable"),
    "leaf copy_": (leaf_write(lambda x, t: x.copy_(t.zeros(2, 2))), RuntimeError, "leaf Variable"),
    "leaf uniform_": (leaf_write(lambda x, t: x.uniform_()), RuntimeError, "leaf Variable"),
    "leaf mask": (leaf_write(lambda x, t: x.__setitem__(x > 0, 1.0)), RuntimeError, "leaf Variable"),
    "view made in no_grad": (written_in_no_grad, RuntimeError, "no_grad"),
    "expanded": (lambda t: t.zeros(1).expand(3).add_(1), RuntimeError, "single memory location"),
    "broadcast output": (lambda t: t.zeros(1, 3).add_(t.zeros(2, 3)), RuntimeError, "[1, 3]", "[2, 3]"),
    "result type": (lambda t: t.zeros(2, dtype=t.int64).mul_(0.5), RuntimeError, "Float", "Long"),
    "copy_ shape": (lambda t: t.zeros(3).copy_(t.zeros(2)), RuntimeError, "3", "2"),
    "copy_ text": (lambda t: t.zeros(3).copy_("a"), TypeError, "must be Tensor", "str"),
    "fill_ with dimensions": (lambda t: t.zeros(3).fill_(t.zeros(3)), RuntimeError, "0-dimension"),
    "detach_ a view": (lambda t: t.zeros(3, requires_grad=True)[0].detach_(), RuntimeError, "view"),
    "resize_ requires grad": (lambda t: t.zeros(3, requires_grad=True).resize_(2), RuntimeError, "resize"),
    "data of another kind": (lambda t: setattr(t.zeros(2), "data", 3), TypeError, "tensor"),
    "inference tensor": (lambda t: _inference(t), RuntimeError, "inference"),
    "saved exp": (modified(lambda a, t: a.exp(), lambda a, out: out.mul_(2)), RuntimeError, MODIFIED),
    "saved sqrt": (modified(lambda a, t: a.sqrt(), lambda a, out: out.add_(1)), RuntimeError, MODIFIED),
    "saved rsqrt": (modified(lambda a, t: a.rsqrt(), lambda a, out: out.add_(1)), RuntimeError, MODIFIED),
    "saved sigmoid": (modified(lambda a, t: a.sigmoid(), lambda a, out: out.zero_()), RuntimeError, MODIFIED),
    "saved reciprocal": (modified(lambda a, t: a.reciprocal(), lambda a, out: out.zero_()), RuntimeError, MODIFIED),
    "saved mul": (modified(lambda a, t: a * a, lambda a, out: a.add_(1)), RuntimeError, MODIFIED),
    **{
        f"saved operand of {name}": (modified(f, lambda a, out: a.add_(1)), RuntimeError, MODIFIED)
        for name, f in {
            "sin": lambda a, t: a.sin(),
            "cos": lambda a, t: a.cos(),
            "pow": lambda a, t: a**3,
            "abs": lambda a, t: a.abs(),
            "clamp": lambda a, t: a.clamp(0, 1),
            "log1p": lambda a, t: a.log1p(),
            "erf": lambda a, t: a.erf(),
        }.items()
    },
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
        lambda t: t.zeros(1).expand(3).masked_fill_(t.tensor([True, False, True]), 1),
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


def test_memory_in_common_with_the_operands():
    def y(t):
        return t.arange(6.0)

    def index(t):
        return t.tensor([2, 1, 0])

    def into(t, name, *rest):
        x = y(t)
        return getattr(x[:4], name)(x[1:5], *rest)

    def square(t):
        x = t.arange(9.0).view(3, 3)
        return x.add_(x.t())

    for refused in (
        lambda t: into(t, "add_"), lambda t: into(t, "copy_"), lambda t: into(t, "lerp_", 0.5), square,
        lambda t: (lambda x: x[1:].__iadd__(x[:-1]))(y(t)),
        lambda t: (lambda x: x.__setitem__(slice(1, 6), x[:5]))(y(t)),
        lambda t: (lambda x: t.add(x[1:5], 1, out=x[:4]))(y(t)),
        lambda t: (lambda x: x.index_add_(0, index(t), x[:3]))(y(t)),
        lambda t: (lambda x: x.index_copy_(0, x, x.clone()))(index(t)),
        lambda t: (lambda x: x.scatter_(0, index(t), x))(t.ones(3)), lambda t: (lambda x: x.put_(x, x))(index(t)),
        lambda t: (lambda x: x.index_put_((index(t),), x[0]))(y(t)),
        lambda t: (lambda x: x.index_fill_(0, x, 0))(index(t)),
    ):  # fmt: skip
        check_raises(refused, RuntimeError, "some elements of the input tensor and the written-to tensor")

    def accepted(t):
        x = y(t)
        x[:3].add_(x[3:])
        x[::2].add_(x[1::2])
        x[:3].mul_(x[:3])
        t.mul(x, 2, out=x)
        return (
            x,
            t.zeros(3).expand(2, 3).fill_(2.0),
            t.ones(2, 1).expand(2, 3).zero_(),
            t.ones(2, 3, 0).expand(4, 2, 3, 0).zero_(),
        )

    check(accepted)


def test_one_of_several_views():
    """What unbind, split and chunk make of what requires grad is not written, nor are views of it; others are."""
    apart = (
        lambda x: x.unbind()[1], lambda x: list(x)[0], lambda x: x.split(1)[2], lambda x: x.split([1, 2])[1],
        lambda x: x.chunk(3)[2], lambda x: x.unbind()[0].view(-1), lambda x: x.split(2)[0][0],
    )  # fmt: skip

    def y(t):
        return t.arange(9.0).reshape(3, 3).requires_grad_() * 1

    def write(t, f, grad=True):
        with t.set_grad_enabled(grad):
            f(x := y(t)).mul_(2)
        return x.detach()

    for f in apart:
        check_raises(lambda t, f=f: write(t, f), RuntimeError, "function that returns multiple views")
        check(lambda t, f=f: write(t, f, grad=False))
        check(lambda t, f=f: f(y(t).detach()).mul_(2))
    check(lambda t: [v.mul_(2).detach() for v in (*y(t).tensor_split(2), *t.unsafe_chunk(y(t), 3), y(t)[0])])
