"""``jtorch.compile``: a captured function does what the function does."""

import copy

import pytest

import jtorch as torch
from jtorch import nn
from jtorch.compiler.state import statistics

from .compiling import Net, batches, captured, fresh, pair, same  # noqa: F401 (fresh is a fixture)

# captured and recorded steps are equal to the last digit where both are compiled
pytestmark = pytest.mark.usefixtures("compiled_at_once")

# --- whole training steps ------------------------------------------------------------------------------------------


def training(model, optimizer, scheduler=None, **options):
    loss_fn = nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return loss

    return step


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_training_step_with_dropout_schedule_and_running_statistics(name):
    runs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Net()
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.05, **options)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        step = training(model, optimizer, scheduler)
        if compiled:
            step = torch.compile(step)
        torch.manual_seed(1)
        y = torch.tensor([0, 1, 2, 0, 1])
        losses = [step(x, y).item() for x in batches(7)]
        runs.append((losses, model.state_dict(), optimizer.state_dict(), scheduler.last_epoch))
    assert captured(step) and statistics.replays == 5
    (losses, weights, state, epoch), (losses2, weights2, state2, epoch2) = runs
    assert losses == losses2 and epoch == epoch2
    assert all(same(weights[k], weights2[k]) for k in weights)
    assert state["param_groups"] == state2["param_groups"]
    for k, entries in state["state"].items():
        assert all(same(v, state2["state"][k][n]) for n, v in entries.items())


def test_replay_needs_no_new_program_and_runs_no_python():
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    calls = []
    plain = training(model, optimizer)

    def step(x, y):
        len(calls)
        return plain(x, y)

    fast = torch.compile(step)
    y = torch.tensor([0, 1, 2, 0, 1])
    for x in batches(3):
        fast(x, y)
    compiles = torch.debug.counters()["compiles"]
    for x in batches(4):
        fast(x, y)
    assert torch.debug.counters()["compiles"] == compiles
    assert statistics.replays == 5


