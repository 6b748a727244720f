"""``x[index]`` and ``x[index] = value``: every kind of index, alone and mixed, with gradients."""

from __future__ import annotations

import numpy as np
import pytest

import jtorch
from jtorch import debug

from .both import Table, check, check_raises

SHAPE = (4, 3, 5)


def base(torch, grad=False):
    return torch.tensor(np.arange(60.0).reshape(SHAPE), requires_grad=grad)


def long(torch, data):
    return torch.tensor(data, dtype=torch.int64)


#: name -> index, given the library and the tensor
INDICES = {
    "int": lambda t, x: 2,
    "negative int": lambda t, x: -1,
    "ints": lambda t, x: (1, -2),
    "all ints": lambda t, x: (1, 2, 3),
    "slice": lambda t, x: slice(1, 3),
    "slice clamps": lambda t, x: slice(-10, 10),
    "empty slice": lambda t, x: slice(3, 1),
    "steps": lambda t, x: (slice(None, None, 2), slice(1, None), slice(0, 5, 3)),
    "slice with tensor ends": lambda t, x: slice(long(t, 1), long(t, 3)),
    "slice with numpy ends": lambda t, x: slice(np.int64(1), np.int32(3)),
    "none": lambda t, x: None,
    "none in between": lambda t, x: (slice(None), None, 1),
    "ellipsis": lambda t, x: (Ellipsis, 1),
    "ellipsis between": lambda t, x: (0, Ellipsis, slice(1, 3)),
    "ellipsis of nothing": lambda t, x: (0, 1, Ellipsis, 2),
    "empty tuple": lambda t, x: (),
    "numpy int": lambda t, x: np.int64(2),
    "numpy 0-d": lambda t, x: np.array(1),
    "list": lambda t, x: [0, 2, 2],
    "negative list": lambda t, x: [-1, 0],
    "list of one": lambda t, x: [1],
    "empty list": lambda t, x: [],
    "lists": lambda t, x: ([0, 1], [2, 0]),
    "nested list": lambda t, x: [[0, 1], [2, 0]],
    "list with slice": lambda t, x: (slice(1, 3), [0, 2]),
    "tuple inside": lambda t, x: ((0, 1), slice(None)),
    "range": lambda t, x: (range(2),),
    "bool list": lambda t, x: [True, False, True, False],
    "numpy array": lambda t, x: np.array([3, 1]),
    "numpy mask": lambda t, x: np.array([True, False, False, True]),
    "tensor": lambda t, x: long(t, [1, 1, 3]),
    "tensor int32": lambda t, x: t.tensor([1, 3], dtype=t.int32),
    "matrix": lambda t, x: long(t, [[0, 1], [2, 3]]),
    "0-d tensor": lambda t, x: long(t, 2),
    "0-d tensor negative": lambda t, x: long(t, -1),
    "0-d tensors": lambda t, x: (long(t, 2), long(t, 1)),
    "0-d then slice": lambda t, x: (long(t, 2), slice(1, None)),
    "slice then 0-d": lambda t, x: (slice(1, None), long(t, 0)),
    "0-d then list": lambda t, x: (long(t, 2), slice(None), [0, 1]),
    "pending 0-d": lambda t, x: (x[:, 0, 0].argmax(), slice(None)),
    "pending 0-d between": lambda t, x: (slice(None), x[0, :, 0].argmax(), [0, 1]),
    "pending 0-d apart": lambda t, x: (x[:, 0, 0].argmax(), slice(None), [0, 1]),
    "pending 0-d alone": lambda t, x: x[:, 0, 0].argmin(),
    "pending tensor": lambda t, x: x[:, 0, 0].argsort(descending=True),
    "tensors": lambda t, x: (long(t, [0, 1]), long(t, [2, 0])),
    "tensors broadcast": lambda t, x: (long(t, [[0], [1]]), long(t, [2, 0, 1])),
    "tensors apart": lambda t, x: (long(t, [0, 1]), slice(None), long(t, [2, 4])),
    "tensors apart with slice": lambda t, x: (long(t, [0, 1]), slice(1, 3), long(t, [2, 4])),
    "int and tensor": lambda t, x: (1, long(t, [0, 2])),
    "tensor and int apart": lambda t, x: (long(t, [0, 2]), slice(None), 3),
    "int, slice, tensor": lambda t, x: (1, slice(None), long(t, [0, 2])),
    "tensor after ellipsis": lambda t, x: (Ellipsis, long(t, [4, 0])),
    "tensor, none": lambda t, x: (long(t, [0, 1]), None),
    "none, tensor": lambda t, x: (None, long(t, [0, 1])),
    "tensor, none, tensor": lambda t, x: (long(t, [0, 1]), None, long(t, [2, 0])),
    "step and tensor": lambda t, x: (slice(None, None, 2), long(t, [2, 0]), slice(1, 4)),
    "mask": lambda t, x: x > 30,
    "mask of rows": lambda t, x: x[:, 0, 0] > 20,
    "mask of two": lambda t, x: x[:, :, 0] > 20,
    "mask inside": lambda t, x: (slice(None), x[0, :, 0] > 3),
    "mask and int": lambda t, x: (x[:, 0, 0] > 20, 1),
    "mask and tensor": lambda t, x: (x[:, 0, 0] > 20, long(t, [0, 2])),
    "mask of nothing": lambda t, x: x < 0,
    "uint8 mask": lambda t, x: (x > 30).to(t.uint8),
    "true": lambda t, x: True,
    "false": lambda t, x: False,
    "0-d mask": lambda t, x: t.tensor(True),
    "empty tensor": lambda t, x: long(t, []),
    "two ellipses": lambda t, x: (..., ...),
    "ellipses around an int": lambda t, x: (..., 1, ...),
    "ellipses around a slice": lambda t, x: (0, ..., slice(1, None), ...),
    "ellipses around None": lambda t, x: (..., None, ..., ...),
    "ellipses around a tensor": lambda t, x: (..., long(t, [1, 0]), ...),
    "ellipses of nothing": lambda t, x: (..., 1, ..., slice(1, None), slice(2), ..., None),
    "ellipses around an int not known yet": lambda t, x: (..., t.tensor([0, 1]).argmax(), ...),
}


