"""What can go wrong, by PyTorch's names."""


class OnnxExporterError(RuntimeError):
    """A model cannot be exported, or what was exported does not compute the same."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operation has no translation to ONNX."""


class OnnxLoadError(RuntimeError):
    """A file is no sound ONNX model, or uses what the loader does not know."""
