"""Automatic differentiation: ``grad``, ``backward``, custom ``Function``, higher-level derivatives, gradcheck."""

from ..tape import engine
from ..tape.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from ..tensor.autograd import backward, grad
from . import forward_ad, functional, grad_mode, graph, profiler, variable
from .anomaly import detect_anomaly, set_detect_anomaly
from .function import Function, FunctionCtx, once_differentiable
from .grad_mode import is_multithreading_enabled, set_multithreading_enabled
from .gradcheck import GradcheckError, gradcheck, gradgradcheck
from .saved import SavedTensor
from .variable import Variable


def _is_checkpoint_valid() -> bool:
    """Whether the backward that is running accumulates into every leaf it reaches, as one of its hooks might, too."""
    walk = engine.running()
    return walk is None or not walk.partial


__all__ = [
    "Function", "FunctionCtx", "GradcheckError", "SavedTensor", "Tensor", "Variable", "backward", "detect_anomaly",
    "enable_grad", "is_multithreading_enabled",
    "forward_ad", "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad",
    "once_differentiable", "profiler", "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
    "variable",
]  # fmt: skip
