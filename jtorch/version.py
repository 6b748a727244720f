"""Versions. ``__version__`` of the package is jtorch's own; ``torch_api`` is the PyTorch release it follows."""

torch_api = "2.13.0"
cuda = None
hip = None
xpu = None
git_version = "unknown"
debug = False
