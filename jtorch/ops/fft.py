"""Discrete Fourier transforms, with PyTorch's names, defaults and length rules, on XLA's FFT."""

from __future__ import annotations

import jax.numpy as jnp

from .. import dtypes
from .elementwise import type_name
from .registry import Array, op
from .shapes import canonical_dim, canonical_dims

#: whose input is half of a Hermitian signal of twice the length, but for two
_OF_HALVES = ("irfft", "hfft", "irfft2", "irfftn", "hfft2", "hfftn")
_NORMS = (None, "backward", "ortho", "forward")


def _prepared(name: str, input, norm, *, real: bool = False):
    """The input as floats (integers become the default dtype), after checking ``norm`` and the kind of number."""
    if norm not in _NORMS:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if jnp.iscomplexobj(input):
        if real:
            kind = "real" if name in ("rfft", "ihfft") else "real-valued"
            raise RuntimeError(f"{name} expects a {kind} input tensor, but got {type_name(input)}")
        return input
    if not jnp.issubdtype(input.dtype, jnp.floating):
        return input.astype(dtypes.get_default_dtype().np)
    if input.dtype.itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {type_name(input)}: convert to float32 first")
    return input


def _has_dims(x, dim) -> None:
    if not x.ndim and dim != ():
        raise IndexError(
            f"Dimension specified as {dim if isinstance(dim, int) else dim[0]} but tensor has no dimensions"
        )


def _check_points(n: int) -> None:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _one(name: str, transform, *, real: bool = False):
    def body(input: Array, n: int | None = None, dim: int = -1, norm: str | None = None):
        x = _prepared(name, input, norm, real=real)
        _has_dims(x, dim)
        dim = canonical_dim(dim, x.ndim)
        size = x.shape[dim]
        _check_points(n if n is not None else 2 * (size - 1) if name in _OF_HALVES else size)
        return transform(x, n, dim, norm)

    body.__name__ = name
    return body


def _axes(x, s, dim, last_two: bool):
    if dim is None:
        dim = (-2, -1) if last_two else (tuple(range(x.ndim)) if s is None else tuple(range(x.ndim - len(s), x.ndim)))
        if s is not None and len(s) > x.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.ndim} dimensions.")
    dims = canonical_dims(dim, x.ndim)
    if s is not None:
        if len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
        s = tuple(x.shape[d] if n == -1 else n for n, d in zip(s, dims, strict=True))
    return s, dims


def _many(name: str, transform, *, last_two: bool, real: bool = False):
    default = (-2, -1) if last_two else None

    def body(
        input: Array,
        s: tuple[int, ...] | None = None,
        dim: int | tuple[int, ...] | None = default,
        norm: str | None = None,
    ):
        x = _prepared(name, input, norm, real=real)
        if dim is not None:
            _has_dims(x, dim)
        s, dims = _axes(x, s, dim, last_two)
        sizes = [x.shape[d] for d in dims] if s is None else list(s)
        if name in _OF_HALVES and s is None and sizes:
            sizes[-1] = 2 * (sizes[-1] - 1)
        for n in sizes:
            _check_points(n)
        return transform(x, s, dims, norm)

    body.__name__ = name
    return body


#: public name in ``torch.fft`` -> op
EXPORTS: dict[str, str] = {}


def _declare(name: str, body, doc: str) -> None:
    body.__doc__ = f"{doc}\n\nRaises:\n    RuntimeError: an unknown ``norm``, a bad length, or an unsupported dtype."
    op(name=f"fft_{name}", namespaces=(), aliases=(), grad_name="FftBackward0", out=True)(body)
    EXPORTS[name] = f"fft_{name}"


_declare("fft", _one("fft", jnp.fft.fft), "One-dimensional transform of length ``n`` along ``dim``.")
_declare("ifft", _one("ifft", jnp.fft.ifft), "Inverse of ``fft``.")
_declare("rfft", _one("rfft", jnp.fft.rfft, real=True), "The non-redundant half of a real signal's ``fft``.")
_declare("irfft", _one("irfft", jnp.fft.irfft), "Inverse of ``rfft``; ``n`` is the length of the real result.")
_declare("hfft", _one("hfft", jnp.fft.hfft), "``fft`` of a Hermitian half signal: a real result of length ``n``.")
_declare("ihfft", _one("ihfft", jnp.fft.ihfft, real=True), "Inverse of ``hfft``.")
_declare("fft2", _many("fft2", jnp.fft.fftn, last_two=True), "Two-dimensional transform.")
_declare("ifft2", _many("ifft2", jnp.fft.ifftn, last_two=True), "Inverse of ``fft2``.")
_declare("rfft2", _many("rfft2", jnp.fft.rfftn, last_two=True, real=True), "The non-redundant half of a real ``fft2``.")
_declare("irfft2", _many("irfft2", jnp.fft.irfftn, last_two=True), "Inverse of ``rfft2``.")
_declare("fftn", _many("fftn", jnp.fft.fftn, last_two=False), "Transform over several dimensions.")
_declare("ifftn", _many("ifftn", jnp.fft.ifftn, last_two=False), "Inverse of ``fftn``.")
_declare(
    "rfftn", _many("rfftn", jnp.fft.rfftn, last_two=False, real=True), "The non-redundant half of a real ``fftn``."
)
_declare("irfftn", _many("irfftn", jnp.fft.irfftn, last_two=False), "Inverse of ``rfftn``.")

_OPPOSITE = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _hfftn(x, s, dims, norm):
    return jnp.fft.irfftn(jnp.conj(x), s, dims, _OPPOSITE[norm])


def _ihfftn(x, s, dims, norm):
    return jnp.conj(jnp.fft.rfftn(x, s, dims, _OPPOSITE[norm]))


for _name, _two in (("hfft2", True), ("hfftn", False)):
    _declare(_name, _many(_name, _hfftn, last_two=_two), "The real transform of a signal that is Hermitian in its last "
             "dimension, of which half is given.")  # fmt: skip
    _declare(f"i{_name}", _many(f"i{_name}", _ihfftn, last_two=_two, real=True), f"Inverse of ``{_name}``.")


@op(name="fft_fftshift", namespaces=())
def fftshift(input: Array, dim: int | tuple[int, ...] | None = None):
    """Zero frequency moved to the middle of ``dim`` (all dimensions by default)."""
    return jnp.fft.fftshift(input, canonical_dims(dim, input.ndim))


@op(name="fft_ifftshift", namespaces=())
def ifftshift(input: Array, dim: int | tuple[int, ...] | None = None):
    """Inverse of ``fftshift``."""
    return jnp.fft.ifftshift(input, canonical_dims(dim, input.ndim))


EXPORTS |= {"fftshift": "fft_fftshift", "ifftshift": "fft_ifftshift"}