@pytest.mark.parametrize("name", INDICES)
def test_get(name):
    def program(torch):
        x = base(torch, grad=True)
        got = x[INDICES[name](torch, x.detach())]
        (got * torch.arange(1, got.numel() + 1).reshape(got.shape).double()).sum().backward()
        return got, x.grad

    check(program)


@pytest.mark.parametrize("name", [n for n in INDICES if n != "uint8 mask"])
def test_set(name):
    """A number, a 0-d tensor, a tensor of the full shape, one that broadcasts; gradients to target and value."""

    def program(torch):
        results = []
        for kind in ("number", "0-d", "full", "row"):
            x = base(torch, grad=True)
            y = x * 2
            index = INDICES[name](torch, x.detach())
            shape = y.detach()[index].shape
            if kind == "row":
                shape = shape[-1:]
            if kind == "number":
                value = None
                y[index] = -5
            else:
                n = int(np.prod(shape)) if kind != "0-d" else 1
                value = torch.arange(1.0, n + 1, dtype=torch.float64).reshape(() if kind == "0-d" else shape)
                value.requires_grad_()
                y[index] = value * 3
            if name in ("list", "tensor") and kind == "full":
                continue  # repeated indices: which write wins is not specified
            total = (y * y).sum()
            leaves = [x] + ([] if value is None else [value])
            results += [y, *torch.autograd.grad(total, leaves, materialize_grads=True)]
        return results

    check(program)


programs = Table()


@programs
def assign_casts(torch):
    i = torch.zeros(3, dtype=torch.int64)
    i[0] = 2.9
    i[1] = torch.tensor(3.7)
    i[2] = True
    f = torch.zeros(3, dtype=torch.float16)
    f[:2] = torch.tensor([1, 2])
    f[2] = np.float64(0.1)
    b = torch.zeros(2, dtype=torch.bool)
    b[0] = 5
    return i, f, b


@programs
def assign_sequences_and_arrays(torch):
    x = torch.zeros(2, 3)
    x[0] = torch.tensor([1, 2, 3])
    x[1] = torch.from_numpy(np.array([4.0, 5.0, 6.0]))
    return x


@programs
def assign_broadcasts_leading_ones(torch):
    x = torch.zeros(2, 3)
    x[0] = torch.ones(1, 1, 3)
    x[:, 1] = torch.tensor([[7.0, 8.0]])
    return x


@programs
def assign_to_nothing(torch):
    x = torch.arange(3.0)
    x[3:] = 5
    x[torch.zeros(3, dtype=torch.bool)] = 5
    x[[]] = 5
    return x


