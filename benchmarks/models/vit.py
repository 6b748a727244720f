"""A vision transformer (Dosovitskiy et al., 2020): 4x4 patches of 32x32 images, 6 layers of width 192, batch 16."""

from . import Case
from .data import floats, integers
from .transformer import block

TINY = {"batch": 2, "layers": 2, "heads": 2, "width": 16, "size": 8}


def build(torch, batch=16, layers=6, heads=3, width=192, size=32, patch=4, classes=10):
    nn, Block = torch.nn, block(torch)

    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.summary = nn.Parameter(torch.zeros(1, 1, width))
            self.positions = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
            self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(layers)))
            self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat((self.summary.expand(x.shape[0], -1, -1), x), 1) + self.positions
            return self.head(self.ln(self.blocks(x)[:, 0]))

    x, y = floats(torch, batch, 3, size, size), integers(torch, classes, batch)
    return Case(ViT(), (x,), (y,), nn.functional.cross_entropy)
