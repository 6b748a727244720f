"""Rows for ``torch.fft``."""

from .table import S, T, rows

C = T(3, 4, dtype="complex64")
rows("torch.fft.fft", S(T(6)), S(C), S(T(3, 5), n=4), S(T(3, 5), dim=0, norm="ortho"), S(T(4, dtype="int64")))
rows("torch.fft.ifft", S(C), S(T(3, 5), n=7, norm="forward"))
rows("torch.fft.rfft", S(T(6)), S(T(3, 5), dim=0), S(T(3, 5), n=4, norm="ortho"))
rows("torch.fft.irfft", S(C), S(C, n=5), S(C, dim=0, norm="ortho"))
rows("torch.fft.hfft", S(C), S(C, n=5, norm="ortho"))
rows("torch.fft.ihfft", S(T(6)), S(T(3, 5), dim=0, norm="ortho"))
rows("torch.fft.fft2", S(T(2, 3, 4)), S(C, norm="ortho"), S(T(3, 4), s=(2, 5)))
rows("torch.fft.ifft2", S(C), S(T(2, 3, 4), dim=(0, 1)))
rows("torch.fft.rfft2", S(T(3, 4)), S(T(2, 3, 4), norm="forward"))
rows("torch.fft.irfft2", S(C), S(C, s=(3, 5)))
rows("torch.fft.fftn", S(T(2, 3, 4)), S(T(2, 3, 4), dim=(0, 2)), S(C, s=(2,)))
rows("torch.fft.ifftn", S(C), S(T(2, 3, 4), norm="ortho"))
rows("torch.fft.rfftn", S(T(2, 3, 4)), S(T(3, 4), dim=(1, 0)))
rows("torch.fft.irfftn", S(C), S(T(2, 3, 4, dtype="complex64"), norm="ortho"))
rows("torch.fft.fftshift", S(T(5)), S(T(3, 4), dim=1))
rows("torch.fft.ifftshift", S(T(5)), S(T(3, 4), dim=(0,)))