@programs
def augmented_assignment(torch):
    x = torch.arange(6.0).reshape(2, 3)
    x[0] += 1
    x[:, 1] *= 10
    x[x > 20] -= 20
    x[[0, 1], [2, 0]] /= 2
    x[0][1] = -1
    x[..., None][1, 2] = -2
    return x


@programs
def masked_assignment(torch):
    x = torch.arange(6.0, requires_grad=True)
    y = x * 1
    y[y > 3] = torch.tensor([10.0, 20.0])
    y[y < 2] = y[y < 2] * 5
    y.sum().backward()
    return y, x.grad


@programs
def mask_of_leading_dimensions(torch):
    x = torch.zeros(3, 2)
    x[torch.tensor([True, False, True])] = torch.tensor([1.0, 2.0])
    x[torch.tensor([False, True, False])] = 9
    return x


@programs
def swap_rows(torch):
    x = torch.arange(6.0).reshape(3, 2)
    x[[0, 2]] = x[[2, 0]]
    return x


@programs
def scatter_add_by_index_put(torch):
    x = torch.zeros(4)
    x.index_put_((torch.tensor([0, 1, 0]),), torch.tensor([1.0, 2.0, 3.0]), accumulate=True)
    y = torch.zeros(2, 3)
    y.index_put_((torch.tensor([0, 1]), torch.tensor([2, 2])), torch.tensor(5.0))
    z = torch.zeros(2, 3).index_put((torch.tensor([0, 1]),), torch.ones(3))
    w = torch.index_put(torch.zeros(3), (torch.tensor([True, False, True]),), torch.tensor([1.0, 2.0]))
    return x, y, z, w


@programs
def repeated_indices_accumulate_in_the_gradient(torch):
    w = torch.arange(6.0).reshape(3, 2).requires_grad_()
    w[torch.tensor([0, 0, 2, 0])].sum().backward()
    return w.grad


@programs
def walking_over_a_tensor(torch):
    x = torch.arange(5.0)
    total = torch.zeros(())
    for i in range(len(x)):
        total = total * 0.5 + x[i]
    for row in x.reshape(5, 1):
        total = total + row[0]
    return total, [v.item() for v in x], list(x), [float(v) for v in reversed(x)]


@programs
def index_functions(torch):
    x = torch.arange(12.0).reshape(3, 4)
    i = torch.tensor([2, 0])
    return [
        x.index_select(1, i), x.take(torch.tensor([0, 11, -1])), x.gather(1, torch.tensor([[0], [3], [1]])),
        torch.take_along_dim(x, x.argmax(1, keepdim=True), 1), x.index_fill(0, i, -1.0), x.masked_fill(x > 5, 0.0),
        x.index_add(0, i, torch.ones(2, 4)), x.index_copy(1, i, torch.zeros(3, 2)), x.masked_select(x > 8),
        x.scatter(1, torch.tensor([[0], [1], [2]]), 9.0), x.nonzero(), torch.where(x > 10), x.argwhere().shape,
        torch.where(x > 5, x, -1.0), x.where(x > 3, torch.zeros(())), x.select_scatter(torch.zeros(4), 0, 1),
    ]  # fmt: skip


@programs
def scalars_as_indices(torch):
    x = torch.arange(4.0)
    i = torch.tensor(2)
    data = [10, 20, 30]
    return x[i], data[i], data[torch.tensor([1])], list(range(i)), "ab"[torch.tensor(1, dtype=torch.uint8)], x[i.item()]


@programs
def indexing_keeps_a_view_or_copies(torch):
    x = torch.zeros(3, 3)
    x[0].fill_(1)
    x[[1]].fill_(2)
    x[x == 0][0] = 5
    y = x[...]
    y[2, 2] = 7
    return x, y._is_view(), x[[0]]._is_view(), x[True].shape


@programs
def bool_and_int_scalars_mixed(torch):
    x = torch.arange(6).reshape(2, 3)
    return x[True, 1], x[None, True].shape, x[False].shape, x[0, True].shape


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


def assigning(index, value, shape=(3, 4)):
    def program(torch):
        x = torch.zeros(shape)
        x[index(torch)] = value(torch)

    return program


