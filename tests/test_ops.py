"""Every row of the sample table: values, dtypes and gradients against PyTorch, derivatives against differences.

``samples/`` says which calls; this file says what must hold of each. Adding an op is a declaration in ``jtorch/ops``
and a row there.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings

import numpy as np
import pytest

import jtorch
import jtorch.nn.functional  # noqa: F401 (completes the namespaces)

from . import samples
from .samples.table import TABLE, T

for _module in pkgutil.iter_modules(samples.__path__):
    importlib.import_module(f"{samples.__name__}.{_module.name}")

ROWS = [
    pytest.param(path, i, id=f"{path.removeprefix('torch.')}-{i}") for path in TABLE for i in range(len(TABLE[path]))
]

#: PyTorch's own tolerances by dtype (torch.testing.assert_close)
TOLERANCE = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


def resolve(library, path: str):
    """The callable behind ``torch.…`` in jtorch or torch; a Tensor method takes its tensor first."""
    for part in path.split(".")[1:]:
        library = getattr(library, part)
    return library


def tensors(library, sample, dtype=None, grad=False):
    """The sample's arguments as tensors of a library, and those that carry gradients."""
    leaves = []

    def convert(array, spec: T):
        t = (
            library.from_numpy(np.ascontiguousarray(array))
            if array.ndim
            else library.tensor(array.item(), dtype=getattr(library, array.dtype.name))
        )
        if grad and spec.grad and spec.is_float:
            t = t.requires_grad_()
            leaves.append(t)
        return t

    args, kwargs = sample.materialise(convert, dtype=dtype)
    if isinstance(kwargs.get("dtype"), str):
        kwargs["dtype"] = getattr(library, kwargs["dtype"].removeprefix("torch."))
    return args, kwargs, leaves


def flat(result, kind) -> list:
    if isinstance(result, kind):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r, kind)]
    return []


