"""Hidden layers of 256 with ReLU, batch 64."""

from . import Case
from .data import floats, integers

TINY = {"batch": 4, "width": 16}


def build(torch, batch=64, width=256, depth=3, classes=10):
    nn = torch.nn
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(width, classes))
    x, y = floats(torch, batch, width), integers(torch, classes, batch)
    return Case(model, (x,), (y,), nn.functional.cross_entropy)
