"""A CNN on scikit-learn's handwritten digits, trained in floating point, then run in 8-bit integers.

python examples/quantize_digits.py

Prints accuracy and size before and after, and what the layers became; exits with an error if quantization costs more
than half a point of accuracy, or saves less than 70 % of the space.
"""

import argparse
import os
import sys
import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jtorch as torch
from jtorch import nn
from jtorch.ao import quantization as aq
from jtorch.nn import functional as F


class Net(nn.Module):
    """Between ``quant`` and ``dequant`` everything will be integers."""

    def __init__(self):
        super().__init__()
        self.quant = aq.QuantStub()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(64 * 2 * 2, 128)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(128, 10)
        self.dequant = aq.DeQuantStub()

    def forward(self, x):
        x = self.quant(x)
        x = self.pool(self.relu1(self.bn1(self.conv1(x))))  # (B, 1, 8, 8) -> (B, 32, 4, 4)
        x = self.pool(self.relu2(self.bn2(self.conv2(x))))  # -> (B, 64, 2, 2)
        x = self.relu3(self.fc1(x.flatten(1)))
        return self.dequant(self.fc2(x))


FUSE = [["conv1", "bn1", "relu1"], ["conv2", "bn2", "relu2"], ["fc1", "relu3"]]


def data():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, test_size=0.3, random_state=0, stratify=labels)
    return (torch.from_numpy(a) for a in split)


def train(model, x, y, epochs, batch_size=64):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()


@torch.no_grad()
def accuracy(model, x, y):
    return (model(x).argmax(1) == y).float().mean().item()


def file_size(model):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pt")
        torch.save(model.state_dict(), path)
        return os.path.getsize(path)


def quantize(model, calibration):
    """Static quantization: fuse, watch the activations of some training images, convert."""
    fused = aq.fuse_modules(model.eval(), FUSE)
    fused.qconfig = aq.get_default_qconfig("x86")
    prepared = aq.prepare(fused)
    with torch.no_grad():
        prepared(calibration)
    return aq.convert(prepared)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    x_train, x_test, y_train, y_test = data()
    model = Net()
    train(model, x_train, y_train, args.epochs)
    model.eval()
    static, dynamic = quantize(model, x_train[:256]), aq.quantize_dynamic(model, {nn.Linear}, dtype=aq.qint8)

    print(static, "\n")
    print(f"{'':24}{'test accuracy':>14}{'state dict':>14}")
    for name, m in (("float32", model), ("int8, linear layers", dynamic), ("int8, whole network", static)):
        print(f"{name:24}{accuracy(m, x_test, y_test):14.4f}{file_size(m):12,d} B")

    # a quantized state dict is loaded into a model converted the same way; any input calibrates that one
    loaded = quantize(Net(), torch.randn(2, 1, 8, 8))
    loaded.load_state_dict(static.state_dict())
    if not torch.equal(loaded(x_test), static(x_test)):
        sys.exit("the loaded model computes something else")
    if accuracy(static, x_test, y_test) < accuracy(model, x_test, y_test) - 0.005:
        sys.exit("quantization cost more than half a point of accuracy")
    if file_size(static) > 0.3 * file_size(model):
        sys.exit("the quantized state dict is larger than 0.3 of the float one")


if __name__ == "__main__":
    main()
