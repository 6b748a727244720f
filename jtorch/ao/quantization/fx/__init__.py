"""``torch.ao.quantization.fx``: operations that graphs of quantized programs consist of."""
