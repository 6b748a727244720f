"""``DTensor`` over ranks: this process's part of a tensor, and how the parts make up the whole.

Recording and autograd are those of the part (``tensor/stored.py``). Shapes are those of the whole, and operations mean
what they mean on the whole: :func:`run` finds how operands must lie (``rules.py``), lets them lie so
(``moves.py``), and runs the operation on the parts.
"""

from __future__ import annotations

import contextlib
import threading

import jtorch

from ...size import Size
from ...tape import modes
from ...tensor import Tensor, overriding
from ...tensor.dispatch import HyperNumber, dispatch
from ...tensor.layout import strided
from ...tensor.stored import StoredMixin
from ...trace.aval import Hyper, aval
from ...trace.call import intern
from . import moves, rules
from .placements import Partial, Replicate, Shard, normalized

#: name of a function -> what it does with distributed arguments, ``f(func, args, kwargs)``; filled by functions.py
HANDLERS: dict = {}


class _Implicit(threading.local):
    replication = False


implicit = _Implicit()


class RankDTensor(StoredMixin, Tensor):
    """See the module docstring. ``DTensor`` is how programs call it."""

    _stored: Tensor
    _mesh: object
    _placements: tuple = ()
    _whole: Size
    _kind = strided

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        handler = HANDLERS.get(func.__name__)
        if handler is not None:
            return handler(func, args, kwargs or {})
        inner = getattr(func, "__wrapped__", None) if getattr(func, "op", None) is None else None
        if inner is not None and getattr(func, "asks", False):
            return inner(*args, **(kwargs or {}))
        with overriding.without_subclasses():
            return func(*args, **(kwargs or {}))

    def _handler(self, op, operands, statics):
        return run(op, operands, statics)

    @property
    def _storage(self):
        raise NotImplementedError("a DTensor has no storage of its own; use to_local()")

    def _value(self):
        raise NotImplementedError("this operation needs an ordinary tensor; use to_local() or full_tensor() first")

    def _like(self, part) -> RankDTensor:
        """The same layout with another part."""
        return make(part, self._mesh, self._placements, self._whole)

    def _share(self, t) -> Tensor:
        """A tensor laid out as this one is, if it has this shape; every rank has the whole of one that is ordinary."""
        if tuple(t.shape) != tuple(self.shape):
            return t
        if not isinstance(t, RankDTensor):
            t = make(t, self._mesh, (Replicate(),) * self._mesh.ndim, t.shape)
        return laid_out(t, self._placements)

    # --- facts

    device_mesh = property(lambda self: self._mesh)
    placements = property(lambda self: self._placements)
    shape = property(lambda self: self._whole)
    _local_tensor = property(lambda self: self._stored)

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self._whole)

    ndim = property(dim)
    ndimension = dim

    def size(self, dim: int | None = None):
        """The shape of the whole, or the length of one dimension."""
        return self._whole if dim is None else self._whole[dim]

    def numel(self) -> int:
        """The number of elements of the whole."""
        return self._whole.numel()

    nelement = numel

    def __len__(self) -> int:
        if not self._whole:
            raise TypeError("len() of a 0-d tensor")
        return self._whole[0]

    def stride(self, dim: int | None = None):
        """Steps between neighbours, were the whole contiguous."""
        out = [1] * len(self._whole)
        for d in range(len(out) - 2, -1, -1):
            out[d] = out[d + 1] * max(self._whole[d + 1], 1)
        return tuple(out) if dim is None else out[dim]

    def is_contiguous(self, memory_format=None) -> bool:
        """Whether the part is."""
        return self._stored.is_contiguous()

    def storage_offset(self) -> int:
        return 0

    def data_ptr(self) -> int:
        """Where the part lies."""
        return self._stored.data_ptr()

    def untyped_storage(self):
        return self._stored.untyped_storage()

    storage = untyped_storage
    layout = property(lambda self: strided)
    is_shared = Tensor.is_shared

    # --- parts and whole

    def to_local(self, *, grad_placements=None) -> Tensor:
        """This rank's part; differentiable.

        Args:
            grad_placements: how the gradients that the ranks will have of their parts lie (default: as the parts; of
                terms, whole).
        """
        part = self._stored
        if not modes.state.grad or not part.requires_grad:
            return part.detach() if part.is_leaf and not part.requires_grad else part
        if grad_placements is None:
            return part.view_as(part) if part.is_leaf else part
        grad_placements = normalized(grad_placements, self._mesh, self.dim(), "to_local")
        terms = [d for d, p in enumerate(grad_placements) if isinstance(p, Partial)]
        for d in terms:
            if isinstance(self._placements[d], Shard):
                raise NotImplementedError(
                    "to_local(grad_placements=...): gradients of a part cannot be Partial(); redistribute first"
                )
        return moves.sum_gradients(part, [self._mesh.get_group(d) for d in terms])

    def redistribute(
        self, device_mesh=None, placements=None, *, async_op: bool = False, forward_dtype=None, backward_dtype=None
    ) -> RankDTensor:
        """The same tensor in another layout; differentiable.

        Raises:
            RuntimeError: no placements are given, or they are ``Partial()`` where terms are not.
            NotImplementedError: another mesh.
        """
        if device_mesh is not None and device_mesh != self._mesh:
            raise NotImplementedError("Cross device mesh comm not supported yet! Make it with full_tensor().")
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        placements = normalized(placements, self._mesh, self.dim(), "redistribute")
        for p, q in zip(self._placements, placements, strict=True):
            if isinstance(q, Partial) and q != p:
                raise RuntimeError(
                    f"Can not redistribute from {p} to {q}, redistributing to Partial is for internal use only!"
                )
        return laid_out(self, placements)

    def full_tensor(self, *, grad_placements=None) -> Tensor:
        """The whole, as an ordinary tensor on every rank; differentiable."""
        return laid_out(self, (Replicate(),) * self._mesh.ndim).to_local(grad_placements=grad_placements)

    def __create_chunk_list__(self):
        """The part's place in the whole, for checkpoints."""
        from ..checkpoint.metadata import ChunkStorageMetadata

        sizes, offsets = moves.extents(self._whole, self._mesh, self._placements)
        return [ChunkStorageMetadata(offsets=Size(offsets), sizes=Size(sizes))]

    # --- autograd

    @property
    def data(self) -> RankDTensor:
        """The same part, outside autograd."""
        return self._like(self._stored.data)

    @data.setter
    def data(self, other) -> None:
        self._stored.data = other._stored
        self._mesh, self._placements, self._whole = other._mesh, other._placements, other._whole

    @property
    def grad(self):
        """The accumulated gradient, which lies as the tensor does (of terms: whole)."""
        g = self._stored.grad
        if g is None:
            return None
        return make(g, self._mesh, tuple(Replicate() if isinstance(p, Partial) else p for p in self._placements),
                    self._whole)  # fmt: skip

    @grad.setter
    def grad(self, value) -> None:
        if isinstance(value, RankDTensor):
            if tuple(value.shape) != tuple(self.shape):
                raise RuntimeError(
                    f"assigned grad has data of a different size: {list(value.shape)}, expected {list(self.shape)}"
                )
            value = laid_out(value, self._placements)._stored
        self._stored.grad = value

    @grad.deleter
    def grad(self) -> None:
        self._stored.grad = None

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Backward through the parts; a sum of terms is made whole first."""
        whole = summed(self)
        if gradient is not None:
            gradient = laid_out(gradient, whole._placements)._stored
        if inputs is not None:
            inputs = [self._elements(t) for t in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
        whole._stored.backward(gradient, retain_graph, create_graph, inputs)

    def _as_gradient(self):
        return self._stored._value()

    def register_hook(self, hook):
        """Call ``hook(gradient)``, a DTensor, when the gradient arrives."""
        return self._stored.register_hook(lambda g: self._elements(hook(self._like(g))))

    def register_post_accumulate_grad_hook(self, hook):
        """Call ``hook(self)`` after a gradient was accumulated."""
        return self._stored.register_post_accumulate_grad_hook(lambda _: hook(self))

    # --- writing

    def _store(self, result, what: str) -> RankDTensor:
        if isinstance(result, RankDTensor):
            if tuple(result.shape) != tuple(self.shape):
                raise RuntimeError(
                    f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(result.shape)}"
                )
            result = laid_out(result, self._placements)._stored
        self._stored._store(result, what)
        return self

    def _overwrite(self, new):
        self._stored._overwrite(self._elements(new))
        return self

    def copy_(self, src, non_blocking: bool = False) -> RankDTensor:
        """Overwrite the content with that of another distributed tensor, or with a number.

        Raises:
            RuntimeError: ``src`` is an ordinary tensor of several elements.
        """
        if isinstance(src, Tensor):
            src = as_distributed(src, self._mesh, "copy_")
            if tuple(src.shape) != tuple(self.shape):
                src = src.expand(self.shape)
            src = laid_out(src, self._placements)._stored
        self._stored.copy_(src)
        return self

    # --- conversions

    def to(self, *args, **kwargs) -> RankDTensor:
        """Another dtype, or the type of device that the mesh has."""
        part = self._stored.to(*args, **kwargs)
        return self if part is self._stored else self._like(part)

    def type_as(self, other) -> RankDTensor:
        """In the dtype of another tensor."""
        return self.to(other.dtype)

    def clone(self, *, memory_format=None) -> RankDTensor:
        """A copy."""
        return self._like(self._stored.clone())

    def contiguous(self, memory_format=None) -> RankDTensor:
        """The same, each part contiguous."""
        return self._like(self._stored.contiguous())

    def _number(self) -> Tensor:
        with jtorch.no_grad():
            return self.detach().full_tensor()

    def item(self):
        """The one element, from all ranks."""
        return self._number().item()

    def tolist(self):
        """All elements, on every rank."""
        return self._number().tolist()

    def numpy(self, *, force: bool = False):
        """Raises RuntimeError: only a part is here."""
        raise RuntimeError(
            "numpy() of a DTensor: use full_tensor().numpy(), or to_local().numpy() for this rank's part"
        )

    def _host(self, cause: str):
        return self._number()._host(cause)

    _seen = _host

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def __deepcopy__(self, memo) -> RankDTensor:
        t = self._like(self._stored.detach().clone())
        t.requires_grad_(self.requires_grad)
        if self._is_param:
            t._is_param = True
        memo[id(self)] = t
        return t

    def __reduce_ex__(self, protocol):
        raise RuntimeError(
            "a DTensor cannot be pickled: save with torch.distributed.checkpoint, or full_tensor() or to_local()"
        )

    def __repr__(self, *, tensor_contents=None) -> str:
        inner = self._stored if self._stored.is_leaf else self._stored.detach()
        text = ", ".join(_long(p) for p in self._placements)
        text = f"DTensor(local_tensor={inner.detach()!r}, device_mesh={self._mesh!r}, placements=({text},))" if (
            len(self._placements) == 1
        ) else f"DTensor(local_tensor={inner.detach()!r}, device_mesh={self._mesh!r}, placements=({text}))"  # fmt: skip
        return f"Parameter({text})" if self._is_param else text

    __str__ = __repr__


RankDTensor.__name__ = RankDTensor.__qualname__ = "DTensor"


def _long(p) -> str:
    return {Replicate: "Replicate()"}.get(type(p)) or repr(p)


def make(part, mesh, placements, whole) -> RankDTensor:
    """A distributed tensor of these parts, unchecked."""
    t = object.__new__(RankDTensor)
    t._stored, t._mesh, t._placements, t._whole = part, mesh, tuple(placements), Size(whole)
    return t


def laid_out(t: RankDTensor, placements) -> RankDTensor:
    """``t`` in another layout on its mesh; differentiable."""
    placements = tuple(placements)
    if t._placements == placements:
        return t
    part = moves.redistribute_local(t._stored, t._whole, t._mesh, t._placements, placements)
    return make(part, t._mesh, placements, t._whole)


def summed(t: RankDTensor) -> RankDTensor:
    """``t`` without terms that are still to be reduced."""
    return laid_out(t, [Replicate() if isinstance(p, Partial) else p for p in t._placements])


def as_distributed(x, mesh, what: str) -> RankDTensor:
    """An ordinary operand among distributed ones, which is the same on all ranks.

    Raises:
        RuntimeError: it has several elements, and nothing says that they are the same.
    """
    if isinstance(x, RankDTensor):
        if x._mesh != mesh:
            raise RuntimeError(f"{what}: operands lie on different meshes, {mesh!r} and {x._mesh!r}")
        return x
    if x.dim() == 0 or implicit.replication:
        return make(x, mesh, (Replicate(),) * mesh.ndim, x.shape)
    raise RuntimeError(
        f"{what}: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor before calling "
        "distributed operators! (distribute_tensor, DTensor.from_local, or the block implicit_replication())"
    )


# --- operations ------------------------------------------------------------------------------------------------------

_RESHAPING = {"view": "size", "reshape": "shape", "expand": "size", "broadcast_to": "size"}
_AS_RESHAPE = ("flatten", "ravel", "unflatten", "_atleast", "squeeze", "unsqueeze", "view", "reshape")


def _flat(operands) -> list:
    return [y for x in operands for y in (x if isinstance(x, (tuple, list)) else (x,))]


def _whole_avals(op, operands, statics, mesh):
    """Shapes and dtypes of the results, whole; errors are those of the whole."""

    def key(x):
        if isinstance(x, Tensor):
            return aval(tuple(x.shape), x.dtype)
        if isinstance(x, (tuple, list)):
            return tuple(key(y) for y in x)
        return Hyper if isinstance(x, HyperNumber) else None if x is None else x.__class__

    return intern(op, statics, tuple(key(x) for x in operands), mesh.device.platform).out_avals


def run(op, operands, statics):
    """An operation on operands some of which are distributed."""
    flat = _flat(operands)
    mesh = next(x for x in flat if isinstance(x, RankDTensor))._mesh
    convert = {id(x): as_distributed(x, mesh, op.name) for x in flat if isinstance(x, Tensor)}
    names = [
        name for name, x in zip(op.operand_names, operands, strict=True) for y in _flat((x,)) if isinstance(y, Tensor)
    ]
    tensors = [convert[id(x)] for x in flat if isinstance(x, Tensor)]
    outs = _whole_avals(op, operands, statics, mesh)
    attributes = dict(zip(op.static_names, statics, strict=True))
    rule = rules.find(op)
    recorded = modes.state.grad and any(t.requires_grad for t in tensors)
    wanted = [list(t._placements) for t in tensors]
    results = []
    for d in range(mesh.ndim):
        now = [t._placements[d] for t in tensors]
        if rule is None:
            ask, out = [Replicate()] * len(now), Replicate()
        else:
            shapes = [tuple(t.shape) for t in tensors]
            call = rules.Call(op, names, shapes, now, attributes, tuple(outs[0].shape), mesh.shape[d], recorded)
            ask, out = rule(call)
        for i, p in enumerate(ask):
            wanted[i][d] = p
        results.append(out)
    parts = {}
    for t, placements, x in zip(tensors, wanted, [x for x in flat if isinstance(x, Tensor)], strict=True):
        part = _wanting(t, placements)
        whole_here = [
            d for d in range(mesh.ndim)
            if placements[d] == Replicate() and results[d] != Replicate() and mesh.shape[d] > 1
        ]  # fmt: skip
        if recorded and whole_here and part.requires_grad:
            part = moves.sum_gradients(part, [mesh.get_group(d) for d in whole_here])
        parts[id(x)] = part
    local = tuple(
        tuple(parts.get(id(y), y) for y in x) if isinstance(x, (tuple, list)) else parts.get(id(x), x) for x in operands
    )
    if op.name == "_embedding" and _rows_are_cut(wanted[1]):
        result = _embedding_of_rows(op, local, statics, tensors[1], wanted[1])
    else:
        result = _local(op, local, statics, outs, mesh, results)
    if isinstance(result, tuple):
        made = [make(r, mesh, results, a.shape) for r, a in zip(result, outs, strict=True)]
        return type(result)(*made) if hasattr(result, "_fields") else tuple(made)
    return make(result, mesh, results, outs[0].shape)


def _wanting(t: RankDTensor, placements) -> Tensor:
    return laid_out(t, placements)._stored


def _local(op, operands, statics, outs, mesh, results):
    """The operation on parts: sizes among its attributes become those of the part."""
    if op.name in _AS_RESHAPE or op.name in _RESHAPING:
        sizes, _ = moves.extents(outs[0].shape, mesh, results)
        if op.name in _AS_RESHAPE:
            return operands[0].reshape(sizes) if op.name != "view" else operands[0].view(sizes)
        return operands[0].expand(sizes)
    return dispatch(op, operands, statics)


def _rows_are_cut(placements) -> bool:
    return any(isinstance(p, Shard) and p.dim == 0 for p in placements)


def _embedding_of_rows(op, operands, statics, weight, placements):
    """Rows of a table whose rows the ranks share: zeros for those of other ranks."""
    ids, part = operands
    sizes, offsets = moves.extents(weight.shape, weight._mesh, placements)
    here = (ids >= offsets[0]) & (ids < offsets[0] + sizes[0])
    padding, scaled = statics
    if padding is not None:
        padding = padding % weight.shape[0] - offsets[0]
        padding = padding if 0 <= padding < sizes[0] else None
    if sizes[0] == 0:
        return part.new_zeros((*ids.shape, part.shape[1])) + part.sum() * 0
    rows = dispatch(op, (jtorch.where(here, ids - offsets[0], 0), part), (padding, scaled))
    return jtorch.where(here.unsqueeze(-1), rows, jtorch.zeros((), dtype=rows.dtype))


@contextlib.contextmanager
def implicit_replication():
    """Inside, ordinary tensors among distributed ones count as the same on every rank."""
    before, implicit.replication = implicit.replication, True
    try:
        yield
    finally:
        implicit.replication = before


# --- making them -----------------------------------------------------------------------------------------------------


def distribute(tensor: Tensor, mesh, placements, src_data_rank: int | None = 0, what: str = "distribute_tensor"):
    """This rank's part of ``tensor``, which counts as the ranks' coordinate 0 along each dimension has it.

    Args:
        src_data_rank: None: every rank has the same, and nothing is communicated.
    """
    placements = normalized(placements, mesh, tensor.dim(), what)
    if any(isinstance(p, Partial) for p in placements):
        raise RuntimeError(
            f"{what}: a tensor cannot be laid out as Partial(): use Replicate() or Shard(dim), or DTensor.from_local"
        )
    if isinstance(tensor, RankDTensor):
        if tensor._mesh != mesh:
            raise ValueError(
                f"Cannot distribute a DTensor with device mesh {tensor._mesh} to a different device mesh {mesh}."
            )
        if tensor._placements != placements:
            raise ValueError(
                f"Cannot distribute a DTensor with placements {tensor._placements} to a different placements "
                f"{placements}. do you want to call `redistribute` instead?"
            )
        return tensor
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but found non-leaf tensor!")
    whole = tensor.detach()
    if tensor.device.type != mesh.device_type and not tensor.is_meta:
        whole = whole.to(mesh.device)
    if src_data_rank is not None and not tensor.is_meta:
        from .. import collectives

        whole = whole.clone()
        for d in range(mesh.ndim):
            if mesh.shape[d] > 1 and whole.numel():
                collectives.broadcast_all([whole], src_data_rank, mesh.get_group(d), "distribute_tensor")
    sizes, offsets = moves.extents(tensor.shape, mesh, placements)
    part = whole
    for dim, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
        if size != tensor.shape[dim]:
            part = part.narrow(dim, offset, size)
    part = part.clone() if part is not whole or src_data_rank is None else part
    out = make(part, mesh, placements, tensor.shape)
    if isinstance(tensor, jtorch.nn.Parameter):
        return jtorch.nn.Parameter(out, tensor.requires_grad)
    return out.requires_grad_(tensor.requires_grad)


def from_local(part: Tensor, mesh, placements, run_check: bool = False, shape=None, stride=None) -> RankDTensor:
    """A distributed tensor of the parts that the ranks have; gradients flow to them.

    Args:
        run_check: ranks that are to have the same take that of coordinate 0.
        shape: of the whole, where the parts are not all equal.
    """
    placements = normalized(placements, mesh, part.dim(), "from_local")
    if run_check:
        from .. import collectives

        for d, p in enumerate(placements):
            if isinstance(p, Replicate) and mesh.shape[d] > 1:
                collectives.broadcast_all([part], 0, mesh.get_group(d), "from_local")
    if shape is None:
        sizes = list(part.shape)
        for d, p in enumerate(placements):
            if isinstance(p, Shard):
                sizes[p.dim] *= mesh.shape[d]
        shape = sizes
    if part.requires_grad and part.is_leaf:
        part = part.view_as(part)
    return make(part, mesh, placements, shape)


from . import functions  # noqa: E402, F401 (it fills HANDLERS)
