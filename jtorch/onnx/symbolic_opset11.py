"""``torch.onnx.symbolic_opset11``: empty. Programs import it for functions that write nodes of PyTorch's own graphs."""
