"""``compile(backend=<function>)``: the function gets a graph, and what it returns is called."""

import copy
import pickle

import pytest

import jtorch
from jtorch import nn

from .both import check


class Backend:
    """Keeps the graphs that it is given, and runs them."""

    def __init__(self):
        self.graphs = []

    def __call__(self, module, inputs):
        self.graphs.append((module, inputs))
        return module.forward


@pytest.fixture
def backend():
    jtorch.compiler.reset()
    return Backend()


def add(x, y):
    return jtorch.sin(x) + jtorch.cos(y)


def test_a_graph_for_each_kind_of_call(backend):
    fast, x, y = jtorch.compile(add, backend=backend), jtorch.randn(3, 4), jtorch.randn(3, 4)
    for _ in range(3):
        assert jtorch.equal(fast(x, y), add(x, y))
    assert len(backend.graphs) == 1
    module, inputs = backend.graphs[0]
    assert [n.target for n in module.graph.nodes if n.op == "call_function"] == [
        getattr(jtorch.ops.aten, name).default for name in ("sin", "cos")
    ] + [jtorch.ops.aten.add.Tensor]
    assert inputs[0] is x and inputs[1] is y and jtorch.equal(module(x, y)[0], add(x, y))
    assert jtorch.equal(fast(x[:2], y[:2]), add(x[:2], y[:2])) and len(backend.graphs) == 2
    assert jtorch.equal(fast(x * 2, y), add(x * 2, y)) and len(backend.graphs) == 2


def test_what_it_returns_is_called():
    def twice(module, inputs):
        return lambda *tensors: [2 * t for t in module(*tensors)]

    x = jtorch.randn(3)
    fast = jtorch.compile(add, backend=twice)
    for _ in range(2):
        assert jtorch.equal(fast(x, x), 2 * add(x, x))


def test_modules():
    def program(torch):
        graphs = []

        def backend(module, inputs):
            graphs.append(len(inputs))
            return module.forward

        torch.manual_seed(0)
        model = nn_of(torch)
        fast, x = torch.compile(model, backend=backend), torch.arange(12.0).reshape(3, 4).sin()
        first, second = fast(x), fast(x.cos())  # running statistics count two batches
        second.sum().backward()
        state = dict(model.state_dict())
        model.eval()
        return first, second, fast(x), state, [p.grad for p in model.parameters()], graphs[0], len(graphs) >= 2

    def nn_of(torch):
        n = torch.nn
        return n.Sequential(n.Linear(4, 8), n.BatchNorm1d(8), n.ReLU(), n.Linear(8, 2))

    check(program)


def test_containers_numbers_and_writes():
    def program(torch):
        def run(module, inputs):
            return module.forward

        def nested(batch, k=2):
            return {"a": batch["x"] * k, "b": [batch["y"], 3, None], "c": (batch["x"],)}

        def write(x):
            x.add_(1)
            return x * 2

        def constant(x, w):
            with torch.no_grad():
                scale = x * w
            return (scale * w * torch.tensor([1.0, 2.0, 3.0])).sum()

        x, z, w = torch.arange(3.0), torch.zeros(3), torch.ones(3, requires_grad=True)
        found = [torch.compile(nested, backend=run)({"x": x, "y": x + 1}, k=k) for k in (3, 3, 4)]
        writing = torch.compile(write, backend=run)
        found.append([writing(z), writing(z), z.clone()])
        slope = torch.compile(constant, backend=run)
        for _ in range(2):
            slope(x, w).backward()
        return found, w.grad

    check(program)


def test_what_changes_is_noticed(backend):
    scale = {"by": 2.0}
    model = nn.Linear(3, 3)
    fast = jtorch.compile(lambda x: model(x) * scale["by"], backend=backend)
    x = jtorch.ones(2, 3)
    for by in (2.0, 2.0, 3.0):
        scale["by"] = by
        assert jtorch.equal(fast(x), model(x) * by)
    with jtorch.no_grad():
        model.weight.fill_(1)
    assert jtorch.equal(fast(x), model(x) * 3) and len(backend.graphs) == 2


def test_without_a_graph_it_is_not_asked(backend):
    def branches(x):
        return x * 2 if x.sum() > 0 else x - 1

    fast = jtorch.compile(branches, backend=backend)
    for x in (jtorch.ones(2), -jtorch.ones(2)):
        assert jtorch.equal(fast(x), branches(x))
    dropped = jtorch.compile(nn.Dropout(0.5), backend=backend)(jtorch.ones(100))
    assert 0 < int((dropped == 0).sum()) < 100 and not backend.graphs
    for f in (branches, lambda x: nn.functional.dropout(x)):
        with pytest.raises(jtorch._dynamo.exc.Unsupported):
            jtorch.compile(f, backend=backend, fullgraph=True)(jtorch.ones(2))


def test_python_runs_once_where_there_is_no_graph(backend):
    counts = []

    def counting(x):
        counts.append(1)
        return x * float(x.sum())

    fast = jtorch.compile(counting, backend=backend)
    for _ in range(4):
        fast(jtorch.ones(2))
    assert len(counts) == 4


def test_errors_of_the_backend():
    def fails(module, inputs):
        raise ValueError("not today")

    with pytest.raises(
        jtorch._dynamo.exc.BackendCompilerFailed, match="backend='fails' raised:\nValueError: not today"
    ):
        jtorch.compile(add, backend=fails)(jtorch.ones(2), jtorch.ones(2))
    with pytest.raises(jtorch._dynamo.exc.BackendCompilerFailed, match="returned int"):
        jtorch.compile(add, backend=lambda module, inputs: 3)(jtorch.ones(2), jtorch.ones(2))


def test_registered_backends_and_options(backend):
    given = []

    @jtorch._dynamo.register_backend(name="of_my_own", tags=("debug",))
    def mine(module, inputs, options=None, mode=None):
        given.append((options, mode))
        return module

    assert "of_my_own" in jtorch._dynamo.list_backends(None) and "of_my_own" not in jtorch._dynamo.list_backends()
    x = jtorch.ones(2)
    assert jtorch.equal(jtorch.compile(add, backend="of_my_own", options={"a": 1})(x, x), add(x, x))
    jtorch.compile(add, backend="of_my_own", mode="max-autotune")(x, x)
    assert given == [({"a": 1}, None), (None, "max-autotune")]
    assert jtorch._dynamo.lookup_backend("of_my_own") is mine
    for name in ("eager", "inductor"):
        ran = jtorch.compile(add, backend=jtorch._dynamo.lookup_backend(name))
        assert jtorch.equal(ran(x, x), add(x, x))
    with pytest.raises(jtorch._dynamo.exc.InvalidBackend):
        jtorch.compile(add, backend="of_nobody")


def test_copies_and_pickles():
    fast = jtorch.compile(add, backend=first_result)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(jtorch.compile(outer, backend=first_result)))):
        assert jtorch.equal(other(jtorch.ones(2), jtorch.ones(2)), add(jtorch.ones(2), jtorch.ones(2)))


def first_result(module, inputs):
    return module.forward


def outer(x, y):
    return add(x, y)
