"""Initial values for parameters, written in place and outside autograd; each function returns its tensor.

For the same seed the numbers are PyTorch's (``orthogonal_`` up to the rounding of the QR decomposition).
"""

from __future__ import annotations

import math
import warnings

import jtorch

from .. import devices
from ..streams import samplers
from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..tensor.random import generator_for
from ..trace.value import put

_LINEAR_LIKE = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
)  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which to scale weights before ``nonlinearity``.

    1 for linear and sigmoid, 5/3 for tanh, √2 for relu, √(2 / (1 + slope²)) for leaky_relu (``param`` is the slope,
    default 0.01), 3/4 for selu.

    Raises:
        ValueError: an unknown nonlinearity, or a slope that is no number.
    """
    if nonlinearity in _LINEAR_LIKE:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif not isinstance(param, bool) and isinstance(param, (int, float)):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of one unit: the first two sizes times the size of the kernel."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    out, into, *kernel = tensor.shape
    field = math.prod(kernel)
    return into * field, out * field


_calculate_fan_in_and_fan_out = _fans


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _fans(tensor)
    return fan_in if mode == "fan_in" else fan_out


def _unchanged(tensor: Tensor) -> bool:
    """Whether there is nothing to initialise; PyTorch warns then."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


# --- distributions -------------------------------------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator=None) -> Tensor:
    """Uniform on [a, b)."""
    with jtorch.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator=None) -> Tensor:
    """Normal with ``mean`` and ``std``."""
    with jtorch.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator=None
) -> Tensor:
    """Normal with ``mean`` and ``std``, redrawn where it falls outside [a, b].

    Raises:
        RuntimeError: ``std`` is negative or ``a > b``.
    """
    if tensor.is_meta:
        return tensor
    # The accepted numbers are known only once drawn: they are drawn on the host, for every device.
    g = generator_for(tensor.device, generator)
    strides = None if tensor.is_contiguous() else tensor.stride()
    data = samplers.trunc_normal(
        g._stream, tuple(tensor.shape), mean, std, a, b, dtype=tensor.dtype.np, strides=strides
    )
    with jtorch.no_grad():
        return tensor.copy_(wrap(put(data, devices.CPU)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """``val`` everywhere."""
    with jtorch.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.

    Raises:
        ValueError: ``tensor`` is no matrix.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with jtorch.no_grad():
        return tensor.copy_(jtorch.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution kernel that copies its input channels, as many as there are, in each of ``groups``.

    Raises:
        ValueError: ``tensor`` has other than 3 to 5 dimensions, or its first size is not divisible by ``groups``.
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out, into, *kernel = tensor.shape
    if out % groups:
        raise ValueError("dim 0 must be divisible by groups")
    middle = tuple(k // 2 for k in kernel)
    with jtorch.no_grad():
        tensor.zero_()
        per_group = out // groups
        for g in range(groups):
            for d in range(min(per_group, into)):
                tensor[(g * per_group + d, d, *middle)] = 1
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator=None) -> Tensor:
    """Uniform on [-a, a], ``a = gain √(6 / (fan_in + fan_out))`` (Glorot & Bengio, 2010)."""
    fan_in, fan_out = _fans(tensor)
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / float(fan_in + fan_out)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator=None) -> Tensor:
    """Normal with ``std = gain √(2 / (fan_in + fan_out))`` (Glorot & Bengio, 2010)."""
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None
) -> Tensor:
    """Uniform on [-b, b], ``b = gain √(3 / fan)`` (He et al., 2015).

    Args:
        a: the negative slope of the rectifier that follows (for ``leaky_relu``).
        mode: ``"fan_in"`` keeps the variance of the forward pass, ``"fan_out"`` that of the backward pass.
    """
    if _unchanged(tensor):
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    bound = math.sqrt(3.0) * (calculate_gain(nonlinearity, a) / math.sqrt(fan))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None
) -> Tensor:
    """Normal with ``std = gain / √fan`` (He et al., 2015); the arguments are those of :func:`kaiming_uniform_`."""
    if _unchanged(tensor):
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator=None) -> Tensor:
    """A (semi-)orthogonal matrix times ``gain``; sizes after the first are taken as one.

    Raises:
        ValueError: fewer than two dimensions.
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with jtorch.no_grad():
        flat = jtorch.empty(rows, columns, dtype=tensor.dtype, device=tensor.device).normal_(0, 1, generator=generator)
        q, r = jtorch.linalg.qr(flat.t() if rows < columns else flat)
        q = q * r.diagonal().sign()
        if rows < columns:
            q = q.t()
        return tensor.copy_(q.reshape(tensor.shape) * gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator=None) -> Tensor:
    """Normal with ``std``, and a fraction ``sparsity`` of each column zero.

    Raises:
        ValueError: ``tensor`` is no matrix.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = int(math.ceil(sparsity * rows))
    with jtorch.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[jtorch.randperm(rows)[:zeros], column] = 0
    return tensor


def _deprecated(new):
    old = new.__name__[:-1]

    def function(*args, **kwargs):
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{old}_`.", FutureWarning, stacklevel=2)
        return new(*args, **kwargs)

    function.__name__ = old
    function.__doc__ = f"Old name of :func:`{new.__name__}`."
    return function


uniform, normal, constant, eye, dirac = map(_deprecated, (uniform_, normal_, constant_, eye_, dirac_))
xavier_uniform, xavier_normal = map(_deprecated, (xavier_uniform_, xavier_normal_))
kaiming_uniform, kaiming_normal = map(_deprecated, (kaiming_uniform_, kaiming_normal_))
orthogonal, sparse = map(_deprecated, (orthogonal_, sparse_))

# Names by which libraries reach past PyTorch's checks of arguments; here the public ones draw at once.
_no_grad_uniform_, _no_grad_normal_, _no_grad_trunc_normal_ = uniform_, normal_, trunc_normal_
_no_grad_fill_, _no_grad_zero_ = constant_, zeros_
