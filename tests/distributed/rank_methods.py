"""Run on every rank: other ways of joining than the environment. The argument is ``init_method``, or how to join."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import jtorch as torch
import jtorch.distributed as dist

method, rank, world_size = sys.argv[1], int(os.environ.pop("RANK")), int(os.environ.pop("WORLD_SIZE"))
torch.manual_seed(rank)  # these start no backend
torch.cuda.is_available(), torch.cuda.device_count(), torch.device("cuda", 1)
if method == "store":
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.PrefixStore("job", dist.TCPStore(*address, world_size, rank == 0))
    dist.init_process_group(store=store, rank=rank, world_size=world_size)
elif method == "disagree":
    dist.init_process_group(rank=rank, world_size=world_size + rank)
elif method == "same rank":
    dist.init_process_group(rank=0 if rank == 0 else 1, world_size=world_size, timeout=timedelta(seconds=15))
else:
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=world_size)
x = torch.ones(2)
dist.all_reduce(x)
assert x.tolist() == [world_size] * 2
dist.destroy_process_group()
print("ok")
