"""``Variable``, which has long been another name of Tensor."""

from ..tape.engine import queue_callback
from ..tensor import Tensor


class _VariableMeta(type):
    def __call__(cls, data, requires_grad=False, volatile=None):
        return data.detach().requires_grad_(requires_grad)

    def __instancecheck__(cls, instance) -> bool:
        return isinstance(instance, Tensor)


class _Engine:
    """The backward engine, as far as programs speak to it."""

    def queue_callback(self, callback) -> None:
        """Call ``callback()`` when the backward that is running has ended.

        Raises:
            RuntimeError: none is running.
        """
        queue_callback(callback)


class Variable(metaclass=_VariableMeta):
    """``Variable(data)`` is the tensor, cut off from its history: Variables and Tensors have long been one."""

    _execution_engine = _Engine()


__all__ = ["Variable"]
