"""Automatic differentiation: ``grad``, ``backward``, custom ``Function``, higher-level derivatives, gradcheck."""

from ..tape.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from ..tensor.autograd import backward, grad
from . import forward_ad, functional, graph, profiler
from .anomaly import detect_anomaly, set_detect_anomaly
from .function import Function, FunctionCtx, once_differentiable
from .gradcheck import GradcheckError, gradcheck, gradgradcheck


def Variable(data, requires_grad=False, volatile=None):
    """The tensor itself: Variables and Tensors have long been one."""
    return data.detach().requires_grad_() if requires_grad and not data.requires_grad else data


__all__ = [
    "Function", "FunctionCtx", "GradcheckError", "Tensor", "Variable", "backward", "detect_anomaly", "enable_grad",
    "forward_ad", "functional", "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad",
    "once_differentiable", "profiler", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
