"""TensorFlow: write SavedModels and TFLite files, and use Keras models and SavedModels as modules.

Needs ``tensorflow-cpu`` (or ``tensorflow``): ``pip install 'jtorch[tf]'``; it is imported on use.
"""

from __future__ import annotations

from .common import ExportError, MismatchError
from .lite import TFLiteModel, to_tflite
from .modules import TFModule, from_keras, from_saved_model
from .portable import UnsupportedOperatorError
from .saved_model import save_saved_model

__all__ = [
    "ExportError", "MismatchError", "TFLiteModel", "TFModule", "UnsupportedOperatorError", "from_keras",
    "from_saved_model", "save_saved_model", "to_tflite",
]  # fmt: skip
