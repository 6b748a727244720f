"""Exceptions of :mod:`jtorch.onnx`."""

from ..interop.onnx.errors import OnnxExporterError, OnnxLoadError, UnsupportedOperatorError

__all__ = ["OnnxExporterError", "OnnxLoadError", "UnsupportedOperatorError"]
