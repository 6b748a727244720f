"""One network on eight devices: data parallel, fully sharded and tensor parallel train to the losses of one device.

python examples/data_parallel.py
"""

import argparse
import os
import re
import sys

# JAX fixes the number of devices when it starts. On a machine with several GPUs nothing needs to be asked for.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jtorch as torch  # noqa: E402
from jtorch import distributed as dist
from jtorch import nn
from jtorch.distributed.fsdp import fully_shard
from jtorch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from jtorch.nn import functional as F

STEPS = 50


class Net(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.embed = nn.Linear(64, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 16)

    def forward(self, x):
        x = F.gelu(self.embed(x))
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x)


def one_device(model):
    return model


def tensor_parallel(model):
    mesh = dist.init_device_mesh("cpu", (8,))
    return parallelize_module(model, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def sharded_both_ways(model):
    mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    parallelize_module(model, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return fully_shard(model, mesh=mesh["dp"])


def train(layout, steps):
    torch.manual_seed(0)
    model = layout(Net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    teacher = torch.randn(64, 16)
    losses = []
    for _ in range(steps):
        x = torch.randn(128, 64)
        y = (x @ teacher).argmax(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


def held(model):
    """Kilobytes of parameters on one device."""
    parts = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
    return sum(p.nbytes for p in parts) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    reference = None
    for layout in (one_device, nn.DataParallel, fully_shard, tensor_parallel, sharded_both_ways):
        losses, model = train(layout, args.steps)
        program = torch.debug.last_trace().hlo()
        found = re.findall(r" (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\(", program)
        counts = ", ".join(f"{found.count(k)} {k}" for k in dict.fromkeys(found)) or "no communication"
        print(f"{layout.__name__:18s} loss {losses[0]:.6f} -> {losses[-1]:.6f}   {held(model):7.1f} KB   {counts}")
        reference = reference or losses
        if max(abs(a - b) for a, b in zip(losses, reference, strict=True)) > 1e-3:
            sys.exit(f"{layout.__name__} departs from one device")


if __name__ == "__main__":
    main()
