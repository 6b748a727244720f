"""Gradients against finite differences."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..tape import modes
from ..tensor import Tensor
from ..tensor.autograd import grad
from ..tensor.creation import tensor
from ..tensor.dispatch import call
from ..tensor.layout import strided
from ..tensor.stored import StoredMixin
from . import forward_ad


class GradcheckError(RuntimeError):
    """The analytical gradient differs from the numerical one."""


def _outputs(result) -> tuple:
    result = result if isinstance(result, (tuple, list)) else (result,)
    floats = (o for o in result if isinstance(o, Tensor) and o.dtype.category >= dtypes.FLOAT)
    return tuple(o if o.layout is strided else o.to_dense() for o in floats)


def _of_values(func, inputs: tuple):
    """``func`` as a function of what sparse inputs store, and the inputs like that."""
    whole = {i: x for i, x in enumerate(inputs) if isinstance(x, StoredMixin)}
    if not whole:
        return func, inputs

    def of_values(*args):
        return func(*(whole[i]._like(x) if i in whole else x for i, x in enumerate(args)))

    return of_values, tuple(x._stored if i in whole else x for i, x in enumerate(inputs))


# Complex numbers count as pairs of reals: a Jacobian has one row per real input and one column per real output.


def _reals(array: np.ndarray) -> np.ndarray:
    """The elements as a flat float64 array, complex ones as neighbouring pairs."""
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    return np.ascontiguousarray(array.reshape(-1), wide).view(np.float64)


def _numerical(fn, inputs, i, eps, outputs) -> list[np.ndarray]:
    """Central differences of every output with respect to ``inputs[i]``."""
    x = inputs[i]
    data = x.detach().numpy().copy()
    n = _reals(data).size
    found = [np.zeros((n, _reals(o.detach().numpy()).size)) for o in outputs]
    for j in range(n):
        values = []
        for sign in (1, -1):
            moved = np.array(data.reshape(-1))
            moved.view(moved.real.dtype)[j] += sign * eps
            # Written in place: the function may know its inputs (a module's parameters) by other ways than arguments.
            x.data.copy_(tensor(moved.reshape(data.shape), dtype=x.dtype))
            try:
                with modes.enable_grad():  # the function may differentiate by itself
                    moved = _outputs(fn(*inputs))
                for o, now in zip(outputs, moved, strict=False):
                    if now.dtype is not o.dtype:
                        raise AssertionError(
                            "Expected `fn` to return outputs with the same dtype when inputs are perturbed, but got "
                            f"{now.dtype} where it was {o.dtype}"
                        )
                values.append([_reals(o.detach().numpy()) for o in moved])
            finally:
                x.data.copy_(tensor(data, dtype=x.dtype))
        for k, (a, b) in enumerate(zip(*values, strict=True)):
            if not a.size == b.size == found[k].shape[1]:
                raise AssertionError(
                    "Expected `fn` to return outputs with the same shape when inputs are perturbed, but output "
                    f"{k} has {found[k].shape[1]} elements, and then {a.size} and {b.size}"
                )
            found[k][j] = (a - b) / (2 * eps)
    return found


def _analytical(out, x, columns: int | None = None) -> np.ndarray:
    """The same Jacobian by backward, one real output at a time (the first ``columns`` of them)."""
    n, m = _reals(x.detach().numpy()).size, _reals(out.detach().numpy()).size
    jacobian = np.zeros((n, m))
    if not out.requires_grad:
        return jacobian
    for j in range(m if columns is None else min(m, columns)):
        seed = np.zeros(out.numel(), out.dtype.np)
        seed.view(seed.real.dtype)[j] = 1
        (g,) = grad(
            out, x, tensor(seed.reshape(tuple(out.shape)), dtype=out.dtype), retain_graph=True, allow_unused=True
        )
        if g is not None:
            jacobian[:, j] = _reals(g.detach().numpy())
    return jacobian


def _forward(fn, inputs, i, outputs) -> list[np.ndarray]:
    """The Jacobians by forward mode, one real input at a time."""
    x = inputs[i]
    data = x.detach().numpy()
    n = _reals(data).size
    found = [np.zeros((n, _reals(o.detach().numpy()).size)) for o in outputs]
    for j in range(n):
        unit = np.zeros(data.size, data.dtype)
        unit.view(unit.real.dtype)[j] = 1
        with forward_ad.dual_level():
            given = [y.detach() if isinstance(y, Tensor) else y for y in inputs]
            for k, y in enumerate(inputs):
                if isinstance(y, Tensor) and y.requires_grad:
                    tangent = tensor(unit.reshape(data.shape), dtype=x.dtype) if k == i else y.new_zeros(y.shape)
                    given[k] = forward_ad.make_dual(given[k], tangent)
            for k, o in enumerate(_outputs(fn(*given))[: len(found)]):
                tangent = forward_ad.unpack_dual(o).tangent
                if tangent is not None:
                    found[k][j] = _reals(tangent.detach().numpy())
    return found


#: of the largest gradient: what two programs may differ by
_ROUNDING = 1e-12


def _repeats(out: Tensor, x: Tensor, analytical, nondet_tol: float) -> bool:
    """Whether one more backward gives the first column again.

    The two are parts of different programs, in which XLA fuses, and so rounds, differently.
    """
    again = _analytical(out, x, 1)
    size = np.abs(analytical[np.isfinite(analytical)]).max(initial=1.0)
    tolerance = nondet_tol + _ROUNDING * size
    return np.allclose(again[:, :1], analytical[:, :1], atol=tolerance, rtol=0, equal_nan=True)


def _part(found, numerical, atol: float, rtol: float, axis: int, what: str | None) -> str | None:
    """How a message about two Jacobians begins; None where they agree.

    ``axis`` is the one along which complex numbers are pairs, where there are any (else ``what`` is None).
    """
    wrong = ~np.isclose(found, numerical, atol=atol, rtol=rtol, equal_nan=False)
    if not wrong.any():
        return None
    if what is None:
        return ""
    imaginary = wrong[:, 1::2] if axis else wrong[1::2]
    return f"While considering the {'imaginary' if imaginary.any() else 'real'} part of complex {what} only, "


def gradcheck(
    func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0, check_undefined_grad=True,
    check_grad_dtypes=False, check_batched_grad=False, check_batched_forward_grad=False, check_forward_ad=False,
    check_backward_ad=True, fast_mode=False, masked=None,
):  # fmt: skip
    """Compare backward's gradients with central differences, element by element (float64 inputs).

    Of sparse inputs the stored elements are varied, and no others: what PyTorch does with ``masked=True``.

    Args:
        check_forward_ad: compare those of forward mode as well; ``check_backward_ad=False``: only those.
        nondet_tol: by how much a second backward (by the first input) may differ from the first, besides rounding.
        check_undefined_grad, check_batched_grad, check_batched_forward_grad, check_grad_dtypes, fast_mode, masked:
            accepted; the whole Jacobian is compared.

    Returns:
        True; False if they differ and ``raise_exception`` is false.

    Raises:
        GradcheckError: they differ by more than ``atol + rtol * |numerical|``.
        ValueError: no input requires grad.
        AssertionError: neither mode is to be checked, or the results' shapes or dtypes depend on the numbers.
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    func, inputs = _of_values(func, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,))
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them has requires_grad=True."
        )
    for i in checked:
        if inputs[i].dtype not in (dtypes.float64, dtypes.complex128):
            import warnings

            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex. This check "
                "will likely fail if all the inputs are not of double precision floating point or complex.",
                stacklevel=2,
            )
        if any(step == 0 and n > 1 for step, n in zip(inputs[i].stride(), inputs[i].shape, strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You should call .contiguous "
                "on the input before passing it to gradcheck."
            )

    def differ(text: str) -> bool:
        if raise_exception:
            raise GradcheckError(text)
        return False

    outputs = _outputs(func(*inputs))
    numerical = {i: _numerical(func, inputs, i, eps, outputs) for i in checked}
    tracked = [k for k, o in enumerate(outputs) if o.requires_grad]
    if not tracked and any((np.abs(found) > 1e-3).any() for i in checked for found in numerical[i]):
        return differ("Numerical gradient for function expected to be zero")
    for i in checked if check_backward_ad else ():
        for k in tracked:
            out, expected = outputs[k], numerical[i][k]
            analytical = _analytical(out, inputs[i])
            part = _part(analytical, expected, atol, rtol, 1, "outputs" if out.is_complex() else None)
            if part is not None:
                return differ(
                    f"{part}Jacobian mismatch for output {k} with respect to input {i},\nnumerical:{expected}\n"
                    f"analytical:{analytical}\n"
                )
            if (i, k) == (checked[0], tracked[0]) and not _repeats(out, inputs[i], analytical, nondet_tol):
                return differ(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    "gives different values, although analytical gradient matches numerical gradient. The tolerance "
                    f"for nondeterminism was {nondet_tol}."
                )
    for i in checked if check_forward_ad else ():
        for k, found in enumerate(_forward(func, inputs, i, outputs)):
            part = _part(found, numerical[i][k], atol, rtol, 0, "inputs" if inputs[i].is_complex() else None)
            if part is not None:
                return differ(
                    f"{part}Jacobian computed with forward mode mismatch for output {k} with respect to input {i},\n"
                    f"numerical:{numerical[i][k]}\nanalytical:{found}\n"
                )
    if check_backward_ad and tracked:
        zeros = [outputs[k].new_zeros(outputs[k].shape) for k in tracked]
        found = grad([outputs[k] for k in tracked], [inputs[i] for i in checked], zeros, retain_graph=True,
                     allow_unused=True)  # fmt: skip
        if any(g is not None and g.count_nonzero().item() for g in found):
            return differ("backward not multiplied by grad_output")
    return True


def _drawn(output):
    """Numbers between -1 and 1, as PyTorch draws them."""
    made = output.detach().new_empty(output.shape)
    (call("view_as_real", made) if made.is_complex() else made).uniform_(-1, 1)
    return made


def gradgradcheck(
    func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, gen_non_contig_grad_outputs=False,
    raise_exception=True, nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=False, check_batched_grad=False,
    check_fwd_over_rev=False, check_rev_over_rev=True, fast_mode=False, masked=False,
):  # fmt: skip
    """:func:`gradcheck` of the gradient: second derivatives against finite differences of the first.

    Raises:
        NotImplementedError: ``check_fwd_over_rev``; backward gives gradients no tangents.
    """
    if check_fwd_over_rev:
        raise NotImplementedError(
            "gradgradcheck(check_fwd_over_rev=True): backward gives gradients no tangents; check jvp of func.grad"
        )
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _outputs(func(*inputs))
    if grad_outputs is None:
        grad_outputs = tuple(_drawn(o).requires_grad_() for o in outputs)
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
        first, inputs + tuple(grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_backward_ad=check_rev_over_rev,
    )  # fmt: skip
