"""``torch.cuda.nccl``: what programs ask about NCCL, which XLA brings with it."""

from __future__ import annotations

from ..ops.registry import OPS
from ..tensor.export import function

_cat, _stack = function(OPS["cat"]), function(OPS["stack"])


def is_available(tensors) -> bool:
    """Whether the tensors lie on GPUs, so that NCCL could exchange them."""
    return bool(tensors) and all(t.is_cuda for t in tensors)


def version() -> tuple[int, ...]:
    """Unknown: XLA does not tell.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("torch.cuda.nccl.version(): XLA links NCCL and does not tell which version it is")


def _write(outputs, results) -> None:
    for target, result in zip(outputs, results, strict=True):
        target.copy_(result)


def _reduced(inputs, op: int, device):
    """Raises: ValueError: ``op`` is none of NCCL's 0 (sum), 1 (product), 2 (maximum), 3 (minimum), 4 (mean)."""
    if op not in range(5):
        raise ValueError(f"op {op} is none of 0 (sum), 1 (product), 2 (maximum), 3 (minimum) and 4 (mean)")
    every = _stack([x.to(device) for x in inputs])
    return (every.sum, every.prod, every.amax, every.amin, every.mean)[op](0)


def all_reduce(inputs, outputs=None, op: int = 0, streams=None, comms=None) -> None:
    """Each device's tensor becomes the sum of all (or what ``op`` says)."""
    result = _reduced(inputs, op, inputs[0].device)
    _write(inputs if outputs is None else outputs, [result] * len(inputs))


def reduce(inputs, output=None, root: int = 0, op: int = 0, streams=None, comms=None, *, outputs=None) -> None:
    """``output`` (default: ``inputs[root]``) becomes the sum of all (or what ``op`` says)."""
    target = output if output is not None else (inputs if outputs is None else outputs)[root]
    target.copy_(_reduced(inputs, op, inputs[root].device))


def broadcast(inputs, root: int = 0, streams=None, comms=None) -> None:
    """Each device's tensor becomes ``inputs[root]``."""
    _write([x for i, x in enumerate(inputs) if i != root], [inputs[root]] * (len(inputs) - 1))


def all_gather(inputs, outputs, streams=None, comms=None) -> None:
    """Each of ``outputs`` becomes all inputs, one after another."""
    for target in outputs:
        target.copy_(_cat([x.to(target.device).reshape(-1) for x in inputs]).view(target.shape))


def reduce_scatter(inputs, outputs, op: int = 0, streams=None, comms=None) -> None:
    """Each of ``outputs`` becomes its part of the sum (or what ``op`` says) of all inputs."""
    parts = _reduced(inputs, op, inputs[0].device).reshape(-1).chunk(len(outputs))
    _write(outputs, [part.view(target.shape) for part, target in zip(parts, outputs, strict=True)])


__all__ = ["all_gather", "all_reduce", "broadcast", "reduce", "reduce_scatter"]