ERRORS = {
    "int": (lambda t: t.zeros(3)[3], IndexError, "index 3", "dimension 0", "size 3"),
    "negative int": (lambda t: t.zeros(3)[-4], IndexError, "index -4", "size 3"),
    "int in the second place": (lambda t: t.zeros(3, 2)[0, 2], IndexError, "index 2", "dimension 1", "size 2"),
    "assigned int": (assigning(lambda t: 5, lambda t: 1.0), IndexError, "index 5", "size 3"),
    "too many": (lambda t: t.zeros(3)[0, 0], IndexError, "too many indices", "dimension 1"),
    "0-d": (lambda t: t.zeros(())[0], IndexError, "0-dim"),
    "negative step": (lambda t: t.zeros(3)[::-1], ValueError, "step must be greater than zero"),
    "zero step": (lambda t: t.zeros(3)[::0], ValueError, "step"),
    "float": (lambda t: t.zeros(3)[1.5], (TypeError, IndexError), "indices"),
    "text": (lambda t: t.zeros(3)["a"], (TypeError, IndexError), "indices"),
    "float tensor": (lambda t: t.zeros(3)[t.tensor([1.0])], IndexError, "long, int, byte or bool"),
    "mask shape": (lambda t: t.zeros(3)[t.tensor([True, False])], IndexError, "mask [2]", "tensor [3]"),
    "mask of many dimensions": (lambda t: t.zeros(3)[t.zeros(3, 1).bool()], IndexError),
    "list out of range": (lambda t: t.zeros(3)[[0, 3]].sum().item(), IndexError, "out of bounds", "size 3"),
    "tensor out of range": (lambda t: t.zeros(3)[t.tensor([0, -4])].sum().item(), IndexError, "out of bounds",
                            "size 3"),
    "pending tensor out of range": (lambda t: t.zeros(3)[t.arange(4)].tolist(), IndexError, "size 3"),
    "0-d out of range": (lambda t: t.zeros(3)[t.tensor(3)].item(), IndexError, "3"),
    "pending 0-d out of range": (lambda t: t.zeros(3)[t.arange(4.0).argmax()].item(), IndexError, "size 3"),
    "indices do not broadcast": (lambda t: t.zeros(3, 3)[[0, 1], [0, 1, 2]], IndexError, "broadcast", "[2], [3]"),
    "empty dimension": (lambda t: t.zeros(0)[t.tensor([0])].tolist(), IndexError, "size 0"),
    "value shape": (assigning(lambda t: 0, lambda t: t.zeros(3)), RuntimeError, "4", "3"),
    "value shape by index": (assigning(lambda t: [0, 1], lambda t: t.zeros(3)), RuntimeError, "shape mismatch", "[3]",
                             "[2, 4]"),
    "value shape by mask": (
        assigning(lambda t: t.ones(3, 4).bool(), lambda t: t.zeros(5)), (RuntimeError, IndexError), "5", "12"),
    "value dtype": (
        assigning(lambda t: [0, 1], lambda t: t.zeros(4, dtype=t.int64)), RuntimeError, "Float", "Long",
        "dtypes match"),
    "value text": (assigning(lambda t: 0, lambda t: "a"), (TypeError, ValueError, RuntimeError)),
    "assigned tensor index": (
        lambda t: _set_and_read(t, lambda x: x.__setitem__(t.tensor([7]), 1.0)), IndexError, "out of bounds", "size 3"),
    "index_select": (lambda t: t.zeros(3).index_select(0, t.tensor([3])).tolist(), (IndexError, RuntimeError), "range"),
    "gather": (lambda t: t.zeros(3).gather(0, t.tensor([3])).tolist(), RuntimeError, "size 3"),
    "scatter": (lambda t: t.zeros(3).scatter(0, t.tensor([3]), 1.0).tolist(), RuntimeError, "size 3"),
    "scatter_add": (lambda t: t.zeros(3).scatter_add(0, t.tensor([3]), t.ones(1)).tolist(), RuntimeError, "size 3"),
    "scatter_reduce": (
        lambda t: t.zeros(3).scatter_reduce(0, t.tensor([-1]), t.ones(1), "amax").tolist(), RuntimeError, "size 3"),
    "index_add": (lambda t: t.zeros(3).index_add(0, t.tensor([3]), t.ones(1)).tolist(), IndexError),
    "one_hot": (lambda t: t.nn.functional.one_hot(t.tensor([3]), 3).tolist(), RuntimeError, "class values"),
    "embedding_bag": (
        lambda t: t.nn.functional.embedding_bag(t.tensor([[3]]), t.ones(3, 2)).tolist(), RuntimeError),
    "max_unpool1d": (
        lambda t: t.nn.functional.max_unpool1d(t.ones(1, 1, 1), t.tensor([[[9]]]), 2).tolist(), RuntimeError),
    "repeat_interleave": (lambda t: t.ones(2).repeat_interleave(t.tensor([-1, 1])).tolist(), RuntimeError),
    "multi_margin_loss": (
        lambda t: t.nn.functional.multi_margin_loss(t.ones(1, 3), t.tensor([3])).item(), RuntimeError, "range"),
    "multilabel_margin_loss": (
        lambda t: t.nn.functional.multilabel_margin_loss(t.ones(1, 2), t.tensor([[2, -1]])).item(), RuntimeError,
        "range"),
    "ctc_loss": (
        lambda t: t.nn.functional.ctc_loss(t.zeros(4, 1, 3), t.tensor([[1]]), t.tensor([9]), t.tensor([1])).item(),
        RuntimeError, "at most 4"),
    "unique_consecutive": (lambda t: t.unique_consecutive(t.ones(2), dim=3), IndexError, "out of range"),
    "take": (lambda t: t.zeros(3).take(t.tensor([3])).tolist(), IndexError, "range", "3"),
    "index_put_ dtype": (
        lambda t: t.zeros(3).index_put_((t.tensor([0]),), t.tensor([1])), RuntimeError, "dtypes match"),
}  # fmt: skip


