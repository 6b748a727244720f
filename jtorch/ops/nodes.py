"""Names of autograd nodes that depend on the call: rules for the registry's ``grad_name``.

PyTorch numbers an operation's derivative by its overload, and names what a composed operation ends in. A rule is called
with all parameters by name: an operand's type (an aval, the type of a number, or None), a static attribute's value.
"""

from __future__ import annotations


def _is_number(operand) -> bool:
    return isinstance(operand, type)


def over_dims(name: str):
    """The second overload is the one with ``dim``."""
    return lambda dim=None, **_: f"{name}Backward{0 if dim is None else 1}"


def by_tensor(name: str, parameter: str, number: int = 0, tensor: int = 1):
    """The overload is the one for a number, or for a tensor, as ``parameter``."""
    return lambda **given: f"{name}Backward{number if _is_number(given[parameter]) else tensor}"


def squeeze(input, dim) -> str:
    """All dimensions, one, or several."""
    return f"SqueezeBackward{0 if dim is None else 1 if isinstance(dim, int) else 2}"


def pow(input, exponent) -> str:
    """By a number, by a tensor, or of a number."""
    return f"PowBackward{2 if _is_number(input) else 0 if _is_number(exponent) else 1}"


def clamp(input, min, max) -> str:
    """Between tensors, or between numbers."""
    return f"ClampBackward{1 if _is_number(min) or _is_number(max) else 0}"


def sub(input, other, alpha) -> str:
    """``1 - x`` is a reversed subtraction."""
    return "RsubBackward1" if _is_number(input) else "SubBackward0"


def true_divide(input, other) -> str:
    """``2 / x`` is the reciprocal, multiplied."""
    return "MulBackward0" if _is_number(input) else "DivBackward0"


def div_mode(input, other, rounding_mode) -> str:
    """By a tensor, or by a number."""
    return f"DivBackward{2 if _is_number(other) else 1}"


def matmul(input, other) -> str:
    """What the product of such shapes is made of."""
    dims = len(input.shape), len(other.shape)
    named = {(1, 1): "Dot", (2, 1): "Mv", (2, 2): "Mm"}
    return (
        f"{named[dims]}Backward0" if dims in named else "SqueezeBackward4" if dims == (1, 2) else "UnsafeViewBackward0"
    )


def linear(input, weight, bias) -> str:
    """A matrix product, with or without a term."""
    if bias is not None:
        return "AddmmBackward0" if len(input.shape) == 2 else "ViewBackward0"
    return matmul(input, weight) if len(weight.shape) == 2 else "MvBackward0"


def pad(input, pad, mode, value) -> str:
    """By the mode, and how many dimensions are padded."""
    names = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}
    return f"{names[mode]}{len(pad) // 2}DBackward0" if mode in names else "ConstantPadNdBackward0"


def interpolate(input, mode="nearest", **_) -> str:
    """By the mode, and the number of dimensions."""
    names = {
        "nearest": f"Nearest{len(input.shape) - 2}D", "linear": "Linear1D", "bilinear": "Bilinear2D",
        "bicubic": "Bicubic2D", "trilinear": "Trilinear3D", "nearest-exact": f"NearestExact{len(input.shape) - 2}D",
    }  # fmt: skip
    return f"Upsample{names[mode]}Backward0" if mode in names else "UpsampleBackward0"
