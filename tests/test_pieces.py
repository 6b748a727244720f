"""Long programs that repeat themselves are compiled in pieces: the same numbers, guards and donations."""

import numpy as np
import pytest

import jtorch
from jtorch import config, nn
from jtorch.nn import functional as F
from jtorch.trace import executable, pieces

# what is tested is how programs are compiled
pytestmark = pytest.mark.usefixtures("compiled_at_once")

DEPTH, WIDTH = 12, 16


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.a, self.b = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        y = F.gelu(self.a(self.norm(x)))
        return x + self.b(y * y.sigmoid()).tanh()


class Network(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.table = nn.Embedding(10, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, tokens):
        return self.head(self.blocks(self.table(tokens)))


def trainer(optimizer=jtorch.optim.Adam, depth=DEPTH, **options):
    jtorch.manual_seed(0)
    model = Network(depth)
    opt = optimizer(model.parameters(), **{"lr": 0.01, **options})

    def step(tokens, targets):
        opt.zero_grad()
        loss = F.cross_entropy(model(tokens), targets)
        loss.backward()
        opt.step()
        return loss

    return model, step


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return jtorch.tensor(rng.integers(0, 10, 6)), jtorch.tensor(rng.integers(0, 10, 6))


@pytest.fixture
def compiled(monkeypatch):
    """The programs XLA compiled since the test began, by their number of calls."""
    found = []
    make = executable.Executable.__init__

    def noted(self, program, *args):
        found.append(len(program.steps))
        make(self, program, *args)

    monkeypatch.setattr(executable.Executable, "__init__", noted)
    return found


@pytest.fixture
def limit(monkeypatch):
    """Sets how long a whole program may be."""

    def limit(calls):
        monkeypatch.setattr(config, "max_whole", calls)
        jtorch.debug.clear_executables()

    return limit


def trained(steps, data, **options):
    model, step = trainer(**options)
    losses = [step(*data).item() for _ in range(steps)]
    return losses, [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize(
    "optimizer, options",
    [
        (jtorch.optim.Adam, {}),
        (jtorch.optim.AdamW, {"amsgrad": True, "weight_decay": 0.1}),
        (jtorch.optim.SGD, {"momentum": 0.9}),
        (jtorch.optim.RMSprop, {}),
    ],
)
def test_the_same_numbers_from_fewer_programs(optimizer, options, data, compiled, limit):
    whole = trained(4, data, optimizer=optimizer, **options)
    assert max(compiled) > 2 * DEPTH * 5
    compiled.clear()
    limit(100)
    cut = trained(4, data, optimizer=optimizer, **options)
    assert max(compiled) < 40 and len(compiled) < 16
    np.testing.assert_allclose(cut[0], whole[0], rtol=1e-5)
    # RMSprop's first steps are of 0.1 however small the gradient is: of the smallest, rounding shows
    atol = 1e-5 if optimizer is jtorch.optim.RMSprop else 2e-6
    for a, b in zip(cut[1], whole[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=atol)


def test_a_deeper_network_compiles_no_more(data, compiled, limit):
    count = []
    for depth in (16, 32):
        limit(100)
        pieces._known.clear()
        compiled.clear()
        trained(1, data, depth=depth)
        count.append(sum(compiled))
    assert count[1] < 1.6 * count[0]


def test_learning_rate_and_scalars_may_vary(data, limit):
    def run():
        model, _ = trainer()
        out = []
        for scale in (1.0, 2.0, 3.0):
            x = model.table(data[0])
            for _ in range(30):
                x = (x * scale).sigmoid() + x.tanh() * 0.5 - 0.1 * x * x + x.cos()
            out.append(x.sum().item())
        return out

    whole = run()
    limit(50)
    np.testing.assert_allclose(run(), whole, rtol=1e-6)


def test_zeros_keep_their_sign(limit):
    """Equal pieces share an executable; 0.0 and -0.0 are equal numbers, and not the same constant."""

    def run(numbers):
        x, signs = jtorch.ones(3), []
        for number in numbers:
            x = jtorch.copysign(x.sin().cos().tanh() + 1.5, number).exp().sqrt().cos() + 1
            signs.append(jtorch.copysign(x, number).sum())
        return jtorch.stack(signs).sign().tolist()

    limit(50)
    for value in (0.5, 0.25, 0.125):
        numbers = [value, 0.0, 0.0, -0.0] * 8
        assert run(numbers) == [1, 1, 1, -1] * 8
        assert run(numbers[::-1]) == [-1, 1, 1, 1] * 8


def test_an_index_out_of_range_leaves_the_parameters(data, limit):
    limit(100)
    model, step = trainer()
    step(*data)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    bad = jtorch.tensor([0, 1, 2, 3, 4, 10])
    for tokens, targets in ((bad, data[1]), (data[0], bad)):
        with pytest.raises(IndexError):
            step(tokens, targets).item()
        for p, old in zip(model.parameters(), before, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), old)
    step(*data).item()
    assert any((p.detach().numpy() != old).any() for p, old in zip(model.parameters(), before, strict=True))


def test_buffers_are_reused(data, limit):
    limit(100)
    model, step = trainer()
    step(*data).item()
    old = [p._value().array for p in model.parameters()]
    step(*data).item()
    assert all(a.is_deleted() for a in old)
    view = jtorch.debug.last_trace()
    parameters = sum(p.numel() * 4 for p in model.parameters())
    memory = view.memory()
    assert 3 * parameters <= memory.alias_size_in_bytes <= memory.argument_size_in_bytes
    assert view.cost()["flops"] > 0 and view.hlo().count("ENTRY") > 5


def test_a_captured_step_is_cut_as_well(data, limit):
    expected = trained(5, data)[0]
    limit(100)
    _, step = trainer()
    captured = jtorch.compile(step)
    np.testing.assert_allclose([captured(*data).item() for _ in range(5)], expected, rtol=1e-5)


def test_what_does_not_repeat_is_one_program(compiled, limit):
    limit(10)
    x = jtorch.ones(3)
    for k in range(40):
        x = getattr(x, ("sin", "cos", "tanh", "exp", "sigmoid")[(k * k + k // 3) % 5])()
    x.numpy()
    assert compiled == [40]
