"""A diffusion U-Net (Ho et al., "Denoising diffusion probabilistic models", 2020): 32x32 images, widths 32 and 64,
attention at the bottom, trained to tell the noise; batch 8.
"""

import math

from . import Case
from .data import floats, integers

TINY = {"batch": 2, "size": 8, "width": 8}


def build(torch, batch=8, size=32, width=32, groups=8):
    nn, F = torch.nn, torch.nn.functional
    code = 4 * width

    class Block(nn.Module):
        """Two normalised convolutions about a shift that the time decides, beside a shortcut."""

        def __init__(self, inner, outer):
            super().__init__()
            self.norm1, self.norm2 = nn.GroupNorm(groups, inner), nn.GroupNorm(groups, outer)
            self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, padding=1), nn.Conv2d(outer, outer, 3, padding=1)
            self.time = nn.Linear(code, outer)
            self.short = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

        def forward(self, x, t):
            h = self.conv1(F.silu(self.norm1(x))) + self.time(t)[:, :, None, None]
            return self.conv2(F.silu(self.norm2(h))) + self.short(x)

    class Attention(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm = nn.GroupNorm(groups, channels)
            self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

        def forward(self, x):
            q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
            y = F.scaled_dot_product_attention(q, k, v)
            return x + self.out(y.transpose(1, 2).reshape(x.shape))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(width, code), nn.SiLU(), nn.Linear(code, code), nn.SiLU())
            self.stem = nn.Conv2d(3, width, 3, padding=1)
            self.down1, self.down2 = Block(width, width), Block(width, 2 * width)
            self.shrink1, self.shrink2 = (nn.Conv2d(c, c, 3, 2, 1) for c in (width, 2 * width))
            self.middle1, self.middle2 = Block(2 * width, 2 * width), Block(2 * width, 2 * width)
            self.attention = Attention(2 * width)
            self.up2, self.up1 = Block(4 * width, 2 * width), Block(3 * width, width)
            self.grow2, self.grow1 = (nn.Conv2d(2 * width, 2 * width, 3, padding=1) for _ in range(2))
            self.norm, self.head = nn.GroupNorm(groups, width), nn.Conv2d(width, 3, 3, padding=1)

        def forward(self, x, t):
            frequency = torch.exp(torch.arange(width // 2, device=x.device) * (-math.log(10_000) / (width // 2)))
            angle = t[:, None] * frequency
            t = self.time(torch.cat((angle.sin(), angle.cos()), 1))
            a = self.down1(self.stem(x), t)
            b = self.down2(self.shrink1(a), t)
            h = self.middle2(self.attention(self.middle1(self.shrink2(b), t)), t)
            h = self.grow2(F.interpolate(h, scale_factor=2.0, mode="nearest"))
            h = self.up2(torch.cat((h, b), 1), t)
            h = self.grow1(F.interpolate(h, scale_factor=2.0, mode="nearest"))
            h = self.up1(torch.cat((h, a), 1), t)
            return self.head(F.silu(self.norm(h)))

    x, noise = floats(torch, batch, 3, size, size), floats(torch, batch, 3, size, size, seed=1)
    t = integers(torch, 1000, batch).float()
    return Case(UNet(), (x, t), (noise,), F.mse_loss)
