"""What a child process imports as ``torch``: it puts jtorch in its own place."""

import importlib
import sys

del sys.modules[__name__]

from jtorch import shim  # noqa: E402

shim.install()
importlib.import_module(__name__)
