"""Positions, names and defaults of the parameters that PyTorch's Python functions and methods have."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re

import pytest

from .both import check

NAMESPACES = (
    "functional", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.parametrize", "nn.utils.prune",
    "nn.utils.rnn", "nn.parallel", "nn.attention", "optim", "optim.lr_scheduler", "optim.swa_utils", "autograd",
    "autograd.functional",
    "autograd.forward_ad", "autograd.graph", "utils.data", "utils.checkpoint", "utils._pytree", "distributions",
    "distributions.kl", "distributions.transforms", "amp", "cuda.amp", "cuda", "random", "sparse", "func", "jit",
    "signal.windows", "serialization", "hub", "compiler", "multiprocessing", "distributed", "distributed.fsdp",
)  # fmt: skip

#: What differs, and why.
EXCUSED = {
    "autograd.graph": {"GradientEdge": ["no ownership_token"]},  # a tuple of two here: nodes own themselves
    "cuda.amp": {"autocast": ["dtype=None, not torch.float16"]},  # None is float16 there
    "distributed.fsdp": {  # None is what PyTorch's defaults say
        "fully_shard": [
            "mp_policy=None, not MixedPrecisionPolicy(param_dtype=None, reduce_dtype=None, output_dtype=None, "
            "cast_forward_inputs=True)",
            "offload_policy=None, not OffloadPolicy()",
        ]
    },
    "serialization": {"save": [f"pickle_module=None, not {pickle!r}"]},  # None is that module
    "utils._pytree": {"TreeSpec": ["no children_specs"]},  # programs are given these
    "utils.data": {"random_split": ["generator=None, not <torch._C.Generator object>"]},  # the default one
}


def _default(value) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value).replace("jtorch", "torch"))
    return {"torch.Size([])": "()"}.get(text, text)


def differences(theirs, ours) -> list[str]:
    """What a caller of PyTorch's function could write that ours does not take, or takes otherwise."""
    try:
        theirs, ours = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
    except (ValueError, TypeError):
        return []  # written in C: the stubs speak for these
    kinds = {p.kind for p in ours.values()}
    anything, several = inspect.Parameter.VAR_KEYWORD in kinds, inspect.Parameter.VAR_POSITIONAL in kinds
    found = []
    for name, p in theirs.items():
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or name in ("self", "cls") or name.startswith("_"):
            continue
        mine = ours.get(name)
        if mine is None:
            if not (anything or (several and p.kind is not p.KEYWORD_ONLY)):
                found.append(f"no {name}")
        elif (p.default is p.empty) < (mine.default is p.empty):
            found.append(f"{name} has no default")
        elif p.default is not p.empty and _default(p.default) != _default(mine.default):
            found.append(f"{name}={_default(mine.default)}, not {_default(p.default)}")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [[n for n, p in of.items() if p.kind in kinds] for of in (theirs, ours)]
    shared = [[n for n in of if n in positional[0] and n in positional[1]] for of in positional]
    if shared[0] != shared[1]:
        found.append(f"in the order {shared[1]}, not {shared[0]}")
    return found


def _members(theirs, ours):
    """The functions of a namespace, and the constructors and methods of its classes: name, PyTorch's, ours."""
    for name in getattr(theirs, "__all__", None) or [n for n in dir(theirs) if not n.startswith("_")]:
        one, other = getattr(theirs, name, None), getattr(ours, name, None)
        if one is None or other is None or not (getattr(one, "__module__", "") or "").startswith("torch"):
            continue
        if inspect.isfunction(one):
            yield name, one, other
        elif inspect.isclass(one) and not issubclass(one, BaseException) and inspect.isclass(other):
            yield name, one, other
            for key, method in vars(one).items():
                mine = getattr(other, key, None)
                if not key.startswith("_") and inspect.isfunction(method) and mine is not None:
                    yield f"{name}.{key}", method, mine


@pytest.mark.filterwarnings("ignore")  # of names that PyTorch means to drop
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_signatures(namespace):
    pytest.importorskip("torch")
    theirs, ours = (importlib.import_module(f"{library}.{namespace}") for library in ("torch", "jtorch"))
    found = {name: differences(one, other) for name, one, other in _members(theirs, ours)}
    assert {name: d for name, d in found.items() if d} == EXCUSED.get(namespace, {})


def test_positions_of_overloads():
    check(lambda torch: [
        torch.histogram(torch.tensor([1.0, 2.0])).hist.shape,
        torch.histogramdd(torch.arange(6.0).reshape(3, 2), [2, 2], None, None, True).hist,
        torch.nuclear_norm(torch.eye(2), True),
        torch.repeat_interleave(repeats=torch.tensor([1, 2])),
        torch.layer_norm(torch.arange(3.0), (3,), None, None, 1e-5, False),
        torch.group_norm(torch.arange(4.0).reshape(1, 4), 2, None, None, 1e-5, False),
        torch.enable_grad(lambda: torch.is_grad_enabled())(),
    ])  # fmt: skip


def test_backward_with_inputs_by_position():
    def program(torch):
        x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        torch.autograd.backward((x * y).sum(), None, False, False, None, (x,))
        return [x.grad, y.grad]

    check(program)


def test_scalars_of_quantized_tensors():
    def program(torch):
        q = importlib.import_module(f"{torch.__name__}.ao.nn.quantized").QFunctional()
        x = torch.quantize_per_tensor(torch.tensor([-1.0, 0.0, 2.0, 5.5]), 0.1, 20, torch.quint8)
        results = [q.add_scalar(x, v) for v in (0.5, -7.0, 30.0, 0.04)] + [q.mul_scalar(x, v) for v in (0.5, -2.0, 0.0)]
        return [(r.q_scale(), r.q_zero_point(), r.int_repr()) for r in results]

    check(program)
