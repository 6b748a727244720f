"""Windows and Fourier transforms."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from .registry import dtype_of, handles, tensor


def _window(n, size, coefficients):
    count = int(np.asarray(size).reshape(-1)[0])
    divisor = count if n.get("periodic", 1) else count - 1
    at = np.arange(count) * 2 * math.pi / max(divisor, 1)
    values = sum(c * np.cos(k * at) for k, c in enumerate(coefficients))
    return tensor(np.asarray(values, np.float64), n.interpreter.device).to(dtype_of(n.get("output_datatype", 1)))


@handles("HannWindow", host=(0,))
def hann(n, size):
    return _window(n, size, (0.5, -0.5))


@handles("HammingWindow", host=(0,))
def hamming(n, size):
    return _window(n, size, (25 / 46, -21 / 46))


@handles("BlackmanWindow", host=(0,))
def blackman(n, size):
    return _window(n, size, (0.42, -0.5, 0.08))


@handles("DFT", host=(1, 2))
def dft(n, x, length=None, axis=None):
    axis = int(axis) if axis is not None else n.get("axis", 1 if n.opset < 20 else -2)
    axis = axis % x.dim()
    count = None if length is None else int(np.asarray(length).reshape(-1)[0])
    inverse, onesided, kind = n.get("inverse", 0), n.get("onesided", 0), x.dtype
    x = x if inverse else x.double()  # in float32 what should be 0 would not be
    z = jtorch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)
    if inverse and onesided:
        return jtorch.fft.irfft(z, count, dim=axis).unsqueeze(-1).to(kind)
    if inverse:
        out = jtorch.fft.ifft(z, count, dim=axis)
    elif onesided and not z.is_complex():
        out = jtorch.fft.rfft(z, count, dim=axis)
    else:
        out = jtorch.fft.fft(z, count, dim=axis)
        if onesided:
            out = out.narrow(axis, 0, out.shape[axis] // 2 + 1)
    return jtorch.view_as_real(out).to(kind)


@handles("STFT", host=(1, 3))
def stft(n, x, step, window=None, length=None):
    step = int(np.asarray(step).reshape(-1)[0])
    size = int(np.asarray(length).reshape(-1)[0]) if length is not None else window.shape[0]
    frames = (x.shape[1] - size) // step + 1
    pieces = jtorch.stack([x.narrow(1, i * step, size) for i in range(frames)], 1)  # (B, frames, size, 1 or 2)
    if window is not None:
        pieces = pieces * window.reshape(1, 1, -1, 1)
    if pieces.shape[-1] == 1 and n.get("onesided", 1):
        return jtorch.view_as_real(jtorch.fft.rfft(pieces.squeeze(-1), dim=2))
    z = jtorch.view_as_complex(pieces.contiguous()) if pieces.shape[-1] == 2 else pieces.squeeze(-1)
    return jtorch.view_as_real(jtorch.fft.fft(z, dim=2))


@handles("MelWeightMatrix", host=(0, 1, 2, 3, 4))
def mel_weights(n, bins, size, rate, low, high):
    bins, size, rate = (int(np.asarray(v).reshape(-1)[0]) for v in (bins, size, rate))
    spectrum = size // 2 + 1

    def mel(f):
        return 2595 * math.log10(1 + float(np.asarray(f).reshape(-1)[0]) / 700)

    at = np.arange(bins + 2) * (mel(high) - mel(low)) / (bins + 2) + mel(low)
    places = np.floor((size + 1) * (700 * (10 ** (at / 2595) - 1)) / rate).astype(int)
    out = np.zeros((spectrum, bins))
    for i in range(bins):
        left, centre, right = places[i : i + 3]
        if centre == left:
            out[centre, i] = 1
        else:
            for j in range(left, centre + 1):
                out[j, i] = (j - left) / (centre - left)
        for j in range(centre, right):
            out[j, i] = (right - j) / (right - centre)
    return tensor(out, n.interpreter.device).to(dtype_of(n.get("output_datatype", 1)))
