"""Edges of functions, as PyTorch has them: sizes that overflow, formats in memory, indices out of order."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import types
import warnings

import pytest

import jtorch

from .both import Table, check, check_raises

programs = Table()


@programs
def lists_of_tensors_as_indices(torch):
    x = torch.arange(6.0).reshape(3, 2)
    y = x.clone()
    y[[torch.tensor([0, 2]), torch.tensor([1, 1])]] = 9.0
    return x[[torch.tensor([0, 2]), torch.tensor([1, 0])]], x[[torch.tensor(1), torch.tensor(0)]], y


@programs
def slope_of_lgamma_at_zero(torch):
    x = torch.tensor([0.0, -0.0, 0.5, -0.5], requires_grad=True)
    (slope,) = torch.autograd.grad(torch.lgamma(x).sum(), x, create_graph=True)
    return slope, torch.autograd.grad(slope.sum(), x)


@programs
def names_of_results(torch):
    eye = torch.eye(2)
    return repr(torch.triangular_solve(eye, eye)), torch.triangular_solve(eye, eye).solution


@programs
def strides_of_expanded_tensors(torch):
    shapes = [((5,), (1, 5)), ((5, 1), (1, 5, 1)), ((5, 1), (1, 2, 5, 1)), ((2, 5), (0, 2, 5)), ((1, 5), (3, 5))]
    return [torch.zeros(a).expand(b).stride() for a, b in shapes]


@programs
def nan_equals_no_other_in_unique(torch):
    nan = float("nan")
    x = torch.tensor([[1.0, nan], [1.0, nan], [0.0, 1.0], [0.0, 1.0]])
    scalar = torch.unique(torch.tensor(3.0), return_inverse=True, return_counts=True)
    return torch.unique(torch.tensor([nan, 2.0, nan])), torch.unique(x, dim=0), scalar


@programs
def whole_numbers_evenly_spaced(torch):
    return [torch.linspace(a, b, n, dtype=torch.int64) for a, b, n in ((-5, 93, 50), (1, 127, 50), (10, -7, 33))]


@programs
def integers_beyond_64_bits_as_floats(torch):
    return [torch.tensor(n, dtype=d) for n in (2**63, 2**64, [2**70, 1]) for d in (torch.float32, torch.float64)]


@programs
def sorted_numbers_of_another_dtype(torch):
    b, n = torch.tensor([0.5, 1.5]), torch.tensor([1, 2])
    return torch.bucketize(n, b), torch.bucketize(b, n), torch.searchsorted(n[None], b[None].double())


@programs
def outer_product_added_to_another_dtype(torch):
    half, whole = torch.ones(2).half(), torch.ones(2, dtype=torch.int64)
    return [torch.addr(torch.ones(2, 2), a, b) for a, b in ((half, half), (whole, half), (whole, whole))]


@programs
def sparse_matrices_beside_each_other(torch):
    s = torch.eye(2).to_sparse()
    return torch.hstack([s, s]).to_dense(), torch.vstack([s, s]).to_dense(), torch.any(s), (s * 0).any()


@programs
def poolings_of_nothing(torch):
    F, none = torch.nn.functional, torch.zeros(0, 2, 3, 3, dtype=torch.int64)
    return (
        F.max_unpool2d(torch.ones(0, 2, 3, 3), none, 2), F.fractional_max_pool2d(torch.ones(1, 2, 4, 4), 2, 0),
        F.adaptive_max_pool2d(torch.ones(0, 2, 4, 4), 2),
    )  # fmt: skip


@programs
def samples_of_a_number_beside_tensors(torch):
    t = torch.distributions.StudentT(3.0, torch.zeros(5, 1), torch.ones(3))
    return (
        list(t.batch_shape),
        list(t.sample().shape),
        list(t.sample((2,)).shape),
        t.expand((4, 5, 3)).sample().shape[0],
    )


@programs
def methods_of_the_class_and_products_of_compressed_matrices(torch):
    rows, T = torch.tensor([[1.0, 0, 2], [0, 3, 0]]).to_sparse_csr(), torch.Tensor
    columns, pairs = rows.to_sparse_csc(), rows.to_sparse_coo().coalesce()
    return (
        T.crow_indices(rows), T.col_indices(rows), T.values(rows), T.ccol_indices(columns), T.row_indices(columns),
        T.indices(pairs), T.values(pairs), T._nnz(pairs),
        torch.addmv(torch.ones(2), rows, torch.ones(3), beta=2, alpha=3),
    )  # fmt: skip


@programs
def files_of_modules_without_shapes(torch):
    file = io.BytesIO()
    torch.save(torch.nn.LazyBatchNorm1d().state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=False)
    torch.nn.LazyBatchNorm1d().load_state_dict(state)
    return {name: type(t).__name__ for name, t in state.items()}


@programs
def gradients_of_extremes_that_are_nan(torch):
    nan, found = float("nan"), []
    for values in ((nan, nan, nan), (nan, 2.0, 2.0), (1.0, nan, 3.0), (1.0, 0.0, 1.0), (float("inf"), 0.0, 0.0)):
        for f in (torch.max, torch.min, torch.median, torch.nanmedian):
            x = torch.tensor(values, requires_grad=True)
            y = f(x)
            (slope,) = torch.autograd.grad(y, x)
            found += [y.detach(), slope, torch.autograd.functional.jvp(f, x, torch.tensor([1.0, 2.0, 4.0]))[1]]
    return found, [f(torch.tensor([[3, 1], [2, 3]])) for f in (torch.max, torch.min, torch.median, torch.nanmedian)]


@programs
def condition_numbers_without_an_inverse(torch):
    matrices = torch.stack([torch.eye(2), torch.zeros(2, 2), torch.tensor([[1.0, 2], [2, 4]])])
    orders = ("fro", float("inf"), -float("inf"), 1, -1)
    found = [torch.linalg.cond(matrices, p) for p in orders]
    found += [torch.linalg.cond(torch.diag(torch.tensor([1.0, 4.0])), p) for p in (*orders, "nuc", 2, -2)]
    return found, [torch.linalg.cond(torch.ones(*n, 0, 0), p) for n in ((), (3,)) for p in (*orders, None, "nuc", 2)]


def test_tensors_of_other_layouts_are_no_distributed_ones():
    from jtorch.distributed.tensor import DTensor

    assert not isinstance(jtorch.eye(2).to_sparse(), DTensor)
    assert not isinstance(jtorch.nested.nested_tensor([jtorch.ones(2)]), DTensor)


@programs
def nothing_joined_with_nothing(torch):
    index = torch.empty(0, dtype=torch.int64)
    return torch.cat([torch.ones(0), torch.ones(0)], dim=1), torch.ones(3, 2).scatter(0, index, torch.ones(0))


@programs
def gradients_where_points_coincide(torch):
    F, found = torch.nn.functional, []
    for p in (0, 1, 1.5, 2, float("inf")):
        x = torch.ones(2, 3, requires_grad=True)
        (F.pdist(x, p).sum() + torch.cdist(x, torch.ones(1, 3), p).sum()).backward()
        found.append(x.grad.abs())
    return found


@programs
def gradients_of_an_empty_batch(torch):
    x, layer = torch.ones(0, 3, 2, requires_grad=True), torch.nn.BatchNorm1d(3)
    layer(x).sum().backward()
    empty = torch.nn.functional.grid_sample(torch.ones(2, 0, 3, 3), torch.zeros(2, 4, 5, 2), align_corners=False)
    return layer.weight.grad, layer.bias.grad, x.grad, layer.running_mean, empty


@programs
def gradients_by_an_iterator_of_tensors(torch):
    layer = torch.nn.Linear(2, 1)
    found = torch.autograd.grad(layer(torch.ones(2)).sum(), layer.parameters())
    return found, torch.autograd.grad([layer(torch.ones(2)).sum()], iter([layer.bias]))


@programs
def results_larger_than_the_view_they_are_written_to(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base, values, indices = torch.zeros(6), torch.zeros(6)[::2], torch.zeros(6, dtype=torch.int64)[::2]
        torch.sort(torch.tensor([3.0, 2.0, 1.0, 5.0]), out=(values, indices))
        return values, indices, torch.add(torch.ones(4), 1, out=base[::3])


@programs
def one_warning_at_the_line_of_the_call(torch):
    found = []
    for loss in (torch.nn.functional.mse_loss, torch.nn.functional.smooth_l1_loss, torch.nn.L1Loss()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss(torch.ones(3, 1, requires_grad=True), torch.ones(3))
        found.append([str(w.message) for w in caught])
    return found


@programs
def ravel_is_contiguous(torch):
    x = torch.arange(10.0)[::2].ravel()
    return x, x.is_contiguous(), torch.arange(6.0).reshape(2, 3).t().ravel()


@programs
def resized_in_place(torch):
    made = []
    for start in (torch.arange(16.0), torch.arange(16.0).view(1, 4, 2, 2).to(memory_format=torch.channels_last)):
        a, b, c = (start.clone() for _ in range(3))
        a.resize_(2, 2, 2, 2)
        b.resize_((1, 4, 2, 2), memory_format=torch.channels_last)
        c.resize_as_(b, memory_format=torch.preserve_format)
        made += [a, a.stride(), b, b.stride(), c, c.stride(), start.clone().resize_as_(b).stride()]
    return made


@programs
def made_channels_last(torch):
    x = torch.empty(2, 3, 4, 5, memory_format=torch.channels_last)
    return x.stride(), x.is_contiguous(memory_format=torch.channels_last), torch.zeros(2, 3).stride()


@programs
def splits_at_any_indices(torch):
    x = torch.arange(10)
    return [torch.tensor_split(x, cuts) for cuts in [(3, -1, 5), (5, 3), (20, 30), (-20, 30), (0,), ()]]


@programs
def numbers_among_tensors_as_old_optimizers_write_them(torch):
    a, b, c, m = torch.ones(3), torch.full((3,), 2.0), torch.full((3,), 4.0), torch.ones(3, 3)
    p = torch.zeros(3, requires_grad=True)
    p.data.add_(-0.1, c)
    p.data.addcdiv_(-0.5, b, c)
    x = torch.ones(1, 3, 3)
    return [
        p, torch.add(a, 2, b), a.sub(2, b), a.clone().sub_(2, b), torch.addcmul(a, 3, b, c), a.addcmul(3, b, c),
        a.clone().mul_(0.9).addcmul_(0.1, b, b), torch.addcdiv(a, 3, b, c), torch.addmm(2, m, m, m),
        torch.addmm(2, m, 3, m, m), m.addmm(2, m, m), m.clone().addmm_(2, 3, m, m), b.addmv(2, m, b),
        torch.addr(2, m, b, c), torch.baddbmm(2, x, 3, x, x), torch.addbmm(2, m, x, x),
    ]  # fmt: skip


@programs
def diagonals_filled(torch):
    made = []
    for x in (torch.zeros(7, 3), torch.zeros(3, 7).t(), torch.zeros(14, 3)[::2], torch.zeros(3, 7), torch.zeros(8, 3)):
        made += [x.clone().fill_diagonal_(1), x.fill_diagonal_(1, wrap=True)]
    return made, torch.zeros(2, 2, 2).fill_diagonal_(3), torch.zeros(2, 2, 2).transpose(0, 2).fill_diagonal_(3)


@programs
def sizes_are_ints(torch):
    s = torch.Size(torch.tensor([2, 3]))
    return s, [type(n) is int for n in s], torch.Size([torch.tensor(2), 3]), torch.Size([2]) + (3,), (3,) + s


@programs
def order_of_dimensions(torch):
    x = torch.empty(2, 3, 4, 5)
    formats = [torch.contiguous_format, torch.channels_last]
    return x.dim_order(), x.transpose(1, 2).dim_order(), x[:1].dim_order(ambiguity_check=formats)


@programs
def types_by_class(torch):
    x = torch.ones(2, dtype=torch.int32)
    return x.type(torch.Tensor), x.type("torch.DoubleTensor"), x.new(size=(3, 4)).shape


@programs
def checks_that_hold(torch):
    torch._check(True, lambda: "no")
    torch._check_tensor_all(torch.tensor([True, True]))
    torch._check_with(ValueError, 1 < 2, lambda: "no")


@pytest.mark.parametrize("name", programs)
def test_as_in_pytorch(name):
    check(programs[name])


HUGE = "overflowed"
ERRORS = {
    "empty": (lambda t: t.empty(2**31, 2**31, 2**20), RuntimeError, HUGE),
    "zeros": (lambda t: t.zeros(2**62), RuntimeError, HUGE),
    "full": (lambda t: t.full((2**40, 2**40), 1), RuntimeError, HUGE),
    "rand": (lambda t: t.rand(2**62), RuntimeError, HUGE),
    "expand": (lambda t: t.zeros(3).expand(2**40, 2**40, 3), RuntimeError),
    "float index": (lambda t: t.zeros(3)[1.0], IndexError, "integers"),
    "slice of text": (lambda t: t.zeros(3)["0":"1"], TypeError, "slice indices"),
    "unravel floats": (lambda t: t.unravel_index(t.tensor(0.5), (2, 2)), TypeError, "integer", "float32"),
    "unravel negative": (lambda t: t.unravel_index(t.tensor(1), (-1, 3)), ValueError, "negative"),
    "unravel text": (lambda t: t.unravel_index(t.tensor(1), "a"), TypeError, "ints"),
    "broadcast negative": (lambda t: t.broadcast_shapes((-12,), (1,)), ValueError, "negative"),
    "split of a number": (lambda t: t.tensor_split(t.tensor(1.0), 2), RuntimeError, "0 dims"),
    "split at floats": (lambda t: t.tensor_split(t.zeros(3), t.tensor([1.0])), RuntimeError, "long", "Float"),
    "split at a matrix": (lambda t: t.tensor_split(t.zeros(3), t.tensor([[1]])), RuntimeError, "one-dimensional"),
    "resize to preserve": (
        lambda t: t.zeros(4).resize_((2, 2), memory_format=t.preserve_format), RuntimeError, "memory format"),
    "size of floats": (lambda t: t.Size([1.0]), TypeError, "item 0", "float"),
    "size of a float tensor": (lambda t: t.Size(t.ones(3)), TypeError, "item 0", "Tensor"),
    "size of text": (lambda t: t.Size("ab"), TypeError, "str"),
    "size and a number": (lambda t: t.Size([1]) + 3, TypeError, "int"),
    "no subclass": (lambda t: t.ones(2).as_subclass(int), TypeError, "Tensor"),
    "no class": (lambda t: t.ones(2).as_subclass("a"), TypeError, "str"),
    "check of a number": (lambda t: t._check(1), TypeError, "bool", "int"),
    "check of a tensor": (lambda t: t._check(t.tensor(True)), TypeError, "bool", "Tensor"),
    "check with a text": (lambda t: t._check(False, "no"), TypeError, "callable"),
    "check with": (lambda t: t._check_with(KeyError, False, lambda: "no"), KeyError, "no"),
    "check of all": (lambda t: t._check_tensor_all(t.tensor([True, False])), RuntimeError),
    "deterministic": (lambda t: t.use_deterministic_algorithms(1), TypeError, "bool", "int"),
    "threads": (lambda t: t.set_num_threads(1.5), RuntimeError, "int", "float"),
    "no dimensions": (lambda t: t.zeros(4).fill_diagonal_(1), RuntimeError, "1"),
    "dimensions differ": (lambda t: t.zeros(2, 2, 3).fill_diagonal_(1), RuntimeError, "equal length"),
    "ambiguous order": (lambda t: t.zeros(1, 1).dim_order(ambiguity_check=True), RuntimeError, "unique"),
    "ambiguity text": (lambda t: t.zeros(1, 1).dim_order(ambiguity_check="a"), TypeError, "bool"),
    "normal shapes": (lambda t: t.normal(t.zeros(2), t.ones(3)), RuntimeError, "size of tensor a (2)"),
    "negative deviation": (lambda t: t.normal(t.zeros(2), -1), RuntimeError, "std >= 0"),
    "apply a text": (lambda t: t.ones(2).apply_("a"), TypeError, "callable"),
    "apply makes text": (lambda t: t.ones(2).apply_(lambda x: "a"), TypeError, "number"),
    "three tensors": (lambda t: t.add(t.ones(1), t.ones(1), 2), TypeError, "positional"),
    "channels last of 3": (lambda t: t.zeros(4).resize_((2, 2, 1), memory_format=t.channels_last), RuntimeError, "4"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    program, error, *words = ERRORS[name]
    check_raises(program, error, *words)


def test_deprecated_indices_warn():
    x = jtorch.arange(3)
    with pytest.warns(UserWarning, match="uint8"):
        assert x[jtorch.tensor([1, 0, 1], dtype=jtorch.uint8)].tolist() == [0, 2]
    with pytest.warns(UserWarning, match="list as an index"):
        assert x[[jtorch.tensor([2, 0])]].tolist() == [2, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x[[2, 0]].tolist() == [2, 0]


def test_a_view_is_resized_within_its_storage():
    x = jtorch.arange(6.0)
    view = x[1:4]
    view.resize_(2, 2)
    assert view.tolist() == [[1, 2], [3, 4]]
    view[0, 0] = 9
    assert x[1].item() == 9
    with pytest.raises(RuntimeError, match="storage"):
        view.resize_(3, 3)


def test_old_forms_say_how_to_write_them():
    with pytest.warns(UserWarning, match=r"addcdiv_\(\.\.\., value=-0\.5\)"):
        jtorch.ones(2).addcdiv_(-0.5, jtorch.ones(2), jtorch.ones(2))


def test_a_file_is_whole_when_save_returns(tmp_path):
    with open(tmp_path / "x.pt", "wb") as stream:
        jtorch.save({"a": jtorch.ones(3)}, stream)
        assert jtorch.load(tmp_path / "x.pt")["a"].tolist() == [1, 1, 1]


def test_storages_copied_and_measured():
    storage = jtorch.arange(100.0).storage()
    assert copy.copy(storage).tolist() == storage.tolist()
    assert copy.copy(storage.untyped()).tolist() == storage.untyped().tolist()
    assert sys.getsizeof(storage) - sys.getsizeof(jtorch.ones(0).storage()) == 400
    assert storage.complex_double().dtype is jtorch.complex128 and not storage.resizable()


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [
        (lambda t: t.nn.functional.ctc_loss(t.zeros(5, 2, 3), t.ones(2, 4, dtype=t.int64), [5, 5], [4, 5]),
         RuntimeError, ("target_lengths", "at most 4")),
        (lambda t: t.nn.functional.ctc_loss(t.zeros(5, 2, 3), t.ones(2, 4, dtype=t.int64), [6, 5], [4, 4]),
         RuntimeError, ("input_lengths", "at most 5", "got value 6")),
        (lambda t: t.nn.functional.ctc_loss(t.zeros(5, 2, 3), t.ones(2, 4, dtype=t.int64), t.ones(2), t.ones(2)),
         RuntimeError, ("must be integral",)),
        (lambda t: t.nn.GroupNorm(4, 4)(t.ones(1, 4, 1)), ValueError, ("more than 1 value",)),
        (lambda t: t.nn.ReflectionPad1d(1)(t.ones(3, 0, 4)), RuntimeError, ("2D or 3D",)),
        (lambda t: t.nn.functional.interpolate(t.ones(1, 1, 2, 2), size=(2.5, 2.5)), TypeError, ("2.5",)),
        (lambda t: t.nn.functional.fractional_max_pool2d(t.ones(1, 1, 4, 4), 2, output_ratio=(0.5, 0.5, 0.5)),
         ValueError, ("output_ratio",)),
        (lambda t: t.nn.functional.fractional_max_pool2d(t.ones(1, 0, 4, 4), 2, 2), RuntimeError, ("dimension 1",)),
        (lambda t: t.nn.functional.adaptive_max_pool2d(t.ones(1, 0, 4, 4), 2), RuntimeError, ("dimension 1",)),
        (lambda t: t.nn.functional.adaptive_avg_pool3d(t.ones(1, 0, 4, 4, 4), 2), RuntimeError, ("dimension 1",)),
        (lambda t: t.nn.functional.max_unpool2d(t.ones(2, 2), t.ones(2, 2, dtype=t.int64), 2),
         RuntimeError, ("3d or 4d", "2 dimensions")),
        (lambda t: t.nn.functional.max_unpool2d(t.ones(1, 2, 2), t.ones(1, 2, 2, dtype=t.int32), 2),
         RuntimeError, ("int64", "int32")),
        (lambda t: t.nn.functional.max_unpool3d(t.ones(1, 2, 2, 2), t.ones(1, 2, 2, 2, dtype=t.int64), (1, 1)),
         RuntimeError, ("exactly", "elements")),
        (lambda t: t.nn.utils.weight_norm(t.nn.LazyLinear(3)), ValueError, ("WeightNorm", "uninitialized")),
        (lambda t: t.nn.utils.spectral_norm(t.nn.LazyLinear(3)), ValueError, ("SpectralNorm", "uninitialized")),
        (lambda t: t.nn.LazyLinear(3).weight + 1, ValueError, ("uninitialized parameter",)),
        (lambda t: t.empty_like(t.nn.LazyLinear(3).weight), ValueError, ("uninitialized parameter",)),
        (lambda t: t.nn.LazyLinear(3).weight.numel(), ValueError, ("uninitialized parameter",)),
        (lambda t: t.ones(2).index_put([], t.ones(1)), RuntimeError, ("a tensor among the indices",)),
        (lambda t: t.ones(2).index_put([None], t.ones(1)), TypeError, ("a tensor among the indices",)),
        (lambda t: t.histogramdd(t.ones(3), [2]), RuntimeError, ("at least 2 dimensions",)),
        (lambda t: t.linalg.cond(t.ones(2, 3), "fro"), RuntimeError, ("square",)),
        (lambda t: t.nn.Fold((4, 5), (2, 2), dilation=8)(t.ones(1, 12, 12)), RuntimeError, ("too small",)),
        (lambda t: t.nn.functional.grid_sample(t.ones(1, 1, 2, 2), t.zeros(1, 1, 1, 3)), RuntimeError, ("size 2",)),
        (lambda t: t.nn.Linear(1, 1).to(t.device("cpu"), True), TypeError, ("device, bool",)),
        (lambda t: t.nn.Linear(1, 1).to(t.float64, "cpu"), TypeError, ("invalid combination",)),
        (lambda t: t.nn.Linear(1, 1).to("cpu", copy=True), RuntimeError, ("copy",)),
        (lambda t: t.frombuffer([1, 2], dtype=t.float32), ValueError, ("buffer protocol",)),
        (lambda t: t.frombuffer(b"", dtype=t.float32), ValueError, ("must not be 0",)),
        (lambda t: t.ones(2, 3, 4).H, RuntimeError, ("only supported on matrices",)),
        (lambda t: t.ones(2).mH, RuntimeError, ("only supported on matrices",)),
        (lambda t: float(t.tensor(1.5j)), RuntimeError, ("cannot be converted",)),
        (lambda t: t.unique(t.tensor(1.0), dim=0), IndexError, ("no dimensions",)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Default grid_sample")
def test_wrong_arguments_are_refused(program, error, words):
    check_raises(program, error, *words)


def test_public_functions_are_pickled_by_name():
    for module in (jtorch, jtorch.nn.functional, jtorch.linalg, jtorch.special, jtorch.fft):
        for name in dir(module):
            f = getattr(module, name)
            here = isinstance(f, types.FunctionType) and f.__module__ == module.__name__
            if here and name == f.__name__ and not name.startswith("_"):
                assert pickle.loads(pickle.dumps(f)) is f
    for f in (jtorch.nn.functional.gelu, jtorch.softmax, jtorch.atleast_2d, jtorch.linalg.norm, jtorch.hann_window):
        assert pickle.loads(pickle.dumps(f)) is f
    layer = jtorch.nn.Module()
    layer.activation = jtorch.nn.functional.gelu
    assert copy.deepcopy(layer).activation is layer.activation


def test_byte_strings_of_python_2():
    data = (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x01(U\x10protocol_versionq\x02M\xe9"
        b"\x03U\ntype_sizesq\x03}q\x04(U\x03intq\x05K\x04U\x05shortq\x06K\x02U\x04longq\x07K\x04uU\rlittle_endianq"
        b"\x08\x88u.\x80\x02]q\x01(U\x02\xc5\xbcq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((U\x07storageq\x04ctorch\n"
        b"FloatStorage\nq\x05U\x0212q\x06U\x03cpuq\x07\x8a\x01\x01NtQK\x00K\x01\x85K\x01\x85\x89NtRq\x08K\x02e."
        b"\x80\x02]q\x01U\x0212q\x02a.\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80?"
    )
    for encoding, text in (("bytes", "\u017c".encode()), ("utf-8", "\u017c")):
        found = jtorch.load(io.BytesIO(data), encoding=encoding)
        assert found[0] == text and found[1].tolist() == [1.0] and found[2] == 2
