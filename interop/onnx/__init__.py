"""ONNX: :func:`export` writes models, :func:`load` reads them as trainable modules. Needs the ``onnx`` package."""

from __future__ import annotations

from .errors import OnnxExporterError, OnnxLoadError, UnsupportedOperatorError

__all__ = ["ONNXProgram", "OnnxExporterError", "OnnxLoadError", "UnsupportedOperatorError", "export", "load"]


def __getattr__(name):
    if name in ("export", "load", "ONNXProgram"):
        try:
            import onnx  # noqa: F401
        except ImportError:
            raise ImportError(
                f"jtorch.interop.onnx.{name} needs the onnx package: pip install 'jtorch[onnx]'"
            ) from None
        if name == "export":
            from .exporting.exporter import export

            return export
        if name == "load":
            from .loading.loader import load

            return load
        from .program import ONNXProgram

        return ONNXProgram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
