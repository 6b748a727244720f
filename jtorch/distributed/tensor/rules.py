"""How operations lie: for each, along one dimension of the mesh, what it wants of its operands and how its result lies.

A rule is a function ``rule(call) -> (placements of the tensor operands, placement of the results)`` over global shapes.
Where an operand is whole (``Replicate``) and the result is not, the operand's gradient is a sum over ranks. An
operation without a rule is computed whole on every rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...tables import by_name
from .placements import Partial, Placement, Replicate, Shard, _NormPartial

R = Replicate()
RULES: dict = {}


@dataclass
class Call:
    """One operation along one dimension of the mesh.

    Args:
        op: the operation.
        names: which operand each tensor is.
        shapes: of the tensors, whole.
        now: how each lies.
        statics: the operation's attributes by name.
        out: the shape of the (first) result, whole.
        n: the number of ranks.
        recorded: whether a gradient will flow.
    """

    op: object
    names: list[str]
    shapes: list[tuple[int, ...]]
    now: list[Placement]
    statics: dict
    out: tuple[int, ...]
    n: int
    recorded: bool

    def at(self, name: str) -> int | None:
        """The position of an operand among the tensors; None if it was left out."""
        return self.names.index(name) if name in self.names else None


#: Registers a rule for operations by name.
rule = by_name(RULES)


def find(op):
    """The rule of an operation; None if it has none."""
    found = RULES.get(op.name)
    if found is None and op.elementwise:
        return elementwise
    return found


def _cut(p) -> int | None:
    return p.dim if isinstance(p, Shard) else None


def _linear_partial(p) -> bool:
    return isinstance(p, Partial) and not isinstance(p, _NormPartial) and p.reduce_op in ("sum", "avg")


# --- element by element ----------------------------------------------------------------------------------------------

_LINEAR = frozenset(("neg", "positive", "to_dtype", "clone", "_identity"))


def _of_terms(c: Call) -> Placement | None:
    """How the result lies where the operation of a sum is made of those of its terms."""
    name, first = c.op.name, c.now[0]
    if name in _LINEAR or name in ("add", "sub") and len(c.now) == 2:
        same = _linear_partial(first) and all(p == first for p in c.now)
        return first if same else None
    if name == "mul" or name == "true_divide" and c.names[0] == "input":
        terms = [p for p in c.now if isinstance(p, Partial)]
        divided = name == "true_divide" and first not in terms
        if len(terms) == 1 and _linear_partial(terms[0]) and not divided and all(p == R or p in terms for p in c.now):
            return terms[0]
    return None


def elementwise(c: Call):
    """Operands are broadcast; all are cut where the largest of them is."""
    ndim = len(c.out)
    terms = _of_terms(c)
    if terms is not None:
        return c.now, terms
    best = None
    for shape, p in zip(c.shapes, c.now, strict=True):
        if isinstance(p, Shard) and shape[p.dim] == c.out[p.dim + ndim - len(shape)]:
            if best is None or math.prod(shape) > best[0]:
                best = math.prod(shape), p.dim + ndim - len(shape), p
    if best is None:
        return [R] * len(c.now), R
    _, dim, p = best
    wanted = []
    for shape in c.shapes:
        d = dim - (ndim - len(shape))
        wanted.append(R if d < 0 or shape[d] == 1 and c.out[dim] != 1 else replace(p, dim=d))
    return wanted, replace(p, dim=dim)


rule("to_dtype", "clone", "_identity")(elementwise)


@rule("_copy")
def _copy(c: Call):
    p = c.now[0]
    if not isinstance(p, Shard) or len(c.now) == 1:
        return [R] * len(c.now), R
    d = p.dim - (len(c.shapes[0]) - len(c.shapes[1]))
    return [p, R if d < 0 or c.shapes[1][d] == 1 else replace(p, dim=d)], p


# --- reductions ------------------------------------------------------------------------------------------------------


def _dims(c: Call, dim) -> set[int]:
    ndim = len(c.shapes[0])
    if dim is None or dim == ():
        return set(range(ndim))
    return {d % max(ndim, 1) for d in ((dim,) if isinstance(dim, int) else dim)}


_OF_PARTS = {"amax": "max", "amin": "min", "max.all": "max", "min.all": "min", "all": "min", "any": "max"}


@rule(
    "sum", "mean", "amax", "amin", "max.all", "min.all", "prod", "var", "std", "var_mean", "std_mean", "logsumexp",
    "all", "any", "argmax", "argmin", "vector_norm", "norm", "max.dim", "min.dim", "count_nonzero", "aminmax",
)  # fmt: skip
def _reduction(c: Call):
    p, name = c.now[0], c.op.name
    if name in ("vector_norm", "norm"):
        order = c.statics.get("ord", c.statics.get("p"))
        order = 2.0 if order in (None, "fro") else order
    if _linear_partial(p) and name in ("sum", "mean"):
        return [p], p
    if not isinstance(p, Shard):
        return [R] * len(c.now), R
    dims = _dims(c, c.statics.get("dim"))
    if p.dim in dims:
        if name == "sum":
            return [p], Partial("sum")
        if name == "mean" and c.shapes[0][p.dim] % c.n == 0:
            return [p], Partial("avg")
        if not c.recorded and name in _OF_PARTS and c.shapes[0][p.dim] >= c.n * (c.n - 1):
            return [p], Partial(_OF_PARTS[name])
        if not c.recorded and name in ("vector_norm", "norm") and not isinstance(order, str):
            return [p], _NormPartial(norm_type=order)
        return [R], R
    keep = c.statics.get("keepdim", False)
    return [p], p if keep else replace(p, dim=p.dim - sum(d < p.dim for d in dims))


@rule(
    "_softmax", "_log_softmax", "_softmin", "cumsum", "cumprod", "logcumsumexp", "sort", "argsort", "topk", "normalize"
)
def _along_one(c: Call):
    p = c.now[0]
    dims = _dims(c, c.statics.get("dim", -1))
    return ([p], p) if isinstance(p, Shard) and p.dim not in dims else ([R], R)


@rule("layer_norm", "rms_norm")
def _norm(c: Call):
    p = c.now[0]
    count = len(c.statics["normalized_shape"])
    if isinstance(p, Shard) and p.dim < len(c.shapes[0]) - count:
        return [p, *[R] * (len(c.now) - 1)], p
    return [R] * len(c.now), R


@rule("tril", "triu")
def _triangle(c: Call):
    p = c.now[0]
    return ([p], p) if isinstance(p, Shard) and p.dim < len(c.shapes[0]) - 2 or _linear_partial(p) else ([R], R)


# --- products --------------------------------------------------------------------------------------------------------


def _product(c: Call, left: str, right: str, out: str, a: int, b: int):
    """How two factors with named dimensions lie: cut along a common, a kept or a summed one."""
    pa, pb = c.now[a], c.now[b]
    if _linear_partial(pa) and pb == R:
        return pa, R, pa
    if _linear_partial(pb) and pa == R:
        return R, pb, pb
    options = []
    for p, names, first in ((pa, left, True), (pb, right, False)):
        if isinstance(p, Shard):
            options.append((names[p.dim], math.prod(c.shapes[a if first else b]), p))
    # a name that both are cut along costs nothing; else what is larger stays where it is
    options.sort(key=lambda o: (-sum(q[0] == o[0] for q in options), o[0] not in out, -o[1]))
    if len({o[0] for o in options}) == 2 and all(o[0] in out for o in options):
        options.sort(key=lambda o: -o[1])
    for name, _, p in options:
        sizes = {c.shapes[i][names.index(name)] for i, names in ((a, left), (b, right)) if name in names}
        if len(sizes) > 1:
            continue  # broadcast
        of = [replace(p, dim=names.index(name)) if name in names else R for names in (left, right)]
        return *of, (replace(p, dim=out.index(name)) if name in out else Partial("sum"))
    return R, R, R


_LETTERS = "abcdefghijklmnop"


@rule("mm", "matmul", "bmm", "mv", "dot")
def _matmul(c: Call):
    nd = [len(s) for s in c.shapes]
    batch = _LETTERS[: max(max(nd) - 2, 0)]
    left = batch[len(batch) - nd[0] + 2 :] + "xy" if nd[0] > 1 else "y"
    right = batch[len(batch) - nd[1] + 2 :] + "yz" if nd[1] > 1 else "y"
    out = batch + ("x" if nd[0] > 1 else "") + ("z" if nd[1] > 1 else "")
    pa, pb, po = _product(c, left, right, out, 0, 1)
    return [pa, pb], po


@rule("linear")
def _linear(c: Call):
    lead = _LETTERS[: len(c.shapes[0]) - 1]
    pa, pb, po = _product(c, lead + "y", "zy", lead + "z", 0, 1)
    return [pa, pb, *_added(c, po, c.shapes[2:], len(c.out))], po


@rule("addmm", "baddbmm", "addmv")
def _added_product(c: Call):
    batch = "a" if len(c.shapes[1]) == 3 else ""
    vector = len(c.shapes[2]) == 1
    right, out = ("y", "x") if vector else (batch + "yz", batch + "xz")
    pa, pb, po = _product(c, batch + "xy", right, out, 1, 2)
    return [*_added(c, po, c.shapes[:1], len(c.out)), pa, pb], po


def _added(c: Call, p, shapes, ndim: int) -> list:
    """How what is added to a product must lie: as the product does."""
    out = []
    for shape in shapes:
        if not isinstance(p, Shard):
            out.append(p)
            continue
        d = p.dim - (ndim - len(shape))
        out.append(R if d < 0 or shape[d] == 1 else replace(p, dim=d))
    return out


@rule("_sdpa")
def _attention(c: Call):
    ndim = len(c.out)
    for p in c.now[:3]:
        if isinstance(p, Shard) and p.dim < ndim - 2:
            if any(len(s) != ndim or s[p.dim] % c.n for s in c.shapes[:3]):
                break
            wanted = [p, p, p]
            for shape in c.shapes[3:]:
                d = p.dim - (ndim - len(shape))
                wanted.append(R if d < 0 or shape[d] == 1 else replace(p, dim=d))
            return wanted, p
    return [R] * len(c.now), R


@rule("_embedding")
def _embedding(c: Call):
    ids, weight = c.now
    if isinstance(weight, Shard) and weight.dim == 1:
        return [R, weight], replace(weight, dim=len(c.out) - 1)
    if isinstance(weight, Shard) and not c.statics.get("scale_grad_by_freq"):
        return [R, weight], Partial("sum")  # rows that another rank has give zeros: see operations.py
    if isinstance(ids, Shard) and not c.statics.get("scale_grad_by_freq"):
        return [ids, R], ids
    return [R, R], R


@rule("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
def _pointwise_loss(c: Call):
    first = next((p for p in c.now[:2] if isinstance(p, Shard)), None)
    if first is None or len(c.now) > 2 or c.shapes[0] != c.shapes[1] or c.shapes[0][first.dim] % c.n:
        return [R] * len(c.now), R
    how = c.statics.get("reduction", "mean")
    return [first, first], {"none": first, "sum": Partial("sum"), "mean": Partial("avg")}[how]


# --- shapes ----------------------------------------------------------------------------------------------------------


def _groups(before, after):
    """Runs of dimensions of equal product."""
    i = j = 0
    while i < len(before) or j < len(after):
        a, b = [i] if i < len(before) else [], [j] if j < len(after) else []
        x = before[i] if a else 1
        y = after[j] if b else 1
        i, j = i + len(a), j + len(b)
        while x != y:
            if x < y and i < len(before):
                x *= before[i]
                a.append(i)
                i += 1
            elif j < len(after):
                y *= after[j]
                b.append(j)
                j += 1
            else:
                break
        yield a, b


@rule("view", "reshape", "flatten", "ravel", "unflatten", "_atleast", "squeeze", "unsqueeze")
def _reshaped(c: Call):
    p, before, after = c.now[0], c.shapes[0], c.out
    if not isinstance(p, Shard):
        return [p], p
    if 0 in before:
        return [R], R
    for a, b in _groups(before, after):
        if p.dim not in a:
            continue
        whole = [d for d in a if before[d] > 1] or a[:1]
        found = [d for d in b if after[d] > 1] or b[:1]
        if whole[0] != p.dim or not found:
            break
        if len(whole) == len(found) == 1 or before[p.dim] % c.n == 0 and after[found[0]] % c.n == 0:
            return [p], replace(p, dim=found[0])
        break
    return [R], R


def _order(c: Call) -> list[int] | None:
    """Which dimension of the operand each of the result's is."""
    name, s, ndim = c.op.name, c.statics, len(c.shapes[0])
    if name == "permute":
        return [d % ndim for d in s["dims"]]
    order = list(range(ndim))
    if name == "t":
        return order[::-1]
    if name == "transpose":
        a, b = s["dim0"], s["dim1"]
        order[a], order[b] = order[b], order[a]
        return order
    source, target = ([x] if isinstance(x, int) else list(x) for x in (s["source"], s["destination"]))
    source, target = [d % ndim for d in source], [d % ndim for d in target]
    rest = iter([d for d in range(ndim) if d not in source])
    return [source[target.index(d)] if d in target else next(rest) for d in range(ndim)]


