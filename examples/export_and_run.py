"""Train a small classifier with a captured step, export it for CPU, GPU and TPU, and run it in another process.

python examples/export_and_run.py

The other process (run_exported.py) has neither this model's source nor jtorch, only jax. Exits with an error if its
results differ.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

import jtorch as torch
from jtorch import nn


class Spiral(nn.Module):
    """Which arm of a spiral a point lies on."""

    def __init__(self, hidden=64, arms=3):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.out = nn.Linear(hidden, arms)

    def forward(self, points):
        return self.out(self.inner(points))


def spiral(n, arms=3):
    arm = torch.randint(0, arms, (n,))
    radius = torch.rand(n)
    angle = radius * 4 + arm * (2 * torch.pi / arms) + torch.randn(n) * 0.1
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), arm


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    model = Spiral()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    @torch.compile
    def step(points, arm):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), arm)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(steps):
        loss = step(*spiral(128))
    print(f"loss after {steps} steps: {loss.item():.3f}")

    model.eval()
    points, _ = spiral(5)
    program = torch.export.export(model, (points,), dynamic_shapes={"points": {0: torch.export.Dim("batch")}})
    with tempfile.TemporaryDirectory() as folder:
        torch.export.save(program, os.path.join(folder, "model.zip"))
        points, _ = spiral(9)  # another batch size than the example's
        np.savez(os.path.join(folder, "inputs.npz"), points=points.numpy())
        reader = pathlib.Path(__file__).with_name("run_exported.py")
        said = subprocess.run(
            [sys.executable, str(reader), "model.zip", "inputs.npz"], cwd=folder, capture_output=True, text=True
        )  # fmt: skip
        if said.returncode:
            sys.exit(said.stderr)
    print(said.stdout.strip())
    theirs = float(re.search(r"sum (-?[\d.]+)", said.stdout)[1])
    if abs(theirs - model(points).sum().item()) > 1e-3:
        sys.exit("the exported program gives another result")


if __name__ == "__main__":
    main()
