"""``torch.utils._triton``: whether Triton kernels can be used. XLA has its own; those of programs are not launched."""


def has_triton() -> bool:
    """False: kernels that a program wrote for PyTorch in Triton are not launched."""
    return False


def has_triton_package() -> bool:
    """False, see :func:`has_triton`."""
    return False


def has_triton_tma() -> bool:
    """False, see :func:`has_triton`."""
    return False


has_triton_tma_device = has_triton_experimental_host_tma = has_triton_tensor_descriptor_host_tma = has_triton_tma
