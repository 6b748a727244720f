"""The benchmark networks, written once in PyTorch's API: ``build(name, torch)`` with either library as ``torch``."""

from __future__ import annotations

import numpy as np

NAMES = ("mlp", "cnn", "gpt", "lstm", "resnet18")


def build(name: str, torch):
    """``(model, batch, loss function)``; the batch is a tuple of tensors for ``loss(model, *batch)``."""
    torch.manual_seed(0)
    return {"mlp": mlp, "cnn": cnn, "gpt": gpt, "lstm": lstm, "resnet18": resnet18}[name](torch)


def _images(torch, n, channels, size, classes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, channels, size, size)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(rng.integers(0, classes, n))


def classify(torch):
    def loss(model, x, y):
        return torch.nn.functional.cross_entropy(model(x), y)

    return loss


def mlp(torch, width=256, depth=3, batch=64):
    """Three hidden layers of 256, batch 64."""
    nn = torch.nn
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((batch, width)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 10, batch))
    return nn.Sequential(*layers, nn.Linear(width, 10)), (x, y), classify(torch)


def cnn(torch, batch=64):
    """MNIST-style: two convolutions, pooling, two linears, 28x28, batch 64."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    return model, _images(torch, batch, 1, 28, 10), classify(torch)


def gpt(torch, layers=4, heads=4, width=128, length=64, batch=12, vocabulary=128):
    """A GPT of 4 layers, 4 heads, width 128 on 64 tokens, batch 12."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            b, t, c = x.shape
            q, k, v = self.qkv(self.ln1(x)).split(width, dim=2)
            q, k, v = (a.view(b, t, heads, c // heads).transpose(1, 2) for a in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, c))
            return x + self.down(F.gelu(self.up(self.ln2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.ln(x))

    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(0, vocabulary, (batch, length + 1)))

    def loss(model, x, y):
        return F.cross_entropy(model(x).view(-1, vocabulary), y.reshape(-1))

    return GPT(), (ids[:, :-1].contiguous(), ids[:, 1:].contiguous()), loss


def lstm(torch, width=256, layers=2, length=35, batch=20, vocabulary=1000):
    """A word language model: 2-layer LSTM of 256, 35 steps, batch 20."""
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(vocabulary, width)
            self.rnn = nn.LSTM(width, width, layers)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, ids):
            return self.head(self.rnn(self.embed(ids))[0])

    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(0, vocabulary, (length + 1, batch)))

    def loss(model, x, y):
        return F.cross_entropy(model(x).view(-1, vocabulary), y.reshape(-1))

    return Model(), (ids[:-1].contiguous(), ids[1:].contiguous()), loss


def resnet18(torch, batch=16, classes=10):
    """ResNet-18 with the 3x3 stem for 32x32 images, batch 16."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, inner, outer, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outer)
            self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outer)
            self.short = nn.Sequential()
            if stride != 1 or inner != outer:
                self.short = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.short(x))

    stages = []
    inner = 64
    for outer, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        stages += [Block(inner, outer, stride), Block(outer, outer, 1)]
        inner = outer
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(512, classes),
    )  # fmt: skip
    return model, _images(torch, batch, 3, 32, classes), classify(torch)
