"""MNIST-style: two convolutions, pooling, two linear layers, 28x28, batch 64."""

from . import Case
from .data import floats, integers

TINY = {"batch": 2, "size": 12, "width": 4}


def build(torch, batch=64, size=28, width=32, classes=10):
    nn = torch.nn
    pixels = ((size - 4) // 2) ** 2
    model = nn.Sequential(
        nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2 * width * pixels, 4 * width), nn.ReLU(), nn.Linear(4 * width, classes),
    )  # fmt: skip
    x, y = floats(torch, batch, 1, size, size), integers(torch, classes, batch)
    return Case(model, (x,), (y,), nn.functional.cross_entropy)
