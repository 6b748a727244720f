"""``torch.backends``: switches programs set. Those that mean something to XLA act; the others are kept for reading."""

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum, quantized
