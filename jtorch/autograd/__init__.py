"""Automatic differentiation: ``grad``, ``backward``, custom ``Function``, higher-level derivatives, gradcheck."""

from ..tape.engine import queue_callback as _queue_callback
from ..tape.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from ..tensor.autograd import backward, grad
from . import forward_ad, functional, graph, profiler
from .anomaly import detect_anomaly, set_detect_anomaly
from .function import Function, FunctionCtx, once_differentiable
from .gradcheck import GradcheckError, gradcheck, gradgradcheck


def _variable(data, requires_grad=False, volatile=None):
    """The tensor itself: Variables and Tensors have long been one."""
    return data.detach().requires_grad_() if requires_grad and not data.requires_grad else data


class _VariableMeta(type):
    def __call__(cls, data, requires_grad=False, volatile=None):
        return _variable(data, requires_grad)

    def __instancecheck__(cls, instance) -> bool:
        return isinstance(instance, Tensor)


class _Engine:
    """The backward engine, as far as programs speak to it."""

    def queue_callback(self, callback) -> None:
        """Call ``callback()`` when the backward that is running has ended.

        Raises:
            RuntimeError: none is running.
        """
        _queue_callback(callback)


class Variable(metaclass=_VariableMeta):
    """``Variable(data)`` is the tensor itself: Variables and Tensors have long been one."""

    _execution_engine = _Engine()


variable = Variable


def _is_checkpoint_valid() -> bool:
    """True: a backward that is running may start another."""
    return True


__all__ = [
    "Function", "FunctionCtx", "GradcheckError", "Tensor", "Variable", "backward", "detect_anomaly", "enable_grad",
    "forward_ad", "functional", "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad",
    "once_differentiable", "profiler", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