def call(library, path, sample, **options):
    args, kwargs, leaves = tensors(library, sample, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return resolve(library, path)(*args, **kwargs), leaves, args


def close(ours, theirs, sample, what):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, f"{what}: dtype {ours.dtype}, PyTorch gives {theirs.dtype}"
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, PyTorch gives {theirs.shape}"
    rtol, atol = TOLERANCE.get(ours.dtype.name, (0, 0))
    np.testing.assert_allclose(
        ours, theirs, rtol=sample.rtol or rtol, atol=sample.atol or atol, equal_nan=True, err_msg=what
    )


@pytest.mark.parametrize("path, i", ROWS)
def test_against_pytorch(path, i):
    torch = pytest.importorskip("torch")
    sample = TABLE[path][i]
    theirs, their_leaves, _ = call(torch, path, sample, grad=True)
    ours, our_leaves, _ = call(jtorch, path, sample, grad=True)
    mine, reference = flat(ours, jtorch.Tensor), flat(theirs, torch.Tensor)
    assert len(mine) == len(reference), f"{len(mine)} results, PyTorch gives {len(reference)}"
    if not reference:
        assert ours == theirs
        return
    for k, (a, b) in enumerate(zip(mine, reference, strict=True)):
        close(a.detach().resolve_conj().numpy(), b.detach().resolve_conj().resolve_neg().numpy(), sample, f"result {k}")
        assert a.requires_grad == b.requires_grad, f"result {k}: requires_grad {a.requires_grad}"
    if sample.why.startswith("PyTorch has a gradient only"):
        return
    grads = [
        _gradients(library, results, leaves)
        for library, results, leaves in ((jtorch, mine, our_leaves), (torch, reference, their_leaves))
    ]
    for k, (a, b) in enumerate(zip(*grads, strict=True)):
        assert (a is None) == (b is None) or not np.any(a if b is None else b), f"gradient {k} exists in one only"
        if a is not None and b is not None:
            close(a, b, sample, f"gradient of operand {k}")


def _gradients(library, results, leaves):
    """Gradients of a fixed weighted sum of the results."""
    total = None
    for k, r in enumerate(results):
        if not r.requires_grad:
            continue
        weights = np.cos(np.arange(max(r.numel(), 1), dtype=np.float64) + k)[: r.numel()].reshape(tuple(r.shape))
        w = library.tensor(weights, dtype=r.dtype)
        part = (r * w).sum()
        part = part.abs() if r.is_complex() else part
        total = part if total is None else total + part
    if total is None:
        return [None] * len(leaves)
    found = library.autograd.grad(total, leaves, allow_unused=True)
    return [None if g is None else g.detach().resolve_conj().numpy() for g in found]


#: Every op by its first row; the others, compared with PyTorch above, with --run-slow.
GRADCHECK_ROWS = [
    row if row.values[1] < 1 else pytest.param(*row.values, id=row.id, marks=pytest.mark.slow) for row in ROWS
]


@pytest.mark.parametrize("path, i", GRADCHECK_ROWS)
def test_gradcheck(path, i):
    """Backward against central differences in float64."""
    sample = TABLE[path][i]
    if not sample.gradcheck:
        pytest.skip(sample.why or "not differentiable here")
    args, kwargs, leaves = tensors(jtorch, sample, dtype="float64", grad=True)
    if any(leaf.dtype is not jtorch.float64 for leaf in leaves):
        pytest.skip("complex gradients are compared with PyTorch's")
    if not leaves:
        pytest.skip("no floating operand")
    fn = resolve(jtorch, path)
    identity = {id(leaf): n for n, leaf in enumerate(leaves)}

    def substitute(x, given):
        if isinstance(x, jtorch.Tensor):
            return given[identity[id(x)]] if id(x) in identity else x
        if isinstance(x, (list, tuple)):
            return type(x)(substitute(e, given) for e in x)
        return x

    def run(*given):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = fn(*[substitute(a, given) for a in args], **{k: substitute(v, given) for k, v in kwargs.items()})
        return tuple(t for t in flat(out, jtorch.Tensor) if t.dtype.is_floating_point)

    outputs = run(*leaves)
    if not any(o.requires_grad for o in outputs):
        pytest.skip("no differentiable result")
    if sum(leaf.numel() for leaf in leaves) > 80:
        pytest.skip("too many elements for differences one by one; compared with PyTorch")
    assert jtorch.autograd.gradcheck(run, tuple(leaves))


def _first_tensor_row(path):
    return next((s for s in TABLE[path] if s.args and isinstance(s.args[0], T)), None)


INPLACE = [
    path for path in TABLE
    if path.startswith(("torch.Tensor.", "torch.")) and path.count(".") <= 2 and path != "torch.detach"
    and not path.startswith("torch.masked.")
    and getattr(jtorch.Tensor, path.split(".")[-1] + "_", None) is not None and _first_tensor_row(path)
]  # fmt: skip


@pytest.mark.parametrize("path", INPLACE)
def test_inplace(path):
    """``x.name_(…)`` writes what ``name(x, …)`` returns, into every alias."""
    name, sample = path.split(".")[-1], _first_tensor_row(path)
    result, _, _ = call(jtorch, path, sample)
    args, kwargs, _ = tensors(jtorch, sample)
    x = args[0]
    if not isinstance(result, jtorch.Tensor) or result.shape != x.shape:
        pytest.skip("the result has another shape")
    if result.dtype is not x.dtype and not jtorch.can_cast(result.dtype, x.dtype):
        with pytest.raises(RuntimeError, match="can't be cast"):
            getattr(x, name + "_")(*args[1:], **kwargs)
        return
    alias = x.view(-1) if x.dim() else x.detach()
    version = x._version
    assert getattr(x, name + "_")(*args[1:], **kwargs) is x
    expected = result.to(x.dtype).numpy()
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(alias.numpy().reshape(expected.shape), expected)
    assert x._version > version


def _accepts_out(path) -> bool:
    signature = getattr(resolve(jtorch, path), "__signature__", None)
    return signature is not None and "out" in signature.parameters


OUT = [path for path in TABLE if path.count(".") == 1 and _accepts_out(path) and _first_tensor_row(path)]


@pytest.mark.parametrize("path", OUT)
def test_out(path):
    """``out=`` receives the result and is returned."""
    sample = _first_tensor_row(path)
    result, _, _ = call(jtorch, path, sample)
    args, kwargs, _ = tensors(jtorch, sample)
    if isinstance(result, jtorch.Tensor):
        out = jtorch.empty(tuple(result.shape), dtype=result.dtype)
        assert resolve(jtorch, path)(*args, **kwargs, out=out) is out
        np.testing.assert_array_equal(out.numpy(), result.numpy())
    else:
        outs = tuple(jtorch.empty(tuple(r.shape), dtype=r.dtype) for r in result)
        resolve(jtorch, path)(*args, **kwargs, out=outs)
        for a, b in zip(outs, result, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_wrong_gradient_is_caught():
    """The checker checks: a deliberately wrong backward fails it."""

    class Wrong(jtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2.001 * x * g + 0.01

    x = jtorch.tensor([1.0, 2.0], dtype=jtorch.float64, requires_grad=True)
    with pytest.raises(jtorch.autograd.GradcheckError, match="Jacobian mismatch"):
        jtorch.autograd.gradcheck(Wrong.apply, (x,))
