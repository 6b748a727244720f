"""Residual networks (He et al., "Deep residual learning for image recognition", 2015) of 18 and 50 layers.

ResNet-18 has the stem for small images (3x3, no pooling) and runs on 32x32, batch 16; ResNet-50 has ImageNet's (7x7 of
stride 2, pooling) and runs on 96x96, batch 8.
"""

from . import Case
from .data import floats, integers

TINY = {"batch": 2, "size": 32, "width": 4}


def _norm_after(torch, inner, outer, kernel, stride=1):
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outer))


def _residual(torch):
    nn = torch.nn

    class Residual(nn.Module):
        """``relu(body(x) + x)``, with a 1x1 projection of x where shapes differ."""

        def __init__(self, inner, outer, stride, *kernels_and_widths):
            super().__init__()
            layers, now = [], inner
            for i, (kernel, width, step) in enumerate(kernels_and_widths):
                layers += [nn.ReLU()] if i else []
                layers.append(_norm_after(torch, now, width, kernel, step))
                now = width
            self.body = nn.Sequential(*layers)
            same = stride == 1 and inner == outer
            self.short = nn.Identity() if same else _norm_after(torch, inner, outer, 1, stride)

        def forward(self, x):
            return nn.functional.relu(self.body(x) + self.short(x))

    return Residual


def _assemble(torch, stem, blocks, features, batch, size, classes):
    nn = torch.nn
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))
    x, y = floats(torch, batch, 3, size, size), integers(torch, classes, batch)
    return Case(model, (x,), (y,), nn.functional.cross_entropy)


def resnet18(torch, batch=16, size=32, width=64, classes=10):
    Residual, blocks, inner = _residual(torch), [], width
    for level in range(4):
        outer = width * 2**level
        for stride in (1 if level == 0 else 2, 1):
            blocks.append(Residual(inner, outer, stride, (3, outer, stride), (3, outer, 1)))
            inner = outer
    stem = [_norm_after(torch, 3, width, 3), torch.nn.ReLU()]
    return _assemble(torch, stem, blocks, inner, batch, size, classes)


def resnet50(torch, batch=8, size=96, width=64, classes=10):
    Residual, blocks, inner = _residual(torch), [], width
    for level, count in enumerate((3, 4, 6, 3)):
        middle = width * 2**level
        for i in range(count):
            stride = 2 if level and i == 0 else 1
            blocks.append(Residual(inner, 4 * middle, stride, (1, middle, 1), (3, middle, stride), (1, 4 * middle, 1)))
            inner = 4 * middle
    stem = [_norm_after(torch, 3, width, 7, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2, 1)]
    return _assemble(torch, stem, blocks, inner, batch, size, classes)
