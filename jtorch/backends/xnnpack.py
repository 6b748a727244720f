"""Whether PyTorch's xnnpack backend is present: it is not, XLA brings its own kernels."""

enabled = False
