"""``torch._logging``: :func:`set_logs` chooses what is printed while a program runs, as ``JTORCH_LOGS`` does."""

from __future__ import annotations

from . import config

#: PyTorch's topics that jtorch has as well
_TOPICS = ("recompiles", "graph_breaks")

#: PyTorch's topics about parts that jtorch does not have; they print nothing
_WITHOUT_EFFECT = (
    "all", "aot", "aot_graphs", "aot_joint_graph", "autograd", "autotuning", "benchmarking", "bytecode", "c10d",
    "caching", "compiled_autograd", "compiled_autograd_verbose", "compute_dependencies", "cudagraph_static_inputs",
    "cudagraphs", "ddp", "ddp_graphs", "distributed", "dtensor", "dynamic", "dynamo", "export", "fsdp", "fusion",
    "graph", "graph_code", "graph_code_verbose", "graph_region_expansion", "graph_sizes", "guards",
    "hierarchical_compile", "incremental", "inductor", "inductor_metrics", "ir_post_fusion", "ir_pre_fusion",
    "kernel_code", "onnx", "onnx_diagnostics", "output_code", "overlap", "perf_hints", "post_grad_graphs",
    "pre_grad_graphs", "recompiles_verbose", "schedule", "side_effects", "sym_node", "trace_bytecode", "trace_call",
    "trace_source",
)  # fmt: skip


def set_logs(*, modules: dict | None = None, **topics) -> None:
    """Print ``recompiles`` and ``graph_breaks`` (true values) from now on, and no other topic that was set so before.

    PyTorch's remaining topics, and ``modules``, are about parts jtorch does not have: they are accepted and print
    nothing. Values are booleans, or levels of :mod:`logging` for the parts.

    Raises:
        TypeError: there is no such topic.
    """
    unknown = next((name for name in topics if name not in _TOPICS and name not in _WITHOUT_EFFECT), None)
    if unknown is not None:
        raise TypeError(f"set_logs() got an unexpected keyword argument '{unknown}'")
    config.logs = set(config.logs).difference(_TOPICS).union(name for name in _TOPICS if topics.get(name))
