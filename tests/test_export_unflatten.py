"""``torch.export.unflatten``: programs as modules again, that compute the same and may be changed."""

import copy
import pickle

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.export import Dim
from jtorch.utils import _pytree


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x, *, scale=1.0):
        self.count.add_(1)
        return self.lin(x).relu() * scale, x


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = Block(), Block()
        self.seq = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))

    def forward(self, x, y=None):
        x, _ = self.a(x, scale=2.0)
        for _ in range(2):
            x, _ = self.b(x)
        return {"out": self.seq(x) + 1}


class Nothing(nn.Module):
    def forward(self, x, *, scale):
        return x * 0, x


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(10, 4)
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.emb.weight
        self.table = torch.arange(4.0)

    def forward(self, ids):
        h = self.emb(ids) + torch.arange(ids.shape[1]).unsqueeze(-1) * self.table
        return self.head(self.enc(h)), h


def compared(model, *calls, **options):
    """The unflattened module, after calls of it have been compared with the model's own."""
    program = torch.export.export(model, calls[0], **options)
    module = torch.export.unflatten(program)
    assert list(module.state_dict()) == list(program.module().state_dict())
    original = copy.deepcopy(model)
    for t, source in zip(module.state_dict().values(), original.state_dict().values(), strict=True):
        assert torch.equal(t, source)
    for args in calls:
        wanted, found = (_pytree.tree_leaves(m(*args)) for m in (original, module))
        for x, y in zip(wanted, found, strict=True):
            assert x.shape == y.shape and torch.allclose(x, y, atol=1e-5)
        for t, source in zip(module.state_dict().values(), original.state_dict().values(), strict=True):
            assert torch.allclose(t, source)
    return module


def test_the_modules_are_those_of_the_model():
    model = Model()
    model.seq[1].eval()
    module = compared(model, (torch.randn(2, 3),), (torch.randn(2, 3),))
    names = [name for name, _ in module.named_modules()]
    assert names == ["", "a", "a.lin", "b", "b.lin", "seq", "seq.0", "seq.2"]
    assert [name for name, _ in module.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert str(module).startswith("UnflattenedModule(\n  (a): InterpreterModule(\n    (lin): InterpreterModule()\n  )")


def test_a_module_that_did_the_same_twice_is_there_once():
    class Repeating(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

        def forward(self, x):
            return self.inner(self.inner(x)) + self.inner[0](x)

    module = compared(Repeating(), (torch.randn(2, 3),))
    assert [n.target for n in module.graph.nodes if n.op == "call_module"] == ["inner", "inner", "inner.0"]


def test_further_calls_that_differ_take_their_parameters():
    class Differing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(x), self.inner(x[:, None])

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = Scaled()

        def forward(self, x):
            return self.a(self.a(x, 2), 3)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)

        def forward(self, x, n):
            return self.lin(x) * n

    compared(Differing(), (torch.randn(2, 3),))
    module = compared(Twice(), (torch.randn(2, 3),))
    assert [n.target for n in module.graph.nodes if n.op == "call_module"] == ["a", "a@1"]
    module(torch.randn(2, 3)).sum().backward()
    assert module.a.lin.weight.grad is not None and "a@1.lin.weight" not in module.state_dict()


def test_tied_weights_and_open_sizes():
    shapes = {"ids": {0: Dim("b"), 1: Dim("s")}}
    module = compared(
        Tied().eval(), (torch.randint(0, 10, (2, 6)),), (torch.randint(0, 10, (3, 7)),), dynamic_shapes=shapes
    )
    assert module.head.weight is module.emb.weight
    (call,) = [n for n in module.graph.nodes if n.target == "enc"]
    assert len(call.args) == 1  # sizes are read inside
    assert module.enc(torch.randn(4, 5, 4)).shape == (4, 5, 4)


def test_call_signatures_that_are_preserved():
    batch = [{0: Dim("b", min=2)}]
    kept = ("a", "seq", "seq.2")
    x = torch.randn(2, 3)
    model = Model()
    model.seq[1].eval()
    module = compared(model, (x,), (torch.randn(5, 3),), dynamic_shapes=batch, preserve_module_call_signature=kept)
    first, second = module.a(x, scale=2.0)
    assert first.shape == (2, 3) and torch.equal(second, x)
    with pytest.raises(RuntimeError, match="exported for 2.0"):
        module.a(x, scale=3.0)
    other = nn.Sequential(nn.Linear(3, 4))
    before = module(x)["out"]
    module.seq = other
    assert not torch.equal(module(x)["out"], before)
    module.a = Nothing()
    b = torch.relu(module.b.lin.bias)
    expected = other(torch.relu(module.b.lin(b))) + 1
    assert torch.allclose(module(x)["out"][0], expected, atol=1e-6)


def test_signatures_that_cannot_be_preserved():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.weight = Inner(self), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.inner(x)

    class Inner(nn.Module):
        def __init__(self, outer):
            super().__init__()
            self.outer = [outer]

        def forward(self, x):
            return x * self.outer[0].weight

    program = torch.export.export(Outer(), (torch.ones(3),), preserve_module_call_signature=("inner",))
    with pytest.raises(ValueError, match="'inner' reads p_weight, which is not among its arguments"):
        torch.export.unflatten(program)
    compared(Outer(), (torch.ones(3),))
    with pytest.raises(AttributeError, match="nothing"):
        torch.export.export(Outer(), (torch.ones(3),), preserve_module_call_signature=("nothing",))


def test_what_is_written_is_read_before():
    class Swapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("a", torch.zeros(2))
            self.register_buffer("b", torch.ones(2))

        def forward(self, x):
            old = self.a.clone()
            a, b = self.b.clone(), self.a.clone()
            self.a.copy_(a)
            self.b.copy_(b)
            x.add_(1)
            return old, self.a + x

    for module in (Swapping(), torch.export.unflatten(torch.export.export(Swapping(), (torch.zeros(2),)))):
        x = torch.zeros(2)
        old, new = module(x)
        assert old.tolist() == [0, 0] and new.tolist() == [2, 2] and x.tolist() == [1, 1]
        assert module.a.tolist() == [1, 1] and module.b.tolist() == [0, 0]


def test_they_train_are_copied_and_pickled():
    x = torch.randn(4, 3)
    module = torch.export.unflatten(torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), (x,)))
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    before = module(x).sum()
    before.backward()
    optimizer.step()
    after = module(x)
    assert after.sum() < before
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), after) and isinstance(other, torch.export.UnflattenedModule)