def _set_and_read(torch, write):
    x = torch.zeros(3)
    write(x)
    return x.tolist()


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_assigning_a_list():
    """PyTorch refuses sequences here; numbers nested in lists are unambiguous."""
    x = jtorch.zeros(2, 3)
    x[0] = [1, 2, 3]
    x[:, 2] = (7, 8)
    assert x.tolist() == [[1, 2, 7], [0, 0, 8]]


def test_floats_are_refused():
    """Where PyTorch truncates."""
    with pytest.raises(IndexError, match="long, int, byte or bool"):
        jtorch.zeros(3)[[1.0]]


@pytest.mark.parametrize("index", [(..., 0, ..., 0), (..., ..., None), (..., [0], ..., [1])])
def test_nothing_follows_a_second_ellipsis(index):
    with pytest.raises(IndexError):
        jtorch.zeros(2, 3, 4)[index]


def test_an_int_that_is_not_known_yet_gives_a_view():
    x = jtorch.zeros(3, 2)
    i = jtorch.tensor([0.0, 5.0, 1.0]).argmax()
    v = x[i]
    i.add_(1)  # the view stays where it was taken
    v.add_(4)
    x[i, 1] = 7
    x[..., i - 1][0] = 9
    assert x.tolist() == [[0, 9], [4, 4], [0, 7]] and v.tolist() == [4, 4] and v.storage_offset() == 2


def test_a_failed_write_keeps_the_last_good_value():
    x = jtorch.arange(3.0)
    x.tolist()
    x[jtorch.tensor([9])] = 5.0
    with pytest.raises(IndexError, match="size 3"):
        x.tolist()


def test_an_int_index_varies_without_recompiling():
    x = jtorch.arange(100.0)
    for i in range(4):
        x[i].item()
    before = jtorch.debug.counters()["compiles"]
    for i in range(4, 30):
        assert x[i].item() == i
    assert jtorch.debug.counters()["compiles"] == before


def test_augmented_assignment_writes_once(compiled_at_once):
    """``x[i] += 1`` assigns a view to the part that it shows: the storage is written by ``+=`` and not once more."""

    class Other(jtorch.Tensor):  # that there are subclasses changes nothing
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return super().__torch_function__(function, types, args, kwargs)

    Other([1.0]).sum()
    x = jtorch.zeros(50, 64)
    jtorch.sync()
    before = x._version
    x[:, 3] += 1
    assert x._version == before + 2
    x.sum().item()
    calls = debug.last_trace().calls
    assert len([c for c in calls if "select.put(" in c]) == 1, calls


def test_augmented_assignment_of_views(torch):
    def program(t):
        w = t.ones(4, 6, requires_grad=True)
        y = w * 2
        y[:, 1] *= 3
        y[0] += w[1]
        y[2] = y[2].detach()  # another history: written
        with t.no_grad():
            z = y[3]
        y[1:3][0] += 2
        y[3] = y[3]
        (y * y).sum().backward()
        base = t.zeros(5)
        other = base.view(5)
        other[2] += 1
        base[2:4] = other[2:4]
        return w.grad, y.detach(), base, z.detach()

    for ours, theirs in zip(program(jtorch), program(torch), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
