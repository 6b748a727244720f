"""Which kernels PyTorch's quantized operations run on. Kept for reading: XLA's integer products serve them all."""

supported_engines = ["qnnpack", "none", "onednn", "x86", "fbgemm"]
engine = "x86"
