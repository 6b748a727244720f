"""Rows for windows and short-time Fourier transforms."""

import numpy as np

from .table import S, T, rows

for _name in ("bartlett", "blackman", "cosine", "hamming", "hann", "nuttall"):
    rows(f"torch.signal.windows.{_name}", S(7), S(6, sym=False), S(1), S(0, dtype="torch.float64"))
rows("torch.signal.windows.general_cosine", S(7, a=[0.46, 0.23, 0.31]), S(6, a=(0.5, 0.3, 0.1, 0.1), sym=False))
rows("torch.signal.windows.general_hamming", S(7), S(6, alpha=0.46, sym=False))
rows("torch.signal.windows.exponential", S(7), S(6, tau=0.5), S(6, sym=False, center=2, tau=2.0), S(5, sym=False))
rows("torch.signal.windows.gaussian", S(7), S(6, std=0.9, sym=False))
rows("torch.signal.windows.kaiser", S(7), S(6, beta=3.0, sym=False), S(5, beta=0.0, dtype="torch.float64"))

HANN = T(8, values=np.hanning(9)[:8], dtype="float32")
rows(
    "torch.stft",
    S(T(32), 8, window=HANN, return_complex=True),
    S(T(2, 20), 8, hop_length=3, win_length=6, window=T(6, low=0.5, high=1), return_complex=False),
    S(T(2, 20), 8, center=False, normalized=True, window=HANN, onesided=False, return_complex=True),
    S(T(16, dtype="complex64"), 8, window=HANN),
    S(T(20), 8, window=HANN, pad_mode="constant", return_complex=True),
)
rows("torch.Tensor.stft", S(T(32), 8, window=HANN, return_complex=True))
SPECTRUM = T(5, 9, dtype="complex64")
rows(
    "torch.istft",
    S(SPECTRUM, 8, window=HANN),
    S(T(2, 5, 9, dtype="complex64"), 8, hop_length=2, window=HANN, length=15),
    S(T(8, 9, dtype="complex64"), 8, window=HANN, onesided=False, return_complex=True),
    S(SPECTRUM, 8, center=False, normalized=True, window=T(8, low=0.5, high=1)),
)
rows("torch.fft.hfft2", S(T(3, 4, dtype="complex64")), S(T(2, 3, 4), s=(3, 5), norm="ortho"))
rows("torch.fft.ihfft2", S(T(3, 4)), S(T(2, 3, 4), norm="forward"))
rows("torch.fft.hfftn", S(T(2, 3, 4, dtype="complex64")), S(T(3, 4, dtype="complex64"), dim=(1, 0)))
rows("torch.fft.ihfftn", S(T(2, 3, 4)), S(T(3, 4), s=(4,)))
