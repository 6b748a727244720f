"""How modules convert and load their parameters: switches that programs set early."""

from jtorch.nn.parameter import conversion as _conversion

__all__ = [
    "get_overwrite_module_params_on_conversion",
    "get_swap_module_params_on_conversion",
    "set_overwrite_module_params_on_conversion",
    "set_swap_module_params_on_conversion",
]


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Whether ``module.to(...)`` and the like put new parameters in the place of the old ones (default: they give the
    old ones new content, so that who holds them sees the change)."""
    _conversion.overwrite = value


def get_overwrite_module_params_on_conversion() -> bool:
    """See :func:`set_overwrite_module_params_on_conversion`."""
    return _conversion.overwrite


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Whether conversions and ``load_state_dict`` exchange everything about the old and the new tensor
    (:func:`jtorch.utils.swap_tensors`); what is loaded is then made by ``Tensor.module_load``, which subclasses may
    override."""
    _conversion.swap = value


def get_swap_module_params_on_conversion() -> bool:
    """See :func:`set_swap_module_params_on_conversion`."""
    return _conversion.swap
