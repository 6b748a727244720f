"""Settings of all pipes that a pipe reads: their shares, their shuffling, their seeds."""

from __future__ import annotations

import inspect
import warnings

from jtorch.utils.data.datapipes.iter.sharding import SHARDING_PRIORITIES, _ShardingIterDataPipe
from jtorch.utils.data.graph import DataPipe, DataPipeGraph, traverse_dps
from jtorch.utils.data.sampler import random_seed


def get_all_graph_pipes(graph: DataPipeGraph) -> list[DataPipe]:
    """Every pipe of the graph, once."""
    found: dict[int, DataPipe] = {}

    def collect(graph):
        for key, (pipe, below) in graph.items():
            if key not in found:
                found[key] = pipe
                collect(below)

    collect(graph)
    return list(found.values())


def _has(pipe, *methods: str) -> bool:
    return all(inspect.ismethod(getattr(pipe, method, None)) for method in methods)


def apply_sharding(datapipe, num_of_instances: int, instance_id: int, sharding_group=SHARDING_PRIORITIES.DEFAULT):
    """Call ``apply_sharding`` of the pipes that have it.

    Raises:
        RuntimeError: one reads another, which would lose samples.
    """

    def apply(graph, applied=None):
        for pipe, below in graph.values():
            here = applied
            if isinstance(pipe, _ShardingIterDataPipe) or _has(pipe, "apply_sharding"):
                if applied is not None:
                    raise RuntimeError(
                        "Sharding twice on a single pipeline is likely unintended and will cause data loss. Sharding "
                        f"already applied to {applied} while trying to apply to {pipe}"
                    )
                if len(inspect.signature(pipe.apply_sharding).parameters) < 3:
                    pipe.apply_sharding(num_of_instances, instance_id)
                else:
                    pipe.apply_sharding(num_of_instances, instance_id, sharding_group=sharding_group)
                here = pipe
            apply(below, here)

    apply(traverse_dps(datapipe))
    return datapipe


def apply_shuffle_settings(datapipe, shuffle: bool | None = None):
    """Turn the shuffling of all shufflers on or off; where there is none and it is to be on, add one at the end."""
    if shuffle is None:
        return datapipe
    shufflers = [pipe for pipe in get_all_graph_pipes(traverse_dps(datapipe)) if _has(pipe, "set_shuffle", "set_seed")]
    if shuffle and not shufflers:
        warnings.warn(
            "`shuffle=True` was set, but the datapipe does not contain a `Shuffler`. Adding one at the end. Be aware "
            "that the default buffer size might not be sufficient for your task.",
            stacklevel=2,
        )
        datapipe = datapipe.shuffle()
        shufflers = [datapipe]
    for shuffler in shufflers:
        shuffler.set_shuffle(shuffle)
    return datapipe


def apply_random_seed(datapipe, rng):
    """Seed the pipes that draw, from the generator ``rng``."""
    for pipe in get_all_graph_pipes(traverse_dps(datapipe)):
        if _has(pipe, "set_seed"):
            pipe.set_seed(random_seed(rng))
    return datapipe


def apply_shuffle_seed(datapipe, rng):
    """The older name of :func:`apply_random_seed`."""
    warnings.warn("`apply_shuffle_seed` is deprecated; use `apply_random_seed`.", FutureWarning, stacklevel=2)
    return apply_random_seed(datapipe, rng)
