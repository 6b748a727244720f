"""Gradients against finite differences."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..tape import modes
from ..tensor import Tensor
from ..tensor.autograd import grad
from ..tensor.creation import tensor


class GradcheckError(RuntimeError):
    """The analytical gradient differs from the numerical one."""


def _outputs(result) -> tuple:
    result = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(o for o in result if isinstance(o, Tensor) and o._value().aval.is_float)


def _numerical(fn, inputs, i, eps):
    """Jacobians d out_k / d inputs[i], each of shape (input elements, output elements), by central differences."""
    x = inputs[i]
    base = x.detach().numpy().copy()
    flat = base.reshape(-1)
    steps = (1.0, 1j) if base.dtype.kind == "c" else (1.0,)
    rows = None
    for j in range(flat.size):
        total = None
        for s in steps:
            values = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[j] += sign * eps * s
                trial = list(inputs)
                trial[i] = tensor(moved.reshape(base.shape), dtype=x.dtype)
                with modes.no_grad():
                    values.append([o.detach().numpy().astype(np.complex128) for o in _outputs(fn(*trial))])
            d = [(a - b).reshape(-1) / (2 * eps) for a, b in zip(*values, strict=True)]
            total = [(s.conjugate() if s == 1j else 1) * v * (1 if s == 1.0 else -1) for v in d] if total is None else [
                t + 1j * v for t, v in zip(total, d, strict=True)
            ]
        if rows is None:
            rows = [[] for _ in total]
        for k, v in enumerate(total):
            rows[k].append(v)
    return [np.array(r) for r in rows] if rows else []


def gradcheck(
    func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0, check_undefined_grad=True,
    check_grad_dtypes=False, check_batched_grad=False, check_batched_forward_grad=False, check_forward_ad=False,
    check_backward_ad=True, fast_mode=False, masked=None,
):  # fmt: skip
    """Compare backward's gradients with central differences, element by element (float64 inputs).

    Returns:
        True; False if they differ and ``raise_exception`` is false.

    Raises:
        GradcheckError: they differ by more than ``atol + rtol * |numerical|``.
        ValueError: no input requires grad.
    """
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    for i in checked:
        if inputs[i].dtype not in (dtypes.float64, dtypes.complex128):
            import warnings

            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex. This check "
                "will likely fail if all the inputs are not of double precision floating point or complex.",
                stacklevel=2,
            )
    outputs = _outputs(func(*inputs))
    for i in checked:
        numerical = _numerical(func, inputs, i, eps)
        for k, out in enumerate(outputs):
            analytical = _analytical(out, inputs[i], k)
            if not np.allclose(analytical, numerical[k], atol=atol, rtol=rtol, equal_nan=False):
                if not raise_exception:
                    return False
                raise GradcheckError(
                    f"Jacobian mismatch for output {k} with respect to input {i},\nnumerical:{numerical[k]}\n"
                    f"analytical:{analytical}\n"
                )
    return True


def _analytical(out, x, k):
    n, m = x.numel(), out.numel()
    jacobian = np.zeros((n, m), np.complex128)
    for j in range(m):
        seed = np.zeros(m, out.dtype.np)
        columns = []
        for unit in (1.0, 1j) if out.dtype.is_complex else (1.0,):
            seed[j] = unit
            if not out.requires_grad:
                g = None
            else:
                (g,) = grad(
                    out, x, tensor(seed.reshape(tuple(out.shape)), dtype=out.dtype), retain_graph=True, allow_unused=True
                )
            columns.append(np.zeros(n) if g is None else g.detach().numpy().reshape(-1))
        # for complex outputs the gradient of the real part is what finite differences of the real part give
        jacobian[:, j] = columns[0] if len(columns) == 1 else columns[0]
    return jacobian


def gradgradcheck(func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, **kwargs):
    """:func:`gradcheck` of the gradient: second derivatives against finite differences of the first."""
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _outputs(func(*inputs))
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        grad_outputs = tuple(
            tensor(rng.standard_normal(tuple(o.shape)), dtype=o.dtype).requires_grad_() for o in outputs
        )
    else:
        grad_outputs = grad_outputs if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    n = len(inputs)

    def first(*args):
        with modes.enable_grad():
            xs = tuple(a if not isinstance(a, Tensor) or a.requires_grad or not inputs[i].requires_grad
                       else a.detach().requires_grad_() for i, a in enumerate(args[:n]))  # fmt: skip
            outs = _outputs(func(*xs))
            wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
            found = grad(outs, wanted, args[n:], create_graph=True, allow_unused=True)
            return tuple(g for g in found if g is not None)

    return gradcheck(
        first, inputs + tuple(grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )
