"""``torch._dynamo.exc``: what compiling raises.

The last five are PyTorch's names for failures of its own machinery. Nothing here raises them (an operation's error
keeps its type in a compiled function); programs may catch them.
"""

from ..compiler.api import InvalidBackend
from ..compiler.function import FailOnRecompileLimitHit, RecompileError
from ..errors import TorchDynamoException
from ..export.dims import UserError
from ..trace.capture import GraphBreak as Unsupported


class BackendCompilerFailed(TorchDynamoException):
    """A backend failed."""


class InternalTorchDynamoError(TorchDynamoException):
    """The compiler failed."""


class TorchRuntimeError(TorchDynamoException):
    """An operation failed on the shapes it would be given."""


class UncapturedHigherOrderOpError(TorchDynamoException):
    """A function given to an operation such as ``cond`` could not be captured."""


class ResetRequired(TorchDynamoException):
    """The backend changed."""


__all__ = [
    "BackendCompilerFailed", "FailOnRecompileLimitHit", "InternalTorchDynamoError", "InvalidBackend", "RecompileError",
    "ResetRequired", "TorchDynamoException", "TorchRuntimeError", "UncapturedHigherOrderOpError", "Unsupported",
    "UserError",
]  # fmt: skip
