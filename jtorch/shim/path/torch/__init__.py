"""What a child process imports as ``torch``: it puts jtorch in its own place."""

from jtorch.shim import install

install()
