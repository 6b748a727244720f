"""A siamese network: do two digits show the same number?"""

import argparse
import random

import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset


class PairDataset(Dataset):
    """Pairs of digits; every second pair shows the same number twice."""

    def __init__(self, images, targets, seed):
        self.images = torch.tensor(images / 16.0, dtype=torch.float32).unsqueeze(1)
        self.groups = {c: [i for i, t in enumerate(targets) if t == c] for c in range(10)}
        self.random = random.Random(seed)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        first = self.random.randint(0, 9)
        second = first if index % 2 == 0 else (first + self.random.randint(1, 9)) % 10
        a, b = self.random.choice(self.groups[first]), self.random.choice(self.groups[second])
        return self.images[a], self.images[b], torch.tensor(float(first == second))


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2),
        )  # fmt: skip
        self.fc = nn.Sequential(nn.Linear(2 * 32 * 4, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))
        self.sigmoid = nn.Sigmoid()
        self.features.apply(self.init_weights)
        self.fc.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward_once(self, x):
        return self.features(x).view(x.size(0), -1)

    def forward(self, a, b):
        return self.sigmoid(self.fc(torch.cat((self.forward_once(a), self.forward_once(b)), 1))).squeeze()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    digits, split = load_digits(), 1500
    train_set = PairDataset(digits.images[:split], digits.target[:split], args.seed)
    test_set = PairDataset(digits.images[split:], digits.target[split:], args.seed)
    train_loader = DataLoader(train_set, shuffle=True, batch_size=args.batch_size)
    test_loader = DataLoader(test_set, batch_size=args.batch_size)
    model = SiameseNetwork().to(device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    scheduler = StepLR(optimizer, step_size=2, gamma=args.gamma)
    criterion = nn.BCELoss()

    done = 0
    for epoch in range(1, args.epochs + 1):
        model.train()
        for a, b, targets in train_loader:
            if done == args.steps:
                return
            a, b, targets = a.to(device), b.to(device), targets.to(device)
            optimizer.zero_grad()
            loss = criterion(model(a, b), targets)
            loss.backward()
            optimizer.step()
            done += 1
            if done <= args.print_losses:
                print(f"step {done} loss {loss.item():.6f}")
        model.eval()
        correct = 0
        with torch.no_grad():
            for a, b, targets in test_loader:
                outputs = model(a.to(device), b.to(device))
                correct += torch.where(outputs > 0.5, 1.0, 0.0).eq(targets.to(device)).sum().item()
        print(f"epoch {epoch}: loss {loss.item():.4f}, test accuracy {correct}/{len(test_set)}")
        scheduler.step()


if __name__ == "__main__":
    main()
