"""A variational autoencoder on scikit-learn's digits; prints a few digits of its own invention.

python examples/vae.py
"""

import argparse
import sys

import numpy as np
from sklearn.datasets import load_digits

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.utils.data import DataLoader

EPOCHS, WANTED_LOSS = 40, 26.0


class VAE(nn.Module):
    def __init__(self, latent=8):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 128), nn.Tanh(), nn.Linear(128, 64))

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.decoder(z), mean, log_var

    @torch.no_grad()
    def sample(self, count):
        return torch.sigmoid(self.decoder(torch.randn(count, self.latent)))


def negative_elbo(logits, x, mean, log_var):
    """Reconstruction error plus the divergence from the standard normal, per image."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum()
    return (reconstruction + divergence) / x.size(0)


def show(images):
    """Images side by side, in characters."""
    shades = np.array(list(" .:-=+*#%@"))
    pixels = (images.view(-1, 8, 8).numpy() * 9.99).astype(int)
    for row in range(8):
        print("   ".join("".join(shades[image[row]]) for image in pixels))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    images = torch.from_numpy((load_digits().data / 16.0).astype(np.float32))
    loader = DataLoader(images, args.batch_size, shuffle=True, drop_last=True)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    means = []
    for epoch in range(1, args.epochs + 1):
        total = 0.0
        for x in loader:
            logits, mean, log_var = model(x)
            loss = negative_elbo(logits, x, mean, log_var)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        means.append(total / len(loader))
        if epoch % 5 == 0 or epoch == 1:
            print(f"epoch {epoch:3d}  loss {means[-1]:.4f}")

    show(model.sample(6))
    print(f"loss {means[0]:.4f} -> {means[-1]:.4f}")
    if args.epochs >= EPOCHS and means[-1] > WANTED_LOSS:
        sys.exit(f"expected a loss of at most {WANTED_LOSS}")


if __name__ == "__main__":
    main()
