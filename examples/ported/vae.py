"""A variational autoencoder on scikit-learn's digits."""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader


class VAE(nn.Module):
    def __init__(self, hidden=128, latent=8):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.mean = nn.Linear(hidden, latent)
        self.log_var = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, 64)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.mean(h), self.log_var(h)

    def reparameterize(self, mean, log_var):
        std = torch.exp(0.5 * log_var)
        eps = torch.randn_like(std)
        return mean + eps * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mean, log_var = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mean, log_var)), mean, log_var


def loss_function(reconstruction, x, mean, log_var):
    bce = F.binary_cross_entropy(reconstruction, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return (bce + kld) / len(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = (load_digits().images / 16.0).astype(np.float32)
    loader = DataLoader(torch.from_numpy(images), batch_size=args.batch_size, shuffle=True)
    model = VAE().to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    done = 0
    for epoch in range(1, args.epochs + 1):
        model.train()
        total = 0.0
        for data in loader:
            if done == args.steps:
                return
            data = data.to(device)
            optimizer.zero_grad()
            reconstruction, mean, log_var = model(data)
            loss = loss_function(reconstruction, data, mean, log_var)
            loss.backward()
            total += loss.item() * len(data)
            optimizer.step()
            done += 1
            if done <= args.print_losses:
                print(f"step {done} loss {loss.item():.6f}")
        print(f"epoch {epoch}: average loss {total / len(loader.dataset):.4f}")

    with torch.no_grad():
        sample = model.decode(torch.randn(4, 8).to(device)).cpu().view(4, 8, 8)
    for row in range(8):
        print("   ".join("".join(" .:-=+*#%@"[int(v * 9.99)] for v in image[row]) for image in sample))


if __name__ == "__main__":
    main()
