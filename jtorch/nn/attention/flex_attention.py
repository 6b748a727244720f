"""Attention whose scores and mask are Python functions of positions (Dong et al., FlexAttention, 2024).

The functions are called once, on tensors of positions that broadcast against each other, and recorded with everything
else; XLA fuses them into the softmax. Blocks that are masked out wholly are computed all the same: a
:class:`BlockMask` here says what counts, and saves no time.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jtorch

from ...tensor import Tensor
from .. import functional as F

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "noop_mask",
    "or_masks",
]

_DEFAULT_SPARSE_BLOCK_SIZE = 128


class AuxRequest(NamedTuple):
    """What :func:`flex_attention` returns besides the output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """The log-sum-exp of the scores and their maxima, ``(B, Hq, L)``, where asked for."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


# --- masks as functions --------------------------------------------------------------------------------------------


def noop_mask(batch, head, token_q, token_kv):
    """Lets everything take part."""
    return batch.new_ones((), dtype=jtorch.bool)


def _combined(name: str, masks, start: Callable, join: Callable):
    if not all(map(callable, masks)):
        raise RuntimeError(f"All inputs should be callable mask_mods: {masks}")

    def mask(b, h, q_idx, kv_idx):
        result = start(b)
        for each in masks:
            result = join(result, each(b, h, q_idx, kv_idx))
        return result

    mask.__name__ = name
    return mask


def or_masks(*mask_mods):
    """A mask that holds where one of the masks does.

    Raises:
        RuntimeError: one is not callable.
    """
    return _combined("or_mask", mask_mods, lambda b: b.new_zeros((), dtype=jtorch.bool), lambda x, y: x | y)


def and_masks(*mask_mods):
    """A mask that holds where all masks do.

    Raises:
        RuntimeError: one is not callable.
    """
    return _combined("and_mask", mask_mods, lambda b: b.new_ones((), dtype=jtorch.bool), lambda x, y: x & y)


def _positions(shape, device) -> list:
    """For each dimension its indices, shaped to broadcast against the others'."""
    return [
        jtorch.arange(n, device=device).reshape([-1 if i == d else 1 for i in range(len(shape))])
        for d, n in enumerate(shape)
    ]


def _spread(name: str, result, shape):
    """The result of a function of positions in full shape.

    Raises:
        RuntimeError: it is not elementwise in the positions.
    """
    try:
        return result.expand(shape)
    except RuntimeError as error:
        raise RuntimeError(
            f"{name} must return one value for each position: it was called with index tensors that broadcast to "
            f"{tuple(shape)} and returned {tuple(result.shape)}. Use elementwise operations and indexing"
        ) from error


def _is_mask(function) -> bool:
    """Whether a function is of positions only (and not of a score as well)."""
    parameters = inspect.signature(function).parameters.values()
    count = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if count not in (4, 5):
        raise AssertionError(f"Expected 4 or 5 positional args, got {count}")
    return count == 4


def create_mask(mod_fn, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device=None):
    """The boolean mask ``(B, H, Q_LEN, KV_LEN)`` of a mask function, or of where a score function is not -inf."""
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    positions = _positions(shape, device)
    if _is_mask(mod_fn):
        return _spread("mask_mod", mod_fn(*positions), shape).contiguous()
    return ~jtorch.isneginf(_spread("score_mod", mod_fn(jtorch.zeros(shape, device=device), *positions), shape))


# --- masks by blocks -----------------------------------------------------------------------------------------------


def _ordered(dense):
    """For each row of a block matrix how many blocks it has, and their columns (those it has come first); int32."""
    dense = dense.to(jtorch.int32)
    columns = jtorch.argsort(dense, dim=-1, descending=True, stable=True)
    return dense.sum(-1).to(jtorch.int32), columns.to(jtorch.int32)


def _dense(counts, columns):
    """The block matrix of :func:`_ordered`'s two tensors, of 0 and 1 (int32)."""
    taken = (jtorch.arange(columns.shape[-1], device=columns.device) < counts.unsqueeze(-1)).to(jtorch.int32)
    return jtorch.zeros_like(columns).scatter(-1, columns.to(jtorch.int64), taken)


def _mask_of_a_slice(batch, head, token_q, token_kv):
    raise RuntimeError(
        "Cannot use mask_mod from a sliced BlockMask: positions count from the start of the whole. Set mask_mod of the "
        "slice from the original BlockMask's, shifted by the offset"
    )