@rule("permute", "transpose", "t", "movedim")
def _permuted(c: Call):
    p = c.now[0]
    if not isinstance(p, Shard):
        return [p], p
    return [p], replace(p, dim=_order(c).index(p.dim))


@rule("expand", "broadcast_to")
def _expanded(c: Call):
    p = c.now[0]
    if not isinstance(p, Shard):
        return [p], p
    dim = p.dim + len(c.out) - len(c.shapes[0])
    return ([p], replace(p, dim=dim)) if c.shapes[0][p.dim] == c.out[dim] else ([R], R)


@rule("detach", "alias", "real", "imag", "contiguous", "view_as_real")
def _same(c: Call):
    return [c.now[0]], c.now[0]


@rule("narrow", "slice", "slices", "flip", "roll")
def _narrowed(c: Call):
    p = c.now[0]
    dims = c.statics.get("dim", c.statics.get("dims"))
    if len(c.now) > 1 or isinstance(p, Shard) and (dims is None or p.dim in _dims(c, dims)):
        return [R] * len(c.now), R
    return [p], p


@rule("select", "select.tensor")
def _selected(c: Call):
    p = c.now[0]
    if len(c.now) > 1 or not isinstance(p, Shard):
        return [R if isinstance(p, Shard) else p, *[R] * (len(c.now) - 1)], R if isinstance(p, Shard) else p
    dim = c.statics["dim"] % len(c.shapes[0])
    return ([R], R) if dim == p.dim else ([p], replace(p, dim=p.dim - (dim < p.dim)))


@rule("cat", "stack")
def _joined(c: Call):
    if all(isinstance(p, Partial) and p == c.now[0] for p in c.now):
        return c.now, c.now[0]
    stack = c.op.name == "stack"
    dim = c.statics.get("dim", 0) % len(c.out)
    for p in c.now:
        if isinstance(p, Shard) and (stack or p.dim != dim) and all(len(s) == len(c.shapes[0]) for s in c.shapes):
            return [p] * len(c.now), replace(p, dim=p.dim + (stack and p.dim >= dim))
    return [R] * len(c.now), R
