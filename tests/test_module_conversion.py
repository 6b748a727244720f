"""Switches of ``torch.__future__``, and what else modules and their parts do when stored, loaded and sent."""

import copy
import io
import pickle
import warnings

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.nn.utils import parametrize, stateless


@pytest.fixture
def future():
    yield torch.__future__
    torch.__future__.set_overwrite_module_params_on_conversion(False)
    torch.__future__.set_swap_module_params_on_conversion(False)


def test_overwrite_on_conversion(future):
    module = nn.Linear(2, 2)
    before = module.weight
    assert module.double().weight is before
    before.grad = torch.ones_like(before)
    future.set_overwrite_module_params_on_conversion(True)
    assert future.get_overwrite_module_params_on_conversion()
    module.float()
    assert module.weight is not before and before.dtype is torch.float64
    assert module.weight.dtype is module.weight.grad.dtype is torch.float32
    assert isinstance(module.weight, nn.Parameter) and module.weight.requires_grad


@pytest.mark.parametrize("assign", [False, True])
def test_swap_on_load(future, assign):
    future.set_swap_module_params_on_conversion(True)
    module, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        other.weight += 2
    weight, mean = module.weight, module.running_mean
    other.running_mean += 1
    module.load_state_dict(other.state_dict(), assign=assign)
    assert module.weight is weight and isinstance(weight, nn.Parameter) and weight.requires_grad
    assert weight.tolist() == [3, 3] and mean.tolist() == [1, 1] and module.running_mean is mean
    module(torch.ones(3, 2)).sum().backward()
    assert weight.grad is not None

    class Scaled(torch.Tensor):
        def module_load(self, other, assign=False):
            return (other.as_subclass(torch.Tensor) * 2).detach()

    module.weight = nn.Parameter(torch.zeros(2).as_subclass(Scaled))
    module.load_state_dict(other.state_dict())
    assert module.weight.tolist() == [6, 6]


def test_uninitialized_loads_into_uninitialized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, other = nn.LazyLinear(3), nn.LazyLinear(3)
    module.load_state_dict(other.state_dict())
    assert module.has_uninitialized_params()


def test_parametrizations_are_checked():
    class Returns(nn.Module):
        def __init__(self, value=None, inverse=None):
            super().__init__()
            self.value = value
            if inverse is not None:
                self.right_inverse = inverse

        def forward(self, x):
            return x if self.value is None else self.value

    for first in (False, True):
        module = nn.Linear(2, 2)
        if first:
            parametrize.register_parametrization(module, "weight", Returns())
        for wrong, words in (
            ((1, 2), "must return a tensor"),
            (torch.ones(2, 2).bool(), "not change the dtype"),
            (torch.ones(3), "not change the shape"),
        ):
            with pytest.raises(ValueError, match=words):
                parametrize.register_parametrization(module, "weight", Returns(wrong))
        assert parametrize.is_parametrized(module) is first
    with pytest.raises(ValueError, match="must have the same shape"):
        parametrize.register_parametrization(module, "weight", Returns(inverse=lambda x: x[0]))
    with pytest.raises(ValueError, match="of the sequence with type NoneType"):
        parametrize.register_parametrization(module, "bias", Returns(inverse=lambda x: (None, x)))


def test_further_parametrization_is_applied_to_the_value():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, x):
            return x / 2

    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    parametrize.register_parametrization(module, "weight", Doubled())
    torch.testing.assert_close(module.weight, before)
    parametrize.register_parametrization(module, "weight", Doubled())
    torch.testing.assert_close(module.weight, 2 * before)


def test_a_tensor_with_a_history_is_pickled_as_a_leaf():
    x = torch.ones(2, requires_grad=True) * 2
    again = pickle.loads(pickle.dumps(x))
    assert again.is_leaf and again.requires_grad and again.tolist() == [2, 2]


