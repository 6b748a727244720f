"""Super-resolution: 4x4 digits become 8x8 digits through convolutions and a pixel shuffle."""

import argparse
from math import log10

import torch
import torch.nn as nn
import torch.nn.init as init
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, random_split


class DownscaledDigits(Dataset):
    """(low resolution, high resolution): the low one is the average of each 2x2 block."""

    def __init__(self):
        super().__init__()
        self.high = torch.tensor(load_digits().images / 16.0, dtype=torch.float32).unsqueeze(1)
        self.low = nn.functional.avg_pool2d(self.high, 2)

    def __getitem__(self, index):
        return self.low[index], self.high[index]

    def __len__(self):
        return len(self.high)


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 32, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(32, 32, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(32, 16, (3, 3), (1, 1), (1, 1))
        self.conv4 = nn.Conv2d(16, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.relu(self.conv3(x))
        return self.pixel_shuffle(self.conv4(x))

    def _initialize_weights(self):
        for conv in (self.conv1, self.conv2, self.conv3):
            init.orthogonal_(conv.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv4.weight)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--test-batch-size", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_set, test_set = random_split(DownscaledDigits(), [1500, 297])
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=args.test_batch_size)
    model = Net(upscale_factor=2).to(device)
    criterion = nn.MSELoss()
    optimizer = optim.Adam(model.parameters(), lr=args.lr)

    done = 0
    for epoch in range(1, args.epochs + 1):
        epoch_loss = 0.0
        for low, high in train_loader:
            if done == args.steps:
                return
            low, high = low.to(device), high.to(device)
            optimizer.zero_grad()
            loss = criterion(model(low), high)
            epoch_loss += loss.item()
            loss.backward()
            optimizer.step()
            done += 1
            if done <= args.print_losses:
                print(f"step {done} loss {loss.item():.6f}")
        psnr = 0.0
        with torch.no_grad():
            for low, high in test_loader:
                psnr += 10 * log10(1 / criterion(model(low.to(device)), high.to(device)).item())
        print(f"epoch {epoch}: loss {epoch_loss / len(train_loader):.5f}, PSNR {psnr / len(test_loader):.3f} dB")


if __name__ == "__main__":
    main()