def test_learning_rate_set_by_hand_and_loaded_state_are_noticed():
    torch.debug.clear_executables()  # a line that has met many programs compiles some quickly: other last bits
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Net(0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = training(model, optimizer)
        step = torch.compile(step) if compiled else step
        start = copy.deepcopy(model.state_dict())
        y = torch.tensor([0, 1, 2, 0, 1])
        out = []
        for i, x in enumerate(batches(12)):
            if i == 4:
                optimizer.param_groups[0]["lr"] = 0.01
            if i == 6:
                model.load_state_dict(start)
            if i == 8:
                optimizer.param_groups[0]["momentum"] = 0.5
            if i == 10:
                model.fc2.weight.requires_grad_(False)
            out.append(step(x, y).item())
        results.append(out)
    assert results[0] == results[1]


def test_gradient_accumulation():
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Net(0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def forward_backward(x, model=model):
            loss = model(x).square().mean()
            loss.backward()
            return loss

        f = torch.compile(forward_backward) if compiled else forward_backward
        out = []
        xs = batches(16)
        for i in range(4):
            optimizer.zero_grad()
            for x in xs[4 * i : 4 * i + 4]:
                out.append(f(x).detach())
            optimizer.step()
        results.append([v.item() for v in out])
    assert results[0] == results[1]
    assert captured(f) and statistics.replays > 5


# --- modules -------------------------------------------------------------------------------------------------------


def test_module_forward_keeps_its_history():
    plain, other = pair()
    fast = torch.compile(other)
    for i, x in enumerate(batches(6)):
        torch.manual_seed(i)
        x.requires_grad_()
        x2 = x.detach().clone().requires_grad_()
        a = plain(x)
        torch.manual_seed(i)
        b = fast(x2)
        assert same(a, b)
        a.square().sum().backward()
        b.square().sum().backward()
        assert same(x.grad, x2.grad)
        for p, q in zip(plain.parameters(), other.parameters(), strict=True):
            assert same(p.grad, q.grad)
        plain.zero_grad()
        other.zero_grad()
        assert all(same(u, v) for u, v in zip(plain.buffers(), other.buffers(), strict=True))
    assert captured(fast) and statistics.replays == 4


def test_double_backward_and_freed_graphs():
    w = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)

    @torch.compile
    def f(x):
        return (torch.sin(x * w)).sum()

    for i in range(4):
        x = torch.tensor([0.3, 0.1, float(i)], requires_grad=True)
        out = f(x)
        (g,) = torch.autograd.grad(out, x, create_graph=True)
        (gg,) = torch.autograd.grad(g.sum(), x)
        assert torch.allclose(gg, -(w.detach() ** 2) * torch.sin(x.detach() * w.detach()), atol=1e-6)
    out = f(x)
    out.backward()
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()
    assert captured(f)


def test_saved_value_overwritten_after_a_replay_is_refused():
    w = torch.ones(3, requires_grad=True)
    f = torch.compile(lambda x: (x * w).sum())
    for _ in range(4):
        x = torch.ones(3)
        out = f(x)
    assert captured(f)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_wrapper_forwards_to_the_module():
    plain, _ = pair()
    fast = torch.compile(plain)
    assert isinstance(fast, torch._dynamo.eval_frame.OptimizedModule) and fast._orig_mod is plain
    assert list(fast.state_dict()) == ["_orig_mod." + k for k in plain.state_dict()]
    assert fast.scale == 1.0
    fast.scale = 2.0
    assert plain.scale == 2.0
    fast.eval()
    assert not plain.training and not fast.training
    fast.load_state_dict(fast.state_dict())
    assert [n for n, _ in fast.named_parameters()][0] == "_orig_mod.fc1.weight"
    assert copy.deepcopy(fast)._orig_mod is not plain
    assert fast.fc1 is plain.fc1
    assert torch.compile(fast) is fast


def test_compile_in_place():
    plain, other = pair(lambda: Net(0.0))
    other.compile()
    for x in batches(5):
        assert same(plain(x), other(x))
    assert captured(other._compiled_call_impl)
    assert list(plain.state_dict()) == list(other.state_dict())


def test_training_flag_and_grad_mode():
    plain, other = pair()
    fast = torch.compile(other)
    for i, x in enumerate(batches(16)):
        mode = i % 4 < 2
        plain.train(mode)
        other.train(mode)
        torch.manual_seed(i)
        a = plain(x)
        torch.manual_seed(i)
        if i % 3 == 0:
            with torch.no_grad():
                b = fast(x)
            assert not b.requires_grad
        else:
            b = fast(x)
            assert b.requires_grad
        assert same(a, b)
    assert captured(fast)


def test_views_slices_and_strided_results():
    w = torch.randn(4, 4)

    def f(x):
        return x.t() * 2, x[1:], (x @ w).t()

    fast = torch.compile(f)
    for _ in range(5):
        x = torch.randn(4, 4)
        for a, b in zip(f(x), fast(x), strict=True):
            assert same(a, b) and a.stride() == b.stride()
    # x[1:] shares x's storage: that is recorded, not replayed
    assert not captured(fast)
    g = torch.compile(lambda x: (x @ w).t())
    for _ in range(4):
        y = g(x)
    assert captured(g) and y.stride() == (1, 4)


def test_argument_written_in_place():
    def f(x, y):
        x.add_(y)
        x[0] = 0
        return x * 2

    fast = torch.compile(f)
    for i in range(5):
        x, x2, y = torch.arange(3.0), torch.arange(3.0), torch.full((3,), float(i))
        assert same(f(x, y), fast(x2, y)) and same(x, x2)
    assert captured(fast)
    z = torch.ones(3)
    assert fast(z, z).tolist() == [0.0, 4.0, 4.0]  # the two arguments are one


def test_detach_and_no_grad_inside():
    w = torch.randn(3, requires_grad=True)

    def f(x):
        with torch.no_grad():
            scale = (x * w).sum()
        return (x.detach() * w * scale + x).sum()

    fast = torch.compile(f)
    for _ in range(4):
        x = torch.randn(3, requires_grad=True)
        want = torch.autograd.grad(f(x), (x, w))
        got = torch.autograd.grad(fast(x), (x, w))
        assert all(same(a, b) for a, b in zip(want, got, strict=True))
    assert captured(fast)


def test_random_numbers_are_drawn_afresh_and_in_order():
    g = torch.Generator()

    def f(x):
        return x + torch.randn(3), nn.functional.dropout(x, 0.5), torch.rand(2, generator=g), torch.randint(9, (3,))

    fast = torch.compile(f)
    for i in range(6):
        x = torch.ones(3)
        torch.manual_seed(i // 2)
        g.manual_seed(i)
        want = f(x)
        torch.manual_seed(i // 2)
        g.manual_seed(i)
        got = fast(x)
        assert all(same(a, b) for a, b in zip(want, got, strict=True))
    first, second = fast(x)[0], fast(x)[0]
    assert not same(first, second)
    assert captured(fast)


def test_methods_nested_arguments_and_structures():
    class Trainer:
        def __init__(self):
            self.factor = 2.0

        @torch.compile
        def run(self, batch, pair):
            return {"sum": batch["x"] * self.factor + pair[0], "list": [pair[1], None, 3]}

    t = Trainer()
    for i in range(6):
        if i == 4:
            t.factor = 10.0
        out = t.run({"x": torch.ones(2)}, (torch.full((2,), float(i)), torch.zeros(1)))
        assert out["sum"].tolist() == [t.factor + i] * 2 and out["list"][1:] == [None, 3]
    assert statistics.replays > 0


def test_custom_autograd_function_and_checkpoint_are_right():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 5

    f = torch.compile(lambda x: Double.apply(x).sum())
    for _ in range(5):
        x = torch.ones(2, requires_grad=True)
        f(x).backward()
        assert x.grad.tolist() == [5, 5]


def test_backward_through_what_the_caller_computed():
    a, b = (torch.ones(3, requires_grad=True) for _ in range(2))
    f = torch.compile(lambda loss: loss.backward())
    for i in range(5):
        (a * i).sum().backward()
        f((b * i).sum() + 0)
        assert same(a.grad, b.grad)
    assert not captured(f)


def test_containers_given_returned_and_attached():
    kept = []

    def appends(batch):
        batch.append(batch[0] * 2)
        return batch

    def returns(x):
        return kept

    def counts(x):
        counts.calls = getattr(counts, "calls", 0) + 1
        return x * counts.calls

    class Options(dict):
        pass

    options = Options(a=1.0)
    options.b = 2.0
    reads = torch.compile(lambda x: x * options["a"] * options.b)
    f, g = torch.compile(appends), torch.compile(returns)
    plain = counts
    h = torch.compile(plain)
    for i in range(1, 7):
        batch = [torch.ones(1)]
        assert f(batch) is batch and len(batch) == 2
        assert g(torch.ones(1)) is kept
        assert h(torch.ones(1)).item() == i
        options.b = float(i // 3)
        assert reads(torch.ones(1)).item() == i // 3


def test_several_threads():
    import threading

    net = Net(0.0).eval()
    fast = torch.compile(net)
    xs = batches(24)
    want = [net(x).detach() for x in xs]
    torch.sync()
    wrong = []

    def work(k):
        for x, y in list(zip(xs, want, strict=True))[k::3]:
            if not torch.allclose(fast(x).detach(), y, atol=1e-6):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_inside_export_and_other_compiled_functions():
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x) + 1)
    for _ in range(4):
        assert outer(torch.ones(1)).item() == 3
        assert inner(torch.ones(1)).item() == 2
    assert captured(outer) and captured(inner)
    net = torch.compile(Net(0.0).eval())
    (x,) = batches(1)
    for _ in range(3):
        net(x)
    wrapper = nn.Sequential(net)
    program = torch.export.export(wrapper, (x,))
    assert torch.allclose(program.module()(x), net(x), atol=1e-6)


def test_several_optimizers_and_steps_in_one_function():
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        g, d = nn.Linear(2, 6), Net(0.0)
        og, od = torch.optim.Adam(g.parameters(), lr=0.01), torch.optim.Adam(d.parameters(), lr=0.02)

        def step(z, x, g=g, d=d, og=og, od=od):
            od.zero_grad()
            loss_d = (d(x) - 1).square().mean() + d(g(z).detach()).square().mean()
            loss_d.backward()
            od.step()
            og.zero_grad()
            loss_g = (d(g(z)) - 1).square().mean()
            loss_g.backward()
            og.step()
            return loss_d.detach(), loss_g.detach()

        step = torch.compile(step) if compiled else step
        torch.manual_seed(5)
        results.append([[v.item() for v in step(torch.randn(5, 2), x)] for x in batches(6)])
    assert captured(step) and statistics.replays >= 3
    for a, b in zip(*results, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_views_of_arguments_that_are_views_show_what_these_show_now():
    data = torch.arange(24.0).view(6, 4)
    fn = torch.compile(lambda x: x.view(-1) * 2)
    for rows in (data, -data, torch.cat([data, data])):
        for i in range(6):
            assert fn(rows[i : i + 1]).tolist() == (2 * rows[i]).tolist()
    assert statistics.replays == 16 and captured(fn)
    first = torch.compile(lambda x: x[0].view(2, 2).T.sum(1))  # a view of a view of a view
    for i in range(5):
        assert first(data[i : i + 2]).tolist() == data[i].view(2, 2).sum(0).tolist()
    assert first.captures == 1
    with torch.no_grad():
        data.zero_()
    assert fn(data[1:2]).tolist() == [0, 0, 0, 0]
