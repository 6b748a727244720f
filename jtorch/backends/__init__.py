"""``torch.backends``: switches programs set. Those that mean something to XLA act; the others are kept and read back."""

from . import cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum
