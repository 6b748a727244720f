"""Short-time Fourier transforms."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .elementwise import is_complex, is_integral
from .registry import Array, op

_PADDING = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _window(name: str, window, win_length: int, n_fft: int, dtype):
    """The window, with zeros on both sides up to ``n_fft``."""
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if window is None:
        window = jnp.ones((win_length,), dtype)
    elif window.ndim != 1 or window.shape[0] != win_length:
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
            f"{list(window.shape)}"
        )
    left = (n_fft - win_length) // 2
    return jnp.pad(window, (left, n_fft - win_length - left))


@op(name="_stft", namespaces=(), grad_name="AsStridedBackward0")
def stft(
    input: Array,
    window: Array | None,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    pad_mode: str,
    normalized: bool,
    onesided: bool,
):
    """The spectra of windows ``hop_length`` apart: ``(..., L) -> (..., frequencies, windows)``, complex."""
    if is_integral(input) or input.ndim not in (1, 2):
        raise RuntimeError(
            f"stft(torch.{input.dtype}{list(input.shape)}, n_fft={n_fft}): expected a 1D or 2D tensor of floating "
            "types or complex floating types"
        )
    if hop_length <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop_length}")
    x = input if input.ndim == 2 else input[None]
    if center:
        if pad_mode not in _PADDING:
            raise NotImplementedError(f"Unrecognised padding mode {pad_mode}")
        half = n_fft // 2
        if pad_mode == "reflect" and half >= x.shape[-1]:
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({half}, {half}) at dimension 2 of input {[1, *x.shape]}"
            )
        x = jnp.pad(x, ((0, 0), (half, half)), mode=_PADDING[pad_mode])
    length = x.shape[-1]
    if not 0 < n_fft <= length:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {length}, but got n_fft={n_fft}")
    w = _window("stft", window, win_length, n_fft, x.real.dtype)
    if onesided and (is_complex(x) or is_complex(w)):
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    count = 1 + (length - n_fft) // hop_length
    at = np.arange(count)[:, None] * hop_length + np.arange(n_fft)
    frames = x[:, at] * w
    spectrum = jnp.fft.rfft(frames) if onesided else jnp.fft.fft(frames)
    if normalized:
        spectrum = spectrum * jnp.asarray(n_fft**-0.5, spectrum.real.dtype)
    spectrum = jnp.swapaxes(spectrum, -2, -1)
    return spectrum if input.ndim == 2 else spectrum[0]


def _overlapped(frames, hop: int):
    """Frames ``(..., count, n)`` laid over each other, ``hop`` apart, and summed."""
    count, n = frames.shape[-2:]
    at = np.arange(count)[:, None] * hop + np.arange(n)
    out = jnp.zeros((*frames.shape[:-2], n + hop * (count - 1)), frames.dtype)
    return out.at[..., at].add(frames)


@op(name="_istft", namespaces=(), grad_name="IstftBackward0")
def istft(
    input: Array,
    window: Array | None,
    n_fft: int,
    hop_length: int,
    win_length: int,
    center: bool,
    normalized: bool,
    onesided: bool,
    length: int | None,
    return_complex: bool,
):
    """The signal of least squared distance to a spectrogram, and the least window sum met on the way.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984: the inverse transforms are
    windowed once more, laid over each other and divided by the sum of the squared windows.
    """
    if not is_complex(input):
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.ndim not in (2, 3) or not input.size:
        raise RuntimeError("istft: expected a tensor with 2 or 3 dimensions that is not empty, but got a tensor of "
                           f"shape {list(input.shape)}")  # fmt: skip
    if input.shape[-2] != (n_fft // 2 + 1 if onesided else n_fft):
        wanted = f"n_fft / 2 + 1 = {n_fft // 2 + 1}" if onesided else f"n_fft = {n_fft}"
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match {wanted} when "
            f"onesided={onesided}, but got {input.shape[-2]}"
        )
    if not 0 < hop_length <= win_length:
        raise RuntimeError("istft: expected 0 < hop_length <= win_length")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    w = _window("istft", window, win_length, n_fft, input.real.dtype)
    spectrum = jnp.swapaxes(input, -2, -1)
    if normalized:
        spectrum = spectrum * jnp.asarray(n_fft**0.5, spectrum.real.dtype)
    if return_complex:
        frames = jnp.fft.ifft(spectrum, n_fft)
    elif onesided:
        frames = jnp.fft.irfft(spectrum, n_fft)
    else:
        frames = jnp.fft.irfft(spectrum[..., : n_fft // 2 + 1], n_fft)
    signal = _overlapped(frames * w, hop_length)
    weight = _overlapped(jnp.broadcast_to(w * w, frames.shape[-2:]), hop_length)
    start = n_fft // 2 if center else 0
    full = signal.shape[-1]
    end = start + length if length is not None else (full - n_fft // 2 if center else full)
    signal, weight = signal[..., start : min(end, full)], weight[start : min(end, full)]
    least = jnp.min(jnp.abs(weight)) if weight.size else jnp.ones((), weight.dtype)
    signal = signal / weight
    if end > full:
        signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, end - full)])
    return signal, least
