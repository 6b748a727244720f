"""Tensors without content whose class answers for every operation: ``_make_wrapper_subclass``."""

import copy
import importlib.util
import io
import pickle

import pytest

import jtorch as torch
from jtorch.utils._pytree import tree_map, tree_map_only

aten = torch.ops.aten


class Scaled(torch.Tensor):
    """Integers and a factor that stand for their product."""

    @staticmethod
    def __new__(cls, whole, scale):
        return torch.Tensor._make_wrapper_subclass(cls, whole.shape, dtype=torch.float32, device=whole.device)

    def __init__(self, whole, scale):
        self.whole, self.scale = whole, scale

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (aten.detach.default, aten.t.default):
            return cls(func(args[0].whole), args[0].scale)
        if func is aten.mm.default and isinstance(args[1], cls):
            return torch.mm(args[0], args[1].whole.float()) * args[1].scale
        args, kwargs = tree_map_only(cls, lambda x: x.whole.float() * x.scale, (args, kwargs or {}))
        return func(*args, **kwargs)


class Logged(torch.Tensor):
    """Remembers the names of the operations."""

    seen: list = []

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), strides=inner.stride(), dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(str(func))
        args, kwargs = tree_map_only(cls, lambda x: x.inner, (args, kwargs or {}))
        return tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, func(*args, **kwargs))


def scaled():
    return Scaled(torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), 0.5)


def test_a_wrapper_is_what_it_says():
    s = scaled()
    assert s.shape == (2, 2) and s.dtype is torch.float32 and s.device.type == "cpu" and not s.is_meta
    assert (s + 1).tolist() == [[1.5, 2], [2.5, 3]] and type(s + 1) is torch.Tensor
    assert torch.cat([s, torch.zeros(1, 2)]).tolist() == [[0.5, 1], [1.5, 2], [0, 0]]
    assert type(s.t()) is Scaled and s.t().whole.tolist() == [[1, 3], [2, 4]]
    assert s.sum().item() == 5
    with pytest.raises(NotImplementedError, match="in place to a Scaled"):
        s.add_(1)
    with pytest.raises(RuntimeError, match="must define __torch_dispatch__"):
        torch.Tensor._make_wrapper_subclass(type("Plain", (torch.Tensor,), {}), (2,))


@pytest.mark.parametrize("bias", [False, True])
def test_a_parameter_of_a_module(bias):
    layer = torch.nn.Linear(2, 2, bias=bias)
    plain = torch.nn.Parameter(torch.tensor([[0.5, 1], [1.5, 2]]))
    x, y = (torch.randn(3, 5, 2, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        y.copy_(x)
    layer.weight = plain
    layer(y).sum().backward()
    expected = layer(y)
    layer.weight = torch.nn.Parameter(scaled(), requires_grad=False)
    assert type(layer.weight) is Scaled and isinstance(layer.weight, torch.nn.Parameter)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert type(layer.state_dict()["weight"]) is Scaled


def test_copies():

    layer = torch.nn.Linear(2, 2, bias=False)
    layer.weight = torch.nn.Parameter(scaled(), requires_grad=False)
    again = copy.deepcopy(layer)
    assert type(again.weight) is Scaled and isinstance(again.weight, torch.nn.Parameter)
    assert again.weight.whole is not layer.weight.whole and "weight" in again._parameters
    torch.testing.assert_close(again(torch.ones(1, 2)), layer(torch.ones(1, 2)))
    assert repr(layer.weight) == "Scaled(size=(2, 2), dtype=torch.float32, device=cpu)"
    kind = type("Kind", (torch.Tensor,), {})
    parameter = copy.deepcopy(torch.nn.Parameter(torch.ones(2).as_subclass(kind)))
    assert type(parameter) is kind and isinstance(parameter, torch.nn.Parameter) and parameter.requires_grad
    with pytest.raises(NotImplementedError, match="no data"):
        Logged(torch.ones(1)).numpy()


def test_names_of_operations():
    x = Logged(torch.arange(4.0).reshape(2, 2))
    Logged.seen.clear()
    y = torch.relu(x * 2 - x)[0]
    assert isinstance(y, Logged) and y.inner.tolist() == [0, 1]
    assert Logged.seen == ["aten.mul.Tensor", "aten.sub.Tensor", "aten.relu.default", "aten.select.int"]
    assert aten.mul.Tensor is aten.mul.Tensor


def test_attributes_stay_with_a_tensor():
    """What a program puts on a tensor is copied and saved with it, whatever its name."""
    both = [torch] + ([importlib.import_module("torch")] if importlib.util.find_spec("torch") else [])
    for lib in both:
        x = lib.ones(2)
        x._tag, x.name_ = [5], "a"
        shallow, deep = copy.copy(x), copy.deepcopy(x)
        assert shallow._tag is x._tag and deep._tag == [5] and deep._tag is not x._tag and deep.name_ == "a"
        assert pickle.loads(pickle.dumps(x))._tag == [5]
        p = lib.nn.Parameter(lib.ones(2))
        p._no_weight_decay = True
        for t, name in ((x, "_tag"), (p, "_no_weight_decay")):
            buffer = io.BytesIO()
            lib.save({"t": t}, buffer)
            buffer.seek(0)
            assert getattr(lib.load(buffer, weights_only=False)["t"], name) == getattr(t, name)


def test_wrappers_are_copied_and_saved():
    hidden = Hidden(torch.arange(3.0))
    again = copy.deepcopy(torch.nn.Parameter(hidden))
    assert type(again) is Hidden and again._inner.tolist() == [0, 1, 2] and again._inner is not hidden._inner
    for t in (hidden, torch.nn.Parameter(hidden)):
        buffer = io.BytesIO()
        torch.save([t], buffer)
        buffer.seek(0)
        (loaded,) = torch.load(buffer, weights_only=False)
        assert type(loaded) is Hidden and loaded._inner.tolist() == [0, 1, 2]
        assert loaded.shape == (3,) and loaded.requires_grad == t.requires_grad
        buffer.seek(0)
        with pytest.raises(pickle.UnpicklingError, match="Hidden"):
            torch.load(buffer)
        buffer.seek(0)
        with torch.serialization.safe_globals([Hidden]):
            assert torch.load(buffer)[0]._inner.tolist() == [0, 1, 2]


def test_indexing_reaches_the_class_in_atens_terms():
    """Masks as they are, and None for a whole dimension."""
    seen = []

    class Watched(Hidden):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.index.Tensor:
                seen.append((args[1], kwargs))
            return super().__torch_dispatch__(func, types, args, kwargs)

    inner = torch.arange(24).reshape(2, 3, 4)
    x = Watched(inner)
    rows, columns = torch.tensor([1, 0]), torch.tensor([True, False, True, True])
    masks = torch.tensor([[True, False, False], [False, True, True]])
    for index in ((slice(None), slice(None), columns), masks, (rows, slice(None), rows), (slice(1, 2), rows)):
        assert x[index]._inner.tolist() == inner[index].tolist()
    (last, _), (both, _), (apart, _), (after, _) = seen
    assert last[:2] == [None, None] and last[2] is columns and len(both) == 1 and both[0] is masks
    assert apart[1] is None and apart[0] is rows and apart[2] is rows and after[0] is None and after[1] is rows
    assert not any(kwargs for _, kwargs in seen)


class Hidden(torch.Tensor):
    """Wraps a tensor in an attribute that is not public."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self._inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(cls, lambda x: x._inner, (args, kwargs or {}))
        return tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, func(*args, **kwargs))
