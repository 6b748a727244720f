"""Between convolutions pointwise operations are computed channels-last: the same results, fewer turns."""

import numpy as np
import pytest

import jtorch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.ops.registry import OPS
from jtorch.trace import call as calls
from jtorch.trace import layout
from jtorch.trace.aval import aval
from jtorch.trace.jaxapi import x64

SHAPE = (2, 3, 4, 5)
ELEMENTWISE = sorted(name for name, op in OPS.items() if op.elementwise)


def some_call(op):
    """A call of the op on arrays of four dims, with the first dtype it takes."""
    statics = tuple({p.name: p.default for p in op.parameters}[name] for name in op.static_names)
    statics = tuple(1 if not isinstance(s, (bool, float, int, str, type(None))) else s for s in statics)
    kinds = {p.name: p for p in op.parameters}
    for dtype in (jtorch.float32, jtorch.int64, jtorch.bool, jtorch.complex64):
        keys = tuple(aval(SHAPE, dtype) if kinds[n].kind == "array" else float for n in op.operand_names)
        try:
            return calls.intern(op, statics, keys, "cpu")
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            continue
    return None


def random(a, rng):
    x = rng.uniform(0.1, 0.9, a.shape)
    return (x * 5).astype(a.dtype.np) if not a.is_float else x.astype(a.dtype.np)


def test_pointwise_operations_do_not_care_for_the_order_of_dims():
    rng, checked = np.random.default_rng(0), []
    for name in ELEMENTWISE:
        call = some_call(OPS[name])
        if call is None:
            continue
        turned = layout.turned_call(call)
        assert turned is not None, name
        arrays = [random(a, rng) for a in call.in_avals]
        with x64(True):
            expected = call.jitted(*arrays)
            got = turned.jitted(*map(layout.turn, arrays))
            for e, g in zip(expected, got, strict=True):
                np.testing.assert_allclose(layout.turn_back(np.asarray(g)), e, rtol=2e-6, atol=1e-6, err_msg=name)
        checked.append(name)
    assert len(checked) > 150, sorted(set(ELEMENTWISE) - set(checked))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.norm, self.batch, self.time = nn.GroupNorm(2, 8), nn.BatchNorm2d(8), nn.Linear(4, 8)

    def forward(self, x, t):
        h = F.silu(self.norm(self.a(x) + self.time(t)[:, :, None, None]))
        h = self.b(jtorch.cat((h, F.max_pool2d(h, 3, 1, 1).tanh()), 1)) + h
        return F.gelu(self.batch(h)).mean((2, 3))


def results():
    jtorch.manual_seed(0)
    model, x, t = Network(), jtorch.randn(2, 3, 8, 8, requires_grad=True), jtorch.randn(2, 4)
    y = model(x, t)
    (g,) = jtorch.autograd.grad(y.square().sum(), x, create_graph=True)
    loss = y.sum() + g.square().sum()
    loss.backward()
    found = [loss, x.grad, *[p.grad for p in model.parameters()], model.batch.running_mean]
    return [v.detach().numpy() for v in found], jtorch.debug.last_trace().hlo()


def test_networks_compute_the_same_with_fewer_turns(monkeypatch):
    found, program = results()
    monkeypatch.setattr(layout.Layout, "run", lambda self, call, slots, arrays, outs: call.jitted(*arrays))
    jtorch.debug.clear_executables()
    expected, before = results()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    assert turns(program) < 0.8 * turns(before)


def turns(hlo: str) -> int:
    """How many whole activations (2 x 8 channels x 8 x 8 numbers and more) are copied or turned."""
    sizes = []
    for line in hlo.splitlines():
        if " transpose(" in line or " copy(" in line:
            shape = line.split("[", 1)[1].split("]", 1)[0]
            sizes.append(np.prod([int(n) for n in shape.split(",") if n]))
    return sum(size >= 1024 for size in sizes)


@pytest.mark.parametrize("shape", [(8, 6), (3, 8, 6), (2, 3, 8, 6)])
def test_other_operands_stay_as_they_are(shape):
    """An operand of another rank than the convolution's results keeps the call in PyTorch's layout."""
    jtorch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 1)
    x, other = jtorch.randn(2, 3, 8, 6), jtorch.randn(shape)
    y = conv(x)
    expected = np.asarray(y.detach().numpy()) + other.numpy()
    np.testing.assert_array_equal((conv(x) + other).detach().numpy(), expected)
