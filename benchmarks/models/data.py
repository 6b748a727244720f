"""Random batches, the same in every library."""

from __future__ import annotations

import numpy as np


def floats(torch, *shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def integers(torch, end, *shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, end, shape))


def next_tokens(torch, vocabulary, batch, length):
    """``(ids, the ids one later)``, both ``(batch, length)``."""
    ids = integers(torch, vocabulary, batch, length + 1)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def token_loss(torch):
    """Cross-entropy over every position of ``(..., vocabulary)``."""

    def loss(logits, labels):
        return torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.reshape(-1))

    return loss
