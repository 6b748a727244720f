"""``torch.functional``: a second place of functions that PyTorch has in Python."""

import jtorch

_NAMES = (
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes", "broadcast_tensors", "cartesian_prod",
    "cdist", "chain_matmul", "einsum", "istft", "lu", "meshgrid", "norm", "pca_lowrank", "split", "stft", "svd_lowrank",
    "tensordot", "unique", "unique_consecutive", "unravel_index",
)  # fmt: skip


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(jtorch, name)
    raise AttributeError(f"module 'torch.functional' has no attribute {name!r}")
