"""``stft`` and ``istft``."""

from __future__ import annotations

import warnings

from ..tensor.dispatch import call
from ..tensor.export import composite


@composite("torch", method=True)
def stft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False,
    onesided=None, return_complex=None, align_to_window=None,
):  # fmt: skip
    """The short-time Fourier transform: ``(L,)`` or ``(B, L)`` to ``(..., frequencies, windows)``.

    Args:
        n_fft: length of a transform.
        hop_length: distance of neighbouring windows (default ``n_fft // 4``).
        win_length: length of the window (default ``n_fft``); it is put in the middle of the transform's length.
        window: its values (default: ones).
        center: window t is centred at ``t * hop_length``, the signal being padded by ``pad_mode``.
        normalized: scale by ``n_fft ** -0.5``.
        onesided: leave out the frequencies that a real signal implies (default: for real signals).
        return_complex: must be given for real signals: False returns the parts in a last dimension of size 2.

    Raises:
        RuntimeError: sizes that do not fit, or ``return_complex`` missing.
        NotImplementedError: ``align_to_window``.
    """
    if align_to_window:
        raise NotImplementedError("stft(align_to_window=True) is not supported; pad the signal and use center=False")
    any_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not any_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if onesided is None:
        onesided = not any_complex
    found = call(
        "_stft", input, window, n_fft=n_fft, hop_length=hop, win_length=width, center=center, pad_mode=pad_mode,
        normalized=normalized, onesided=onesided,
    )  # fmt: skip
    return found if return_complex else call("view_as_real", found)


@composite("torch", method=True)
def istft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=None,
    length=None, return_complex=False,
):  # fmt: skip
    """The signal whose ``stft`` is closest to ``input`` ``(..., frequencies, windows)``; see :func:`jtorch.stft`.

    ``length`` cuts or pads the result.

    Raises:
        RuntimeError: sizes that do not fit, or windows whose overlapping squares leave a gap (which is read).
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if onesided is None:
        onesided = input.shape[-2] != n_fft if input.dim() > 1 else True
    signal, least = call(
        "_istft", input, window, n_fft=n_fft, hop_length=hop, win_length=width, center=center, normalized=normalized,
        onesided=onesided, length=length, return_complex=return_complex,
    )  # fmt: skip
    if float(least.detach()) < 1e-11:
        raise RuntimeError(
            "istft: window overlap add min is 0: the windows leave gaps, where the signal cannot be recovered"
        )
    if length is not None and signal.shape[-1] > 0:
        covered = n_fft + hop * (input.shape[-1] - 1) - (n_fft // 2 if center else 0)
        if length > covered:
            warnings.warn(
                "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
                "tail. Please check your center and hop_length settings.",
                UserWarning,
                stacklevel=2,
            )
    return signal
