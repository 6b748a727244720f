"""What the tests of ``jtorch.compile`` have in common."""

import copy

import pytest

import jtorch as torch
from jtorch import nn


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def captured(fn) -> bool:
    return getattr(fn, "_compiled", fn).captures > 0


def same(a, b) -> bool:
    return torch.equal(torch.as_tensor(a).detach(), torch.as_tensor(b).detach())


class Net(nn.Module):
    def __init__(self, p=0.25):
        super().__init__()
        self.fc1, self.bn, self.drop, self.fc2 = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(p), nn.Linear(8, 3)
        self.scale = 1.0
        self.layers = [0.5, 2.0]

    def forward(self, x):
        h = self.drop(torch.relu(self.bn(self.fc1(x))))
        for s in self.layers:
            h = h * s
        return self.fc2(h) * self.scale


def pair(make=Net):
    torch.manual_seed(0)
    plain = make()
    return plain, copy.deepcopy(plain)


def batches(n, seed=3, size=5):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 6, generator=g) for _ in range(n)]


# here because pytest rewrites assertions in modules of tests


def asserting(x):
    assert x.isfinite().all(), "finite"
    assert not (x > 100).any()
    return x * 2


def asserts_either(x):
    assert x.sum() > 0 or x.max() > 0
    return x
