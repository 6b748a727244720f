"""Linear algebra and Fourier transforms of small programs: the LAPACK that XLA's CPU backend calls, through SciPy.

Rules as in :mod:`.primitives`. Where LAPACK fails, a matrix's results are NaN, as JAX has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .primitives import Unsupported, rule, work


def _routine(name: str, dtype) -> Callable:
    """LAPACK's routine for a dtype."""
    from scipy.linalg import lapack  # takes a tenth of a second

    prefix = {"f": "s", "d": "d", "F": "c", "D": "z"}.get(np.dtype(dtype).char)
    if prefix is None:
        raise Unsupported
    return getattr(lapack, prefix + name)


def _each(outputs, function: Callable) -> Callable:
    """A function of one matrix each as one of batches: ``function(*matrices) -> (results, LAPACK's info)``."""
    ranks = [len(a.shape) for a in outputs]

    def batched(*arrays):
        batch = arrays[0].shape[:-2]
        results = [np.empty(a.shape, a.dtype) for a in outputs]
        for i in np.ndindex(batch):
            made, info = function(*[x[i] for x in arrays])
            for r, x in zip(results, made, strict=True):
                r[i] = x if info == 0 else np.nan
        return results if len(ranks) > 1 else results[0]

    return batched


def _square(inputs) -> None:
    if 0 in inputs[0].shape:
        raise Unsupported


@rule("cholesky")
def _cholesky(params, inputs, outputs):
    _square(inputs)
    potrf = _routine("potrf", inputs[0].dtype)

    def function(a):
        factor, info = potrf(a, lower=1, clean=1)
        return (factor,), info

    return _each(outputs, function)


@rule("triangular_solve")
def _triangular_solve(params, inputs, outputs):
    _square(inputs)
    trtrs = _routine("trtrs", inputs[0].dtype)
    lower, unit, left = params["lower"], params["unit_diagonal"], params["left_side"]
    transposed, conjugated = params["transpose_a"], params["conjugate_a"]
    if len(inputs[0].shape) != 2 and inputs[0].shape[:-2] != inputs[1].shape[:-2] or 0 in inputs[1].shape:
        raise Unsupported

    def function(a, b):
        a = a.conj() if conjugated else a
        # x a = b is aᵀ xᵀ = bᵀ
        x, info = trtrs(a, b if left else b.T, lower=lower, trans=int(transposed == left), unitdiag=unit)
        if info:  # a zero on the diagonal: trtrs stops there, the BLAS goes on and divides by it
            raise Unsupported
        return (x if left else x.T,), 0

    return _each(outputs, function)


@rule("lu")
def _lu(params, inputs, outputs):
    _square(inputs)
    getrf = _routine("getrf", inputs[0].dtype)

    def function(a):
        factors, pivots, info = getrf(a)
        order = np.arange(a.shape[0])
        for i, p in enumerate(pivots):
            order[[i, p]] = order[[p, i]]
        return (factors, pivots, order), min(info, 0)  # singular matrices have factors

    return _each(outputs, function)


@rule("lu_pivots_to_permutation")
def _lu_pivots_to_permutation(params, inputs, outputs):
    size = params["permutation_size"]

    def function(pivots):
        orders = np.empty((*pivots.shape[:-1], size), outputs[0].dtype)
        orders[...] = np.arange(size)
        for i in np.ndindex(pivots.shape[:-1]):
            for k, p in enumerate(pivots[i]):
                orders[i][[k, p]] = orders[i][[p, k]]
        return orders

    return function


@rule("eigh")
def _eigh(params, inputs, outputs):
    _square(inputs)
    if params["subset_by_index"] is not None or params["algorithm"] is not None:
        raise Unsupported
    dtype, lower = inputs[0].dtype, int(params["lower"])
    evd = _routine("heevd" if dtype.kind == "c" else "syevd", dtype)

    def function(a):
        values, vectors, info = evd(a, compute_v=1, lower=lower)
        return (vectors, values), info

    return _each(outputs, function)


@rule("svd")
def _svd(params, inputs, outputs):
    _square(inputs)
    if params["subset_by_index"] is not None or params["algorithm"] is not None:
        raise Unsupported
    gesdd = _routine("gesdd", inputs[0].dtype)
    full, vectors = int(params["full_matrices"]), int(params["compute_uv"])

    def function(a):
        u, s, vh, info = gesdd(a, compute_uv=vectors, full_matrices=full)
        return ((s, u, vh) if vectors else (s,)), info

    several = _each(outputs, function)
    return several if vectors else lambda a: [several(a)]


@rule("qr")
def _qr(params, inputs, outputs):
    _square(inputs)
    if params["pivoting"]:
        raise Unsupported
    dtype = inputs[0].dtype
    geqrf, orgqr = _routine("geqrf", dtype), _routine("ungqr" if dtype.kind == "c" else "orgqr", dtype)
    rows, columns = outputs[0].shape[-1], inputs[0].shape[-1]

    def function(a):
        packed, tau, _, info = geqrf(a)
        whole = np.zeros((a.shape[0], max(rows, columns)), dtype)
        whole[:, :columns] = packed
        q, _, bad = orgqr(whole[:, :rows], tau)
        return (q, np.triu(packed[:rows])), info or bad

    return _each(outputs, function)


@rule("fft")
def _fft(params, inputs, outputs):
    lengths, dtype = tuple(params["fft_lengths"]), outputs[0].dtype
    axes = tuple(range(-len(lengths), 0))
    transform = [np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn][int(params["fft_type"])]
    if 0 in inputs[0].shape:
        raise Unsupported
    return lambda x: transform(x, lengths, axes).astype(dtype)


@work("cholesky", "triangular_solve", "lu")
def _direct_work(params, inputs, outputs):
    return math.prod(inputs[-1].shape) * inputs[0].shape[-1] // 8 + _calls(inputs)


@work("eigh", "svd", "qr")
def _iterative_work(params, inputs, outputs):
    return 4 * math.prod(inputs[0].shape) * min(inputs[0].shape[-2:]) + _calls(inputs)


def _calls(inputs) -> int:
    """What calling LAPACK takes for each matrix."""
    return 10_000 * math.prod(inputs[0].shape[:-2])


@work("fft")
def _fft_work(params, inputs, outputs):
    return 20 * math.prod(outputs[0].shape)
