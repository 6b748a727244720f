"""``jtorch.ao``: quantization. Integers instead of floats, for smaller files and faster inference."""

from . import files, nn, quantization
