"""What exported programs do with gradients, buffers, sizes and containers: as the modules they were made from."""

import collections
import io

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.export import Dim


def in_a_module(function):
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([2.0, 3.0]))
            self.register_buffer("count", torch.zeros(1))
            self.register_buffer("cache", torch.ones(2), persistent=False)

    Module.forward = function
    return Module()


def exported(function, *args, **options):
    return torch.export.export(in_a_module(function), args, **options)


def reloaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


@torch.no_grad()
def undifferentiated(self, x):
    return x * self.weight


def in_a_block(self, x):
    with torch.no_grad():
        y = (x * self.weight).sin()
        y = y + 1
    return x * self.weight + y * x


def detaching(self, x):
    return x * self.weight.detach() + (x * self.weight).detach() * x


def rounding(self, x):
    h = x * self.weight
    return h + (h.round() - h).detach()


@pytest.mark.parametrize("function", [in_a_block, detaching, rounding], ids=lambda f: f.__name__)
@pytest.mark.parametrize("load", [False, True], ids=["made", "loaded"])
def test_gradients_stop_where_they_did(function, load):
    model = in_a_module(function)
    program = torch.export.export(model, (torch.ones(2),))
    module = (reloaded(program) if load else program).module()
    for m in (model, module):
        m.x = torch.tensor([0.3, 0.4], requires_grad=True)
        m(m.x).square().sum().backward()
    assert torch.allclose(module.x.grad, model.x.grad)
    ours, theirs = module.weight.grad, model.weight.grad
    assert torch.allclose(torch.zeros(2) if ours is None else ours, torch.zeros(2) if theirs is None else theirs)
    assert model.weight.requires_grad and module.weight.requires_grad


