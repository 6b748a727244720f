"""``torch.cuda.graphs``: what :mod:`jtorch.cuda` has of CUDA graphs, under PyTorch's second name."""

from . import CUDAGraph, graph, graph_pool_handle, is_current_stream_capturing, make_graphed_callables

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"]
