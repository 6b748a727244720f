"""``torch._dynamo.exc``: what compiling raises."""

from ..compiler.api import InvalidBackend
from ..errors import TorchDynamoException
from ..export.dims import UserError
from ..trace.capture import GraphBreak as Unsupported

__all__ = ["InvalidBackend", "TorchDynamoException", "Unsupported", "UserError"]
