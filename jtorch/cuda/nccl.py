"""``torch.cuda.nccl``: what programs ask about NCCL, which XLA brings with it."""

from __future__ import annotations


def is_available(tensors) -> bool:
    """Whether the tensors lie on GPUs, so that NCCL could exchange them."""
    return bool(tensors) and all(t.is_cuda for t in tensors)


def version() -> tuple[int, ...]:
    """Unknown: XLA does not tell.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("torch.cuda.nccl.version(): XLA links NCCL and does not tell which version it is")
