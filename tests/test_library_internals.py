"""What libraries take from PyTorch's underscored modules."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.fx import _symbolic_trace as st


def test_no_tensor_is_batched():
    from jtorch._C import _functorch

    seen = []
    total = jtorch.vmap(lambda x: seen.append(_functorch.is_batchedtensor(x)) or x.sum())(jtorch.ones(2, 3))
    assert total.tolist() == [3, 3] and seen == [False]
    with pytest.raises(NotImplementedError, match="call torch.vmap on a function of plain tensors"):
        _functorch._add_batch_dim(jtorch.ones(2), 0, 1)


def test_a_map_of_tensors_compares_objects():
    from jtorch.utils.weak import WeakIdKeyDictionary

    a, b = jtorch.ones(2), jtorch.ones(2)
    known = WeakIdKeyDictionary({a: 1})
    known[b] = 2
    assert (known[a], known[b], len(known)) == (1, 2, 2) and a in known and jtorch.ones(2) not in known
    assert [k is x for k, x in zip(known, (a, b), strict=True)] == [True, True]
    del b
    gc.collect()
    assert len(known) == 1 and list(known.values()) == [1]
    del known[a]
    assert not known


def test_trees_that_are_broadcast():
    from jtorch.utils import _pytree as pytree

    spec = pytree.tree_structure({"a": [1, 2], "b": 3})
    assert pytree._broadcast_to_and_flatten(0, spec) == [0, 0, 0]
    assert pytree._broadcast_to_and_flatten({"a": 1, "b": None}, spec) == [1, 1, None]
    assert pytree._broadcast_to_and_flatten({"a": [1], "b": 2}, spec) is None
    assert pytree.tree_is_leaf(3) and not pytree.tree_is_leaf([3])
    assert pytree.is_structseq_instance(os.stat(".")) and not pytree.is_structseq_instance((1, 2))


def test_swap_tensor():
    from jtorch.nn.utils._named_member_accessor import swap_tensor

    layer = nn.Linear(2, 2)
    weight, other = layer.weight, jtorch.ones(2, 2)
    assert swap_tensor(layer, "weight", other) is weight and layer._parameters["weight"] is other
    with pytest.raises(AttributeError):
        swap_tensor(layer, "none", other)
    with pytest.raises(KeyError):
        swap_tensor(layer, "a.b", other)
    with pytest.raises(TypeError):
        swap_tensor(layer, "in_features", other)


def test_decorating_context_managers_are_fresh_in_each_call():
    from jtorch.utils._contextlib import _DecoratorContextManager

    class Deeper(_DecoratorContextManager):
        depth = 0

        def __enter__(self):
            Deeper.depth += 1

        def __exit__(self, *error):
            Deeper.depth -= 1

    @Deeper()
    def count(n):
        return Deeper.depth if n == 0 else count(n - 1)

    assert count(3) == 4 and Deeper.depth == 0


def test_compressed_and_coordinate_rows():
    rows = jtorch.tensor([0, 0, 2, 3, 3, 3])
    offsets = jtorch._convert_indices_from_coo_to_csr(rows, 5, out_int32=True)
    assert offsets.dtype is jtorch.int32 and offsets.tolist() == [0, 2, 2, 3, 6, 6]
    columns = jtorch.tensor([1, 2, 0, 0, 1, 2])
    pairs = jtorch._convert_indices_from_csr_to_coo(offsets, columns)
    assert pairs.tolist() == [rows.tolist(), columns.tolist()] and pairs.dtype is jtorch.int64
    assert jtorch._convert_indices_from_csr_to_coo(offsets, columns, transpose=True).tolist() == pairs.flip(0).tolist()


def test_randint_like_with_one_bound_by_name():
    x = jtorch.zeros(40)
    jtorch.manual_seed(0)
    named = jtorch.randint_like(x, high=2)
    jtorch.manual_seed(0)
    assert named.tolist() == jtorch.randint_like(x, 2).tolist() and set(named.tolist()) == {0.0, 1.0}
    with pytest.raises(TypeError, match="high"):
        jtorch.randint_like(x)


def test_workers_seed_numpy_as_pytorch_does():
    from jtorch.utils.data._utils.worker import _generate_state

    assert _generate_state(12345, 3) == [388367306, 2732186161, 3264781304, 1215154576]  # PyTorch 2.13
    np.random.seed(_generate_state(1 << 40, 0))


def test_tracers_of_other_libraries_patch_what_ours_does():
    """A tracer that brings its own ``trace``, as those of graph neural networks do."""

    class Whole(jtorch.fx.Tracer):
        def is_leaf_module(self, module, *args):
            return not isinstance(module, nn.Sequential)

        @st.compatibility(is_backward_compatible=True)
        def trace(self, root, concrete_args=None):
            self.root, self.graph, self.tensor_attrs, cache = root, jtorch.fx.Graph(type(self)), {}, {}
            fn, args = self.create_args_for_root(type(root).forward, True, concrete_args)
            assert isinstance(fn, st.FunctionType)

            def getattr_wrapper(module, name):
                return self.getattr(name, st._orig_module_getattr(module, name), cache)

            def call_wrapper(module, *args, **kwargs):
                st._autowrap_check(patcher, type(module).forward.__globals__, self._autowrap_function_ids)
                forward = st.functools.partial(st._orig_module_call, module)
                return self.call_module(module, forward, args, kwargs)

            with st._Patcher() as patcher:
                patcher.patch_method(nn.Module, "__getattr__", getattr_wrapper, deduplicate=False)
                patcher.patch_method(nn.Module, "__call__", call_wrapper, deduplicate=False)
                st._patch_wrapped_functions(patcher)
                st._autowrap_check(patcher, fn.__globals__, self._autowrap_function_ids)
                self.create_node("output", "output", (self.create_arg(fn(*args)),), {})
            return self.graph

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
            self.scale = nn.Parameter(jtorch.full((4,), 2.0))

        def forward(self, x):
            return self.rest(self.first(x).relu()) * self.scale

    model, x = Model(), jtorch.randn(2, 3)
    before = nn.Module.__call__, nn.Module.__getattr__
    graph = Whole().trace(model)
    assert (nn.Module.__call__, nn.Module.__getattr__) == before
    assert [n.op for n in graph.nodes] == [
        "placeholder", "call_module", "call_method", "call_module", "call_module", "get_attr", "call_function",
        "output",
    ]  # fmt: skip
    jtorch.testing.assert_close(jtorch.fx.GraphModule(model, graph)(x), model(x))


def test_types_of_results_exist_before_their_operations_run():
    from jtorch import return_types

    values, indices = jtorch.tensor([3.0]), jtorch.tensor([1])
    made = return_types.cummin([values, indices])
    assert made.values is values and made.indices is indices and isinstance(made, tuple)
    assert isinstance(jtorch.eye(2).max(0), return_types.max) and return_types.linalg_eigh._fields
    with pytest.raises(AttributeError, match="nothing"):
        _ = return_types.nothing


@pytest.mark.filterwarnings("ignore:functorch is part of PyTorch:FutureWarning")
def test_a_module_as_a_function_of_its_parameters():
    from jtorch import functorch

    model, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), jtorch.randn(5, 3)
    function, params, buffers = functorch.make_functional_with_buffers(model)
    jtorch.testing.assert_close(function(params, buffers, x), model(x))
    assert all(p.requires_grad and p.is_leaf for p in params) and not list(function.parameters())
    with pytest.raises(RuntimeError, match="has buffers"):
        functorch.make_functional(model)
    linear = nn.Linear(3, 2)
    function, params = functorch.make_functional(linear, disable_autograd_tracking=True)
    found = functorch.grad(lambda p: function(p, x).square().sum())(params)
    (linear(x).square().sum()).backward()
    jtorch.testing.assert_close(found[0], linear.weight.grad)
    models = [nn.Linear(3, 2) for _ in range(3)]
    function, params, buffers = functorch.combine_state_for_ensemble(models)
    both = functorch.vmap(function, in_dims=(0, 0, None))(params, buffers, x)
    jtorch.testing.assert_close(both, jtorch.stack([m(x) for m in models]))


def test_functorch_is_jtorchs_for_unmodified_scripts():
    from jtorch import functorch
    from jtorch.functorch import experimental
    from jtorch.shim.finder import TorchFinder

    assert TorchFinder.find_spec("functorch").origin == functorch.__file__
    assert TorchFinder.find_spec("functorch.experimental").origin == experimental.__file__
    assert TorchFinder.find_spec("functorch.dim") is None  # named dimensions
    assert TorchFinder.find_spec("functorchx") is None


def test_the_node_of_a_leaf_prints_as_its_class():
    x = jtorch.ones(2, requires_grad=True)
    node = (x * 2).grad_fn.next_functions[0][0]
    assert repr(node).startswith("<AccumulateGrad object at") and node.name() == "torch::autograd::AccumulateGrad"
