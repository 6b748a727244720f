"""A data set that is slow to read, loaded by worker processes while the model trains.

    pip install -e ".[examples]" && python examples/loader_workers.py [--workers 2]

The samples and their random augmentations are the same for every run with the same seed and number of workers. The
classes and the lambda below are this script's own, and there is no ``if __name__ == "__main__"``: neither is needed.
"""

import argparse
import time

from sklearn.datasets import load_digits

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.utils.data import DataLoader, Dataset, random_split

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--epochs", type=int, default=2)
args = parser.parse_args()


class SlowDigits(Dataset):
    """Each image takes 2 ms to read, and is shifted by a random pixel."""

    def __init__(self):
        data = load_digits()
        self.images = torch.tensor(data.images / 16.0, dtype=torch.float32)
        self.labels = torch.tensor(data.target)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        time.sleep(0.002)
        image = torch.roll(self.images[i], int(torch.randint(-1, 2, ())), dims=1)
        return image, self.labels[i]


torch.manual_seed(0)
train, test = random_split(SlowDigits(), [1600, 197])
stack = lambda batch: tuple(map(torch.stack, zip(*batch, strict=True)))  # noqa: E731
options = {"batch_size": 64, "num_workers": args.workers, "collate_fn": stack}
loader = DataLoader(train, shuffle=True, persistent_workers=args.workers > 0, **options)

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(args.epochs):
    start = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {time.perf_counter() - start:.1f} s")

with torch.no_grad():
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, **options))
print(f"test accuracy {right / len(test):.1%} with {args.workers} workers")
