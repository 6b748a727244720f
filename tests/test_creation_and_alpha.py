"""What factories make of lists of tensors and of ``out=``, which ``alpha`` sums take, and what profiles add."""

import json

import pytest

import jtorch as torch


def test_lists_of_tensors():
    one = torch.tensor([1])
    assert torch.tensor([one, torch.tensor([[2]])]).tolist() == [1, 2]
    assert torch.tensor([(one, torch.tensor(2.5))]).tolist() == [[1, 2.5]]
    assert torch.as_tensor([torch.tensor(1.5), torch.tensor(2.5)]).dtype is torch.float32
    with pytest.raises(ValueError, match="only one element tensors"):
        torch.tensor([torch.tensor([1, 2]), torch.tensor([3, 4])])
    itself = [0]
    itself.append(itself)
    with pytest.raises(TypeError, match="self-referential"):
        torch.tensor(itself)


def test_sequences_fill_what_they_are_given():
    given = torch.zeros(3, 2, dtype=torch.int64).t()
    torch.arange(6, out=given)
    assert given.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.linspace(0, 3, 4, out=torch.zeros(2, 2)).tolist() == [[0, 1], [2, 3]]
    with pytest.warns(UserWarning, match="was resized"):
        assert torch.arange(3, out=torch.zeros(2, dtype=torch.int64)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("f", [torch.add, torch.sub, torch.rsub, lambda x, y, alpha: x.clone().add_(y, alpha=alpha)])
def test_alpha_is_not_rounded(f):
    whole, real = torch.ones(2, dtype=torch.int32), torch.ones(2)
    with pytest.raises(RuntimeError, match="alpha must not be a floating point number"):
        f(whole, whole, alpha=1.5)
    with pytest.raises(RuntimeError, match="alpha must not be a complex number"):
        f(real, real, alpha=1j)
    with pytest.raises(RuntimeError, match="Boolean alpha only"):
        f(real, real, alpha=True)
    assert f(real, real, alpha=2).dtype is torch.float32 and f(whole, whole, alpha=2).dtype is torch.int32


def test_profiles(tmp_path):
    with torch.profiler.profile(record_shapes=True) as prof:
        torch.ones(3).add(1).sum().item()
    prof.add_metadata("run", "first")
    prof.add_metadata_json("sizes", "[1, 2]")
    prof.export_chrome_trace(tmp_path / "trace.json")
    found = json.loads((tmp_path / "trace.json").read_text())
    assert found["run"] == "first" and found["sizes"] == [1, 2] and found["traceEvents"]
    with pytest.warns(UserWarning, match="groups by name only"):
        assert len(prof.key_averages(group_by_input_shape=True)) == len(prof.key_averages())


def test_names_of_functions_and_copies_of_graphs():
    import copy

    assert torch.typename(torch.log_).endswith(".log_") and torch.typename([]) == "list"
    assert torch.typename(torch.zeros(1)) == "torch.FloatTensor"
    module = torch.fx.symbolic_trace(torch.nn.Linear(1, 1))
    module.meta["itself"] = module
    again = copy.deepcopy(module)
    assert again.meta["itself"] is again and again.weight is not module.weight


def test_result_types_are_made_of_sequences():
    found = torch.ones(2, 2).max(0)
    again = type(found)(list(found))
    assert again.indices is found.indices and type(found)(*found).values is found.values
    assert torch.return_types.max((1, 2)).indices == 2
    (y,) = torch._foreach_addcdiv([torch.ones(1)], [torch.ones(1)], [torch.ones(1)], scalars=[2.0])
    assert y.item() == 3


@pytest.mark.parametrize("interpret", [True, False])
def test_sequences_are_rounded_as_pytorchs(interpret, monkeypatch):
    theirs = pytest.importorskip("torch")
    monkeypatch.setattr(torch.config, "interpret", interpret)
    spans = [(-1, 1), (0, 1), (-3.3, 7.1), (10, -2)]
    for start, end in spans:
        for n in (1, 2, 7, 28, 100):
            for name in ("float32", "float16", "bfloat16", "int32"):
                ours = torch.linspace(start, end, n, dtype=getattr(torch, name)).tolist()
                assert ours == theirs.linspace(start, end, n, dtype=getattr(theirs, name)).tolist(), (name, n)
        for n in (5, 16, 17, 100):
            given = start, end, (end - start) / n
            assert torch.arange(*given).tolist() == theirs.arange(*given).tolist(), n
    for n in (7, 28, 33):
        for corners in (False, True):
            ours, expected = (
                t.nn.functional.affine_grid(t.eye(2, 3)[None], (1, 1, n, n), align_corners=corners)
                for t in (torch, theirs)
            )
            assert ours.tolist() == expected.tolist(), (n, corners)


def test_unsigned_integers_beyond_int64():
    big = 2**63 + 1
    assert torch.tensor([1, big], dtype=torch.uint64).tolist() == [1, big]
    assert torch.tensor(big, dtype=torch.uint64).item() == big
    for data, error in ((-1, OverflowError), ([1, -1], OverflowError), ([1, 2**64], OverflowError)):
        with pytest.raises(error):
            torch.tensor(data, dtype=torch.uint64)
    for kind in (None, torch.uint8, torch.int64):
        with pytest.raises(ValueError, match="Overflow when unpacking"):
            torch.tensor([1, 2**63], dtype=kind)


def test_asarray():
    import numpy as np

    for given, dtype, error, words in (
        (np.float64(3), None, RuntimeError, "can't alias NumPy scalars"),
        (np.ones(3), torch.float32, ValueError, "dtype 'Double' into dtype 'Float'"),
        (torch.ones(2), torch.float64, ValueError, "dtype 'Float' into dtype 'Double'"),
        ([1, 2], None, ValueError, "arbitrary sequence"),
        (1, None, ValueError, "arbitrary sequence"),
    ):
        with pytest.raises(error, match=words):
            torch.asarray(given, dtype=dtype, copy=False)
    x = torch.ones(2)
    assert torch.asarray(x, copy=False) is x and torch.asarray(x, copy=True) is not x
    assert torch.asarray(x, requires_grad=True) is x and x.requires_grad
    with pytest.warns(UserWarning, match="unspecified requires_grad"):
        assert torch.asarray(x) is x
    assert not torch.asarray(x, requires_grad=False).requires_grad
    assert torch.asarray(bytearray(b"12"), dtype=torch.int16).tolist() == [12849]


def test_numbers_that_no_size_or_spread_can_be():
    for std in (-1, -1.5):
        for mean in (torch.zeros(2), 0.0):
            with pytest.raises(RuntimeError, match=f"normal expects std >= 0.0, but found std {std}"):
                torch.normal(mean, std, *(() if isinstance(mean, torch.Tensor) else ((2,),)))
    with pytest.raises(RuntimeError, match="non-complex"):
        torch.normal(torch.zeros(2), torch.ones(2, dtype=torch.complex64))
    assert torch.randperm(256, dtype=torch.uint8).sort().values.tolist() == list(range(256))
    with pytest.raises(RuntimeError):
        torch.randperm(257, dtype=torch.uint8)


@pytest.mark.parametrize("wrong", [True, 0.0])
def test_a_dimension_is_an_int(wrong):
    x = torch.ones(2, 2)
    for f in (x.sum, x.mean, x.cumsum, x.argmax, x.max, x.median, x.softmax, x.unsqueeze, x.sort, x.size):
        f(0)
        with pytest.raises(TypeError, match=f"int, not {type(wrong).__name__}"):
            f(wrong)
    with pytest.raises(TypeError, match="found element of type"):
        x.sum((0, wrong))
    with pytest.raises(TypeError):
        torch.zeros(2, wrong)


def test_the_first_bool_of_a_spread_is_unbiased_whatever_ran_before():
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    for f in (x.std, x.var, lambda *a: torch.std_mean(x, *a)[0], lambda *a: torch.var_mean(x, *a)[0]):
        assert f(0).shape == f(1).shape == (2,)
        assert f(False) == f(unbiased=False) if f in (x.std, x.var) else f(False).shape == ()
        assert f(True).shape == () and f(True) != f(False)