def test_nothing_flows_through_functions_without_gradients():
    module = exported(undifferentiated, torch.ones(2)).module()
    x = torch.ones(2, requires_grad=True)
    (module(x) + x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_graphs_show_where_gradients_stop():
    nodes = exported(detaching, torch.ones(2)).graph.nodes
    assert sum(n.target is torch.ops.aten.detach.default for n in nodes) == 2


def test_derivatives_for_inputs_of_frozen_modules():
    model = nn.Linear(3, 2).requires_grad_(False)
    for wanted in (False, True):
        program = torch.export.export(model, (torch.ones(1, 3, requires_grad=wanted),))
        x = torch.ones(1, 3, requires_grad=True)
        y = reloaded(program).module()(x).sum()
        if wanted:
            y.backward()
            assert torch.allclose(x.grad, model.weight.sum(0, keepdim=True))
        else:
            with pytest.raises(RuntimeError, match="without its derivative"):
                y.backward()
                x.grad.tolist()


def test_buffers_that_are_replaced():
    def counting(self, x):
        self.count = self.count + 1
        return x + self.count

    model = in_a_module(counting)
    before = model.count
    module = torch.export.export(model, (torch.ones(1),)).module()
    assert model.count is before and before.item() == 0
    assert [module(torch.ones(1)).item() for _ in range(3)] == [2, 3, 4] and module.count.item() == 3


def test_buffers_that_no_state_dict_has():
    program = exported(lambda self, x: x + self.cache, torch.ones(2))
    for p in (program, reloaded(program)):
        assert list(p.module().state_dict()) == ["weight", "count"] and p.module()(torch.ones(2)).tolist() == [2, 2]
        assert [s.target for s in p.graph_signature.input_specs if s.persistent is False] == ["cache"]


def test_writes_to_inputs():
    def function(self, x, y):
        x.add_(self.weight)
        self.count += 1
        y[0] = 7
        return x * y

    program = exported(function, torch.ones(2), torch.ones(2))
    assert list(program.graph_signature.user_inputs_to_mutate.values()) == ["x", "y"]
    assert list(program.graph_signature.buffers_to_mutate.values()) == ["count"]
    assert [s.kind.name for s in program.graph_signature.output_specs][:3] == [
        "BUFFER_MUTATION", "USER_INPUT_MUTATION", "USER_INPUT_MUTATION"
    ]  # fmt: skip
    for p in (program, reloaded(program)):
        module, x, y = p.module(), torch.ones(2), torch.ones(2)
        assert module(x, y).tolist() == [21, 4]
        assert x.tolist() == [3, 4] and y.tolist() == [7, 1] and module.count.item() == 1


def test_one_tensor_in_two_places():
    x = torch.ones(2)
    program = exported(lambda self, x, y: x + 2 * y, x, x)
    assert program.module()(x, 2 * x).tolist() == [5, 5]
    assert len(program.example_inputs[0]) == 2 and program.example_inputs[1] == {}


def test_containers_keep_their_kinds():
    def function(self, given):
        return collections.OrderedDict(b=given[1] + given["a"], a=given[1])

    program = exported(function, {1: torch.ones(2), "a": torch.ones(2)})
    for p in (program, reloaded(program)):
        found = p.module()({1: torch.ones(2), "a": torch.ones(2)})
        assert type(found) is collections.OrderedDict and list(found) == ["b", "a"] and found["b"].tolist() == [2, 2]


def test_sizes_that_open_themselves():
    def function(self, x, y, z):
        return x + y, z @ self.weight, x.sum(1)

    auto = {0: Dim.AUTO, 1: Dim.AUTO}
    program = exported(
        function, torch.ones(3, 5), torch.ones(3, 5), torch.ones(7, 2),
        dynamic_shapes={"x": auto, "y": auto, "z": auto},
    )  # fmt: skip
    shapes = [i["shape"] for i in program.inputs]
    assert shapes[0] == shapes[1] and all(isinstance(n, str) for n in shapes[0])
    assert isinstance(shapes[2][0], str) and shapes[2][1] == 2 and shapes[2][0] not in shapes[0]
    a, b, c = program.module()(torch.ones(4, 6), torch.ones(4, 6), torch.ones(8, 2))
    assert a.shape == (4, 6) and b.tolist() == [5] * 8 and c.tolist() == [6] * 4


def test_of_equal_sizes_one_may_have_to_stay():
    program = exported(lambda self, x: x * self.weight, torch.ones(2, 2), dynamic_shapes=[{0: Dim.AUTO, 1: Dim.AUTO}])
    assert isinstance(program.inputs[0]["shape"][0], str) and program.inputs[0]["shape"][1] == 2
    with pytest.raises(torch._dynamo.exc.UserError, match="dimension 1 of x is DYNAMIC, but must be 2"):
        exported(lambda self, x: x * self.weight, torch.ones(2, 2), dynamic_shapes=[{1: Dim.DYNAMIC}])
    one = exported(lambda self, x: x + 1, torch.ones(1, 2), dynamic_shapes=[{0: Dim.AUTO}])
    assert one.inputs[0]["shape"] == [1, 2]


def test_functions_of_the_example_sizes_only():
    with pytest.raises(torch._dynamo.exc.UserError, match="works for the example inputs, but not at n="):
        exported(lambda self, x: x + torch.ones(3), torch.ones(3), dynamic_shapes=[{0: Dim("n")}])
    with pytest.raises(RuntimeError, match="must match the size"):
        exported(lambda self, x: x + torch.ones(4), torch.ones(3))
    with pytest.raises(torch._dynamo.exc.UserError, match="tuple of example positional inputs"):
        torch.export.export(nn.ReLU(), torch.ones(2))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_inside(reentrant):
    def checkpointed(self, x):
        return torch.utils.checkpoint.checkpoint(lambda x: x * self.weight, x, use_reentrant=reentrant)

    module = exported(checkpointed, torch.ones(2)).module()
    module(torch.ones(2)).sum().backward()
    assert module.weight.grad.tolist() == [1, 1]


def test_derivatives_inside():
    def slope(self, x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad((x * x * self.weight).sum(), x)[0]

    assert exported(slope, torch.ones(2)).module()(torch.ones(2)).tolist() == [4, 6]


def test_drafts_leave_open_what_can_be():
    n, m = Dim("n"), Dim("m")
    model = in_a_module(lambda self, x: x.sum(0) * self.weight)
    x = torch.ones(3, 2)
    with pytest.raises(torch._dynamo.exc.UserError):
        torch.export.export(model, (x,), dynamic_shapes=({0: n, 1: m},))
    draft = torch.export.draft_export(model, (x,), dynamic_shapes=({0: n, 1: m},))
    assert not draft._report.successful() and "['d0', 2]" in str(draft._report)
    assert draft.module()(torch.ones(5, 2)).tolist() == [10, 15]
    sound = torch.export.draft_export(model, (x,), dynamic_shapes=({0: n},))
    assert sound._report.successful() and "No issues" in str(sound._report)
    reading = in_a_module(lambda self, x: x * x.sum().item())
    with pytest.raises(RuntimeError, match="a value was needed"):
        torch.export.draft_export(reading, (x,), dynamic_shapes=({0: n},))


def called_with_keywords(torch):
    """What a program's module does with named arguments and with values that are no tensors."""

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("cache", torch.ones(2), persistent=False)

        def forward(self, x, *, a, b=None, k=3):
            return x * k + a + (0 if b is None else b) + self.cache

    x = torch.ones(2)
    program = torch.export.export(Module(), (x,), {"a": x.clone(), "b": x.clone(), "k": 4})
    program.validate()
    module = program.module()
    said = [module(x, b=3 * x, a=2 * x, k=4).tolist(), list(program.graph_signature.non_persistent_buffers)]
    calls = [
        ((x,), {"a": x, "b": x, "k": 5}),
        ((x,), {"a": x}),
        ((x, x), {"a": x, "b": x, "k": 4}),
        ((x,), {"a": x, "b": x, "k": 4, "c": 1}),
        ((torch.ones(3),), {"a": x, "b": x, "k": 4}),
    ]
    for args, kwargs in calls:
        try:
            module(*args, **kwargs)
        except Exception as error:
            said.append((type(error).__name__, "keyword mismatch" in str(error), "Guard failed" in str(error)))
    return said


def test_named_arguments_are_pytorchs():
    reference = pytest.importorskip("torch")
    assert called_with_keywords(torch) == called_with_keywords(reference)
