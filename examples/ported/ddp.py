"""Data-parallel training in several processes: each takes its part of the digits, and they average their gradients.

Started by itself it starts ``--world-size`` processes; under ``torchrun`` it is one of the processes.
"""

import argparse
import os
import socket

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def worker(rank, args):
    os.environ.setdefault("RANK", str(rank))
    dist.init_process_group("gloo")
    torch.manual_seed(args.seed)
    digits = load_digits()
    data = TensorDataset(torch.from_numpy((digits.data / 16.0).astype(np.float32)), torch.from_numpy(digits.target))
    sampler = DistributedSampler(data, shuffle=True, seed=args.seed)
    loader = DataLoader(data, batch_size=args.batch_size, sampler=sampler)
    model = DDP(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    done = 0
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            if done == args.steps:
                break
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
            done += 1
            if rank == 0 and done <= args.print_losses:
                print(f"step {done} loss {mean.item():.6f}", flush=True)
        if done == args.steps:
            break
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {mean.item():.4f}", flush=True)
    dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world-size", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    if not dist.is_available():
        raise SystemExit("torch.distributed is not available")
    if "RANK" in os.environ:
        worker(int(os.environ["RANK"]), args)
        return
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE=str(args.world_size))
    mp.spawn(worker, args=(args,), nprocs=args.world_size)


if __name__ == "__main__":
    main()