class BlockMask:
    """Which blocks of the scores take part, row by row, and the function that says which positions in them do.

    ``kv_num_blocks`` ``(B, H, rows)`` and ``kv_indices`` ``(B, H, rows, columns)`` list the blocks that hold partly,
    ``full_kv_...`` those that hold wholly; ``q_...`` are the same by columns. Make one with :func:`create_block_mask`
    or :meth:`from_kv_blocks`.
    """

    _TENSORS = (
        "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices",
        "q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices",
    )  # fmt: skip

    def __init__(
        self, seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, q_num_blocks, q_indices,
        full_q_num_blocks, full_q_indices, BLOCK_SIZE=(_DEFAULT_SPARSE_BLOCK_SIZE,) * 2, mask_mod=noop_mask,
        dq_write_order=None, dq_write_order_full=None, dq_kv_order=None, dq_kv_order_spt=None,
    ):  # fmt: skip
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices
        self.dq_write_order, self.dq_write_order_full = dq_write_order, dq_write_order_full  # of a CUDA kernel's writes
        self.dq_kv_order, self.dq_kv_order_spt = dq_kv_order, dq_kv_order_spt
        self._implied = False  # whether the function says all that the blocks do

    @classmethod
    def from_kv_blocks(
        cls,
        kv_num_blocks,
        kv_indices,
        full_kv_num_blocks=None,
        full_kv_indices=None,
        BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE,
        mask_mod=None,
        seq_lengths=None,
        compute_q_blocks: bool = True,
    ):
        """From the blocks of each row; ``seq_lengths`` defaults to what the blocks cover, ``mask_mod`` to no mask.

        Raises:
            RuntimeError: fewer than two dimensions.
            AssertionError: only one of the two tensors of full blocks.
        """
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
        if seq_lengths is None:
            seq_lengths = (kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1])
        by_column = [None] * 4
        if compute_q_blocks:
            by_column[:2] = _ordered(_dense(kv_num_blocks, kv_indices).mT)
            if full_kv_indices is not None:
                by_column[2:] = _ordered(_dense(full_kv_num_blocks, full_kv_indices).mT)
        by_row = (kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices)
        return cls(tuple(seq_lengths), *by_row, *by_column, size, noop_mask if mask_mod is None else mask_mod)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, H, q_length, kv_length)``."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """How many positions there are."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """The share of positions in blocks that are left out, in percent."""
        blocks = self.kv_num_blocks.sum()
        if self.full_kv_num_blocks is not None:
            blocks = blocks + self.full_kv_num_blocks.sum()
        return 100 * (1 - blocks.item() * math.prod(self.BLOCK_SIZE) / self.numel())

    def to_dense(self):
        """The block matrix ``(B, H, rows, columns)`` of 0 and 1."""
        partial = _dense(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_indices is None:
            return partial
        return partial | _dense(self.full_kv_num_blocks, self.full_kv_indices)

    def to(self, device):
        """The same on another device."""
        moved = {name: None if (t := getattr(self, name)) is None else t.to(device) for name in self._TENSORS}
        new = BlockMask(self.seq_lengths, **moved, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod)
        new._implied = self._implied
        return new

    def as_tuple(self, flatten: bool = True) -> tuple:
        """Its parts: the lengths, the tensors, the block size and the function."""
        lengths, size = (self.seq_lengths, self.BLOCK_SIZE) if flatten else ((self.seq_lengths,), (self.BLOCK_SIZE,))
        return (*lengths, *(getattr(self, name) for name in self._TENSORS), *size, self.mask_mod)

    def __getitem__(self, index):
        """A part of the batches, heads and rows. Its ``mask_mod`` must then be set, as positions have changed."""
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, slice(None), slice(None), slice(None))[:3]
        index = tuple(
            slice(i % n, i % n + 1) if isinstance(i, int) and -n <= i < n else i
            for i, n in zip(index, self.kv_num_blocks.shape, strict=True)
        )
        rows = [None if (t := getattr(self, name)) is None else t[index] for name in self._TENSORS[:4]]
        return BlockMask.from_kv_blocks(
            *rows,
            BLOCK_SIZE=self.BLOCK_SIZE,
            mask_mod=_mask_of_a_slice,
            seq_lengths=self.seq_lengths,
            compute_q_blocks=self.q_indices is not None,
        )

    def _adjust(self, new_q_len: int, new_kv_len: int):
        """The upper left part, for other lengths."""
        rows, columns = (-(-n // size) for n, size in zip((new_q_len, new_kv_len), self.BLOCK_SIZE, strict=True))
        cut = []
        for counts, indices in zip(self._TENSORS[0:4:2], self._TENSORS[1:4:2], strict=True):
            if getattr(self, indices) is None:
                cut += [None, None]
            else:
                cut += _ordered(_dense(getattr(self, counts), getattr(self, indices))[..., :rows, :columns])
        new = BlockMask.from_kv_blocks(
            *cut,
            BLOCK_SIZE=self.BLOCK_SIZE,
            mask_mod=self.mask_mod,
            seq_lengths=(new_q_len, new_kv_len),
            compute_q_blocks=self.q_indices is not None,
        )
        new._implied = self._implied
        return new

    def _allowed(self, shape, device):
        """The boolean mask of ``shape``: within full blocks, or within others where the function holds."""
        holds = _spread("mask_mod", self.mask_mod(*_positions(shape, device)), shape)
        if self._implied:
            return holds

        def positions(counts, indices):
            blocks = _dense(counts, indices).to(jtorch.bool)
            for dim, size in ((-2, self.BLOCK_SIZE[0]), (-1, self.BLOCK_SIZE[1])):
                blocks = blocks.repeat_interleave(size, dim)
            return blocks[..., : shape[-2], : shape[-1]]

        allowed = holds & positions(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_indices is not None:
            allowed = allowed | positions(self.full_kv_num_blocks, self.full_kv_indices)
        return allowed

    def __repr__(self) -> str:
        shapes = {name: None if (t := getattr(self, name)) is None else t.shape for name in self._TENSORS}
        lines = [f"    {name}={shape}," for name, shape in shapes.items()]
        lines += [f"    BLOCK_SIZE={self.BLOCK_SIZE},", f"    shape={self.shape},"]
        lines += [
            f"    sparsity={self.sparsity():.2f}%,",
            f"    mask_mod={getattr(self.mask_mod, '__name__', self.mask_mod)}",
        ]
        return "BlockMask(\n" + "\n".join(lines) + "\n)"

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"

    def to_string(self, grid_size=(20, 20), limit: int = 4) -> str:
        """The block matrices drawn with characters: full, partly filled, empty; at most ``limit`` of them."""
        blocks = self.to_dense().float().numpy()
        *batch, rows, columns = blocks.shape
        whole = (rows, columns) if grid_size == -1 else grid_size
        height, width = (whole, whole) if isinstance(whole, int) else whole
        down, across = max(1, -(-rows // height)), max(1, -(-columns // width))
        drawn = []
        for number, at in enumerate(itertools.product(*map(range, batch))):
            if number == limit:
                drawn += ["...", "To print out more, set BlockMask.to_string(limit=N)"]
                drawn.append("You can also index (BlockMask[batch, head]) to choose a specific batch or head")
                break
            text = f"{at}\n"
            for r in range(0, rows, down):
                shares = (blocks[at][r : r + down, c : c + across].mean() for c in range(0, columns, across))
                text += "".join(("█" if s == 1 else " " if s == 0 else "░") * 2 for s in shares) + "\n"
            drawn.append(text)
        return "\n".join(drawn)


def create_block_mask(
    mask_mod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device=None,
    BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE,
    _compile: bool = False,
    separate_full_blocks: bool = True,
    compute_dq_write_order: bool = False,
    dq_kv_order: bool = True,
) -> BlockMask:
    """The :class:`BlockMask` of a mask function ``(batch, head, q_index, kv_index) -> bool``.

    ``B`` and ``H`` are None where the function does not depend on them. Blocks without a position are left out, blocks
    with all are listed apart (unless ``separate_full_blocks=False``). The other options are for CUDA kernels, and do
    nothing.

    Raises:
        AssertionError: a function of another number of arguments.
    """
    if not _is_mask(mask_mod):
        raise AssertionError("create-block_mask requires a mask_mod function! Got a score_mod")
    rows, columns = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    mask = F.pad(mask, (0, -KV_LEN % columns, 0, -Q_LEN % rows))
    batch, heads, q, kv = mask.shape
    count = mask.reshape(batch, heads, q // rows, rows, kv // columns, columns).sum((-3, -1))
    full = count == rows * columns
    if separate_full_blocks:
        blocks = (*_ordered((count > 0) & ~full), *_ordered(full))
    else:
        blocks = _ordered(count > 0)
    made = BlockMask.from_kv_blocks(*blocks, BLOCK_SIZE=(rows, columns), mask_mod=mask_mod, seq_lengths=(Q_LEN, KV_LEN))
    made._implied = True
    return made


# --- attention -----------------------------------------------------------------------------------------------------


def _check(query, key, value, block_mask, enable_gqa: bool) -> None:
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "Expect query and key/value to have the same embedding dimension but got "
            f"E={query.shape[-1]} and E={key.shape[-1]}."
        )
    heads, shared = query.shape[1], key.shape[1]
    if not enable_gqa and heads != shared:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={shared}. Try "
            "setting enable_gqa=True for GQA."
        )
    if heads % shared:
        raise ValueError(
            f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={heads} and Hkv={shared}."
        )
    if query.shape[0] != key.shape[0]:
        if block_mask is None:
            raise ValueError(
                "Expect query and key/value to have the same batch size, or non-none block_mask, but got "
                f"block_mask=None, Bq={query.shape[0]}, and Bkv={key.shape[0]}."
            )
        if key.shape[0] != 1:
            raise RuntimeError(f"Bq and Bkv must broadcast. Got Bq={query.shape[0]} and Bkv={key.shape[0]}")
    if block_mask is None:
        return
    if block_mask.mask_mod is _mask_of_a_slice:
        raise RuntimeError("Cannot use mask_mod from a sliced BlockMask")
    made, given = tuple(block_mask.seq_lengths), (query.shape[-2], key.shape[-2])
    if made != given:
        smaller = any(m < g for m, g in zip(made, given, strict=True))
        way = (
            "smaller length than you're using it for, you likely need to create a new block mask."
            if smaller
            else "larger length than you're using it for, you can either 1. create a new block mask with the correct "
            "length, or 2. 'adjust' the existing block mask to the correct length by calling "
            "block_mask._adjust(q_len, kv_len), which keeps its upper left corner."
        )
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={given[0]} and "
            f"kv_len={given[1]}. As the block mask was created for a {way}"
        )


def flex_attention(
    query,
    key,
    value,
    score_mod=None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: dict | None = None,
    *,
    return_aux: AuxRequest | None = None,
):
    """``softmax(score_mod(scale q kᵀ)) v`` over the positions that ``block_mask`` allows.

    Args:
        query, key, value: ``(B, Hq, L, E)``, ``(B, Hkv, S, E)``, ``(B, Hkv, S, Ev)``; the result is ``(B, Hq, L, Ev)``.
        score_mod: ``(score, batch, head, q_index, kv_index) -> score``, elementwise: it is called once with scores
            ``(B, Hq, L, S)`` and index tensors that broadcast to them. It may index other tensors, and gradients reach
            these too.
        scale: default ``1 / √E``.
        enable_gqa: ``Hq`` may be a multiple of ``Hkv``: groups of query heads share a key and value head.
        return_lse, return_aux: return the log-sum-exp of the scores as well, or an :class:`AuxOutput`.
        kernel_options: accepted and not used.

    A row that is masked out wholly gives 0.

    Raises:
        ValueError: sizes that do not fit, or both ``return_lse`` and ``return_aux``.
        NotImplementedError: tensors that are not 4-dimensional.
    """
    _check(query, key, value, block_mask, enable_gqa)
    if return_lse and return_aux is not None:
        raise ValueError(
            "Cannot specify both return_lse and return_aux. return_lse is deprecated, please use "
            "return_aux=AuxRequest(lse=True) instead."
        )
    batch, heads, length, size = query.shape
    shape = (batch, heads, length, key.shape[-2])
    scale = 1.0 / math.sqrt(size) if scale is None else scale
    allowed = None if block_mask is None else block_mask._allowed(shape, query.device)
    if key.shape[0] != batch:
        key, value = (x.expand(batch, -1, -1, -1) for x in (key, value))
    if score_mod is None and not return_lse and return_aux is None and query.dtype is key.dtype is value.dtype:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, scale=scale, enable_gqa=heads != key.shape[1]
        )
    if heads != key.shape[1]:
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    wide = jtorch.float64 if query.dtype is jtorch.float64 else jtorch.float32
    scores = query.to(wide) @ key.to(wide).mT * scale
    if score_mod is not None:
        scores = _spread("score_mod", score_mod(scores, *_positions(shape, query.device)), shape).to(wide)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    lse = scores.logsumexp(-1, keepdim=True)
    weights = (scores - lse.masked_fill(lse == -math.inf, 0.0)).exp()
    out = weights.to(query.dtype) @ value.to(query.dtype)
    lse = lse.squeeze(-1)
    if return_aux is not None:
        return out, AuxOutput(lse if return_aux.lse else None, scores.amax(-1) if return_aux.max_scores else None)
    return (out, lse) if return_lse else out