def test_arguments_that_do_not_fit():
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(2, 3),))
    for module, kind in ((program.module(), AssertionError), (torch.export.unflatten(program), RuntimeError)):
        with pytest.raises(kind, match=r"size\(\)\[0\] == 2"):
            module(torch.ones(3, 3))
        with pytest.raises(ValueError, match="Ran into a kwarg keyword mismatch: Got the following keywords "):
            module(input=torch.ones(2, 3))
        with pytest.raises(ValueError, match="takes 1 positional arguments.*got 2"):
            module(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(NotImplementedError, match="flat_args_adapter"):
        torch.export.unflatten(program, flat_args_adapter=object())


def test_nodes_know_their_modules():
    reference = pytest.importorskip("torch")

    def stacks(torch):
        class Doubled(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())

            def forward(self, x):
                return self.inner(self.inner(x)) + 1

        graph = torch.export.export(Doubled(), (torch.ones(2, 3),)).graph
        found = [n.meta.get("nn_module_stack") for n in graph.nodes if n.op == "call_function"]
        return [{call: name for call, (name, _) in stack.items()} for stack in found]

    assert stacks(torch) == stacks(reference)


def test_scripted_and_compiled_modules_inside():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    module = compared(nn.Sequential(scripted, torch.compile(nn.Linear(3, 2))), (torch.ones(2, 3),))
    assert [n.target for n in module.graph.nodes if n.op == "call_module"] == ["0", "1._orig_mod"]


def test_exported_modules_are_exported_again():
    x = torch.randn(2, 3)
    first = torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), (x,)).module()
    again = torch.export.export(first, (x,)).module()
    results = []
    for module in (first, again):
        torch.manual_seed(0)
        results.append(module(x))
    torch.testing.assert_close(*results)
