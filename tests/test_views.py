"""Views alias their base both ways; where no view exists, a copy is made or the call refused."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()

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
def writing_part_of_a_view_that_repeats_elements(torch):
    x = torch.zeros(8)
    windows = x.unfold(0, 3, 2)
    windows[1, 0] = 1
    windows[2] = torch.tensor([5.0, 6.0, 7.0])
    x.as_strided((4, 3), (1, 1))[1].mul_(10)
    return x, windows


@programs
def gradient_of_writing_part_of_a_window(torch):
    x = torch.ones(4, requires_grad=True)
    y = x * 2
    y.unfold(0, 2, 1)[1].mul_(3)
    y.sum().backward()
    return y, x.grad


@programs
def as_strided_of_a_leaf_that_is_a_view(torch):
    x = torch.arange(9.0).reshape(3, 3).t().requires_grad_()
    (x.as_strided((2, 2), (3, 2), 1) * torch.arange(4.0).reshape(2, 2)).sum().backward()
    y = torch.arange(6.0, requires_grad=True) * 2
    y.as_strided_((2, 2), (3, 1)).sum().backward()
    return x.grad, y.is_leaf


@programs
def strides_of_results(torch):
    a, t = torch.ones(1, 4).expand(3, 4), torch.ones(4, 3).t()
    c = torch.ones(2, 3, 4).permute(2, 0, 1)
    results = a + 1, a.clone(), torch.zeros_like(a), t + a, a + t, c * 2, c + torch.ones(4, 2, 3), c[:, :1] + 1
    results = *results, torch.ones(4, 2, 3) + c, c[..., :1] * c, torch.where(c > 0, c, 0.0)
    return [r.stride() for r in results]


@programs
def memory_format_of_results(torch):
    F = torch.nn.functional
    x = torch.ones(2, 4, 4, 6).contiguous(memory_format=torch.channels_last)
    w = torch.ones(3, 4, 1, 1)
    results = F.conv2d(x, w), F.conv_transpose2d(x, w.transpose(0, 1)), F.max_pool2d(x, 2), F.pad(x, (1, 2)), x.flip(1)
    results = *results, F.batch_norm(x, torch.zeros(4), torch.ones(4)), F.interpolate(x, scale_factor=2), F.glu(x, 1)
    results = *results, F.adaptive_avg_pool2d(x, 2), F.pixel_shuffle(x, 2), F.group_norm(x, 2), torch.cat([x, x], 1)
    results = *results, torch.cat([x, torch.ones(2, 2, 4, 6)], 1), F.conv2d(torch.ones(2, 4, 4, 6), x)
    return [r.is_contiguous(memory_format=torch.channels_last) for r in results], [r.stride() for r in results]


@programs
def views_of_other_element_sizes_are_refused(torch):
    found = []
    for x in (torch.ones(4, 4).t(), torch.ones(4, 3)[:, :2]):
        try:
            found.append(x.view(torch.int64))
        except RuntimeError as error:
            found.append(str(error))
    return found


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


@programs
def multi_output_views_read(torch):
    x = torch.arange(4.0, requires_grad=True)
    a, b = (x * 2).chunk(2)
    (a * b).sum().backward()
    return x.grad, a.grad_fn is not None


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


#: views that do not exist -> (program, exception, words its message contains)
ERRORS = {
    "view of non-contiguous": (lambda t: t.zeros(2, 3).t().view(6), RuntimeError, "reshape"),
    "view of expanded": (lambda t: t.zeros(1, 2).expand(3, 2).view(6), RuntimeError, "reshape"),
    "view of strided": (lambda t: t.zeros(4, 5)[:, ::2].view(12), RuntimeError, "reshape"),
    "select range": (lambda t: t.zeros(3).select(0, 3), IndexError, "index 3", "size"),
    "select of 0-d": (lambda t: t.zeros(()).select(0, 0), IndexError, "0-dim"),
    "narrow start": (lambda t: t.zeros(3).narrow(0, 4, 1), IndexError, "range", "4"),
    "narrow length": (lambda t: t.zeros(3).narrow(0, 1, 3), RuntimeError, "exceeds dimension size (3)"),
    "narrow negative length": (lambda t: t.zeros(3).narrow(0, 1, -1), RuntimeError, "non-negative"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_views_made_without_grad():
    """They require grad as their base does, and are leaves: no gradient finds the way to what they show."""

    def program(torch):
        x = torch.ones(4, requires_grad=True)
        y, plain = x * 2, torch.ones(4)
        with torch.no_grad():
            views = [x.view(2, 2), x[1:], y.view(2, 2), *x.chunk(2), x.view(2, 2).T, plain.view(2, 2), x.detach()]
            integers = x.view(torch.int32)
        (views[0] * 2).sum().backward()
        return [(v.requires_grad, v.is_leaf, v.grad_fn is None) for v in views] + [
            x.grad, x.detach(), integers.requires_grad, (views[1] + 1).requires_grad,
        ]  # fmt: skip

    check(program)
    check_raises(_written_with_grad, RuntimeError, "A view was created in no_grad mode")


def _written_with_grad(torch):
    x = torch.ones(4, requires_grad=True)
    with torch.no_grad():
        v = x.view(2, 2)
    v.mul_(2)


@pytest.mark.parametrize(
    "view, words",
    [
        (lambda t: t.ones(4, 6, dtype=t.float16)[:, ::2].view(t.float32), ("self.size(-1)", "divisible by 2")),
        (lambda t: t.ones(4, 8, dtype=t.float16)[:, ::2].view(t.float32), ("self.stride(-1) must be 1",)),
        (lambda t: t.ones(7, dtype=t.float16)[1:].view(t.float32), ("self.storage_offset()", "divisible by 2")),
        (lambda t: t.ones(4, 7, dtype=t.float16)[:, :6].view(t.float32), ("self.stride(0)", "divisible by 2")),
        (lambda t: t.view_as_complex(t.ones(2, 3).t()[:2].t()), ("all but last dimension",)),
        (lambda t: t.view_as_complex(t.ones(9)[1:].view(4, 2)), ("storage_offset divisible by 2",)),
        (lambda t: t.view_as_complex(t.tensor(1.0)), ("one or more dimensions",)),
        (lambda t: t.view_as_complex(t.ones(2, 4).t()), ("last dimension with stride 1",)),
    ],
)
def test_bytes_that_do_not_lie_together(view, words):
    check_raises(view, RuntimeError, *words)


def test_shape_changed_in_place_without_grad_keeps_its_history():
    leaf = jtorch.ones(1, 2, requires_grad=True)
    for mode in (jtorch.no_grad, jtorch.inference_mode):
        x = leaf * 2
        with mode():
            x.t_()
        assert x.requires_grad and x.shape == (2, 1) and not x.is_inference()


@pytest.mark.parametrize("several", [
    lambda b: b.unbind()[1], lambda b: b.split(1)[0], lambda b: b.split([1, 2])[1], lambda b: b.chunk(2)[0],
    lambda b: list(b)[0], lambda b: b.unbind()[1][1:],
])  # fmt: skip
def test_views_that_came_with_others_are_not_written(several):
    program = lambda t: several(t.ones(3, 2, requires_grad=True).clone()).mul_(2)  # noqa: E731
    check_raises(program, RuntimeError, "returns multiple views")
    with jtorch.no_grad():
        program(jtorch)
    several(jtorch.ones(3, 2)).mul_(2)
    jtorch.ones(3, 2, requires_grad=True).clone().tensor_split(2)[0].mul_(2)
