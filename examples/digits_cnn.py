"""A small CNN on scikit-learn's handwritten digits: 98 % of the test images right, in under two minutes on a CPU.

python examples/digits_cnn.py
"""

import argparse
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.utils.data import DataLoader, TensorDataset

EPOCHS, WANTED_ACCURACY = 15, 0.98


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 2 * 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)  # (B, 1, 8, 8) -> (B, 32, 4, 4)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # -> (B, 64, 2, 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def loaders(batch_size):
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    x_train, x_test, y_train, y_test = (torch.from_numpy(a) for a in split)
    train = DataLoader(TensorDataset(x_train, y_train), batch_size, shuffle=True)
    test = DataLoader(TensorDataset(x_test, y_test), batch_size)
    return train, test


def train_epoch(model, loader, optimizer, title, losses):
    model.train()
    bar = tqdm(loader, desc=title, file=sys.stderr)
    for x, y in bar:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.4f}")


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N", help="print the first N training losses")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train, test = loaders(args.batch_size)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    losses = []
    for epoch in range(1, args.epochs + 1):
        train_epoch(model, train, optimizer, f"epoch {epoch:2d}/{args.epochs}", losses)
        schedule.step()
    for loss in losses[: args.print_losses]:
        print(f"loss {loss:.6f}")
    result = accuracy(model, test)
    print(f"test accuracy {result:.4f}")
    if args.epochs >= EPOCHS and result < WANTED_ACCURACY:
        sys.exit(f"expected a test accuracy of at least {WANTED_ACCURACY}")


if __name__ == "__main__":
    main()
