"""Run on every rank: what happens when one of them fails. The first argument says how."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta

import jtorch as torch
import jtorch.distributed as dist

how = sys.argv[1]
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", timeout=timedelta(seconds=float(os.environ.get("LIMIT", "60"))))
x = torch.ones(4)
dist.all_reduce(x)
print("started", flush=True)


def forever():
    while True:
        dist.all_reduce(torch.ones(4))
        time.sleep(0.01)


if how == "killed":  # the others are in collectives
    if rank == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    forever()
elif how == "killed while idle":  # the others compute by themselves, and find out at their next collective
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(2)
    dist.all_reduce(x)
elif how == "killed while receiving":
    if rank == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    dist.recv(x, 1) if rank == 0 else dist.barrier()
elif how == "raised":
    if rank == 1:
        raise KeyError("broken on purpose")
    forever()
elif how == "exited":
    if rank == 1:
        sys.exit(3)
    forever()
elif how == "finished":  # rank 1's program ends, and the others wait for it
    if rank != 1:
        dist.all_reduce(x)
elif how == "terminated":
    if rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    forever()
elif how == "slow":  # rank 0 ends at once; nobody minds
    if rank:
        time.sleep(3)
        print("slept", flush=True)
elif how == "kinds":
    dist.all_reduce(x) if rank else dist.broadcast(x, 0)
elif how == "shapes":
    dist.all_reduce(torch.ones(4 + rank))
elif how == "missing":
    if rank == 1:
        time.sleep(60)
    dist.all_reduce(x)
elif how == "monitored":
    if rank == 0:
        dist.monitored_barrier(timeout=timedelta(seconds=1))
    time.sleep(10)
else:
    raise ValueError(how)