def saved(x, **options):
    file = io.BytesIO()
    torch.save(x, file, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("zipped", [False, True])
def test_saved_storages(zipped):
    t = torch.arange(4.0)
    options = {"_use_new_zipfile_serialization": zipped}
    for weights_only in (False, True):
        x, storage = torch.load(saved([t, t.storage()], **options), weights_only=weights_only)
        assert isinstance(storage, torch.FloatStorage) and storage.tolist() == [0, 1, 2, 3] == x.tolist()
        storage[0] = 7
        assert x[0] == 7  # they share memory, as they did
        assert storage._cdata == x.untyped_storage()._cdata != t.untyped_storage()._cdata
        assert torch.load(saved(t.untyped_storage(), **options)).tolist() == t.untyped_storage().tolist()
    again = pickle.loads(pickle.dumps(storage))
    assert again.tolist() == [7, 1, 2, 3] and again.dtype is torch.float32
    raw = t.untyped_storage()
    assert pickle.loads(pickle.dumps(raw)).tolist() == raw.tolist()
    copied = copy.deepcopy(raw)
    copied[0] = 9
    assert raw[0] == 0


def test_which_format_a_file_has():
    for zipped in (False, True):
        file = saved(torch.ones(1), _use_new_zipfile_serialization=zipped)
        assert torch.serialization._is_zipfile(file) is zipped and file.tell() == 0


def test_pytorch_reads_saved_storages(tmp_path):
    pytorch = pytest.importorskip("torch")
    t = torch.arange(4.0)
    torch.save([t, t.storage()], tmp_path / "x.pt")
    x, storage = pytorch.load(tmp_path / "x.pt", weights_only=False)
    assert x.tolist() == [0, 1, 2, 3] and x.untyped_storage().data_ptr() == storage._untyped_storage.data_ptr()
    theirs = pytorch.arange(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytorch.save({"s": theirs.storage(), "b": pytorch.ones(2).untyped_storage()}, tmp_path / "y.pt")
    found = torch.load(tmp_path / "y.pt")
    assert found["s"].tolist() == [0, 1, 2] and found["b"].nbytes() == 8


def test_functional_call_with_other_names():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = [nn.Linear(1, 1)]  # not registered
            self.first = nn.Linear(1, 1)
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x):
            self.count = self.count + 1
            return x * getattr(self, "scale", 1) + self.first.bias

    module = Counts()
    tensors = {"count": torch.ones(1), "scale": torch.full((1,), 3.0), "first.bias": torch.zeros(1)}
    assert torch.func.functional_call(module, tensors, torch.ones(1)).item() == 3
    assert module.count.item() == 0 and not hasattr(module, "scale") and tensors["count"].item() == 2
    with pytest.raises(RuntimeError, match="Unexpected key.*'scale'"):
        torch.func.functional_call(module, tensors, torch.ones(1), strict=True)
    with pytest.raises(TypeError, match="not an instance of torch.Tensor"):
        torch.func.functional_call(module, {"count": 3}, torch.ones(1))
    torch.func.functional_call(module, {"scale": nn.Parameter(torch.ones(1))}, torch.ones(1))
    assert "scale" not in module._parameters and len(list(module.parameters())) == 2
    bare = torch.func.functional_call(nn.Linear(1, 1), {"weight": torch.ones(1, 1), "bias": None}, torch.ones(1))
    assert bare.item() == 1
    module.itself = module
    assert torch.func.functional_call(module, tensors, torch.ones(1), tie_weights=False).item() == 3


def test_gradients_of_convolutions():
    x, w = torch.randn(2, 4, 5, 5, requires_grad=True), torch.randn(6, 2, 3, 3, requires_grad=True)
    options = dict(stride=2, padding=1, dilation=1, groups=2)
    y = nn.functional.conv2d(x, w, None, **options)
    given = torch.randn_like(y)
    y.backward(given)
    of_x = nn.grad.conv2d_input(x.shape, w, given, **options)
    of_w = torch.nn.functional.grad.conv2d_weight(x, w.shape, given, **options)
    torch.testing.assert_close(of_x, x.grad)
    torch.testing.assert_close(of_w, w.grad)


def test_prefixes():
    state = nn.DataParallel(nn.BatchNorm1d(2)).state_dict()
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == list(nn.BatchNorm1d(2).state_dict()) and "module" not in state._metadata
    nn.BatchNorm1d(2).load_state_dict(state)


def test_switches_as_decorators():
    @torch.backends.cudnn.flags(enabled=False)
    @torch.device("meta")
    @torch.autograd.profiler.record_function("made")
    def made():
        return torch.backends.cudnn.enabled, torch.ones(1).is_meta

    assert made() == (False, True) and torch.backends.cudnn.enabled


def test_small_ones():
    module = nn.Linear(1, 1)
    zero = {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}
    assert stateless._functional_call(module, zero, torch.ones(1, 1)).item() == 0
    with pytest.raises(RuntimeError, match="Cannot pack empty"):
        nn.utils.rnn.pack_padded_sequence(torch.zeros(0, 0), [])
