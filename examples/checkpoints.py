"""Training that is interrupted and goes on, with files that PyTorch reads as well.

    pip install -e ".[examples]" && python examples/checkpoints.py

Six steps in one go, and three steps, a checkpoint and three more, end in the same weights. The checkpoint is PyTorch's
format (``torch.load("checkpoint.pt")`` opens it), the weights are written as safetensors too.
"""

import pathlib
import tempfile

from sklearn.datasets import load_digits

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F
from jtorch.serialization import safetensors

data = load_digits()
x, y = torch.tensor(data.data / 16.0, dtype=torch.float32), torch.tensor(data.target)


def fresh():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def steps(model, optimizer, n):
    for _ in range(n):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "checkpoint.pt"
    model, optimizer = fresh()
    steps(model, optimizer, 3)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    torch.save(state, path)

    resumed, optimizer = fresh()
    state = torch.load(path)  # weights only: runs no code from the file
    resumed.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    print(f"resumed: loss {steps(resumed, optimizer, 3):.6f}")

    straight, optimizer = fresh()
    print(f"in one go: loss {steps(straight, optimizer, 6):.6f}")
    for a, b in zip(resumed.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)

    weights = pathlib.Path(folder) / "weights.safetensors"
    safetensors.save_file(resumed.state_dict(), weights)
    assert safetensors.load_file(weights).keys() == resumed.state_dict().keys()
    print("the same weights, bit for bit; also written as safetensors")
