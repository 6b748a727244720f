"""The pipes that a pipe reads, found through its attributes."""

from __future__ import annotations

import warnings

from jtorch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe

DataPipe = IterDataPipe | MapDataPipe
#: id of a pipe -> (the pipe, the graph of those that it reads)
DataPipeGraph = dict[int, tuple[DataPipe, "DataPipeGraph"]]


def _read_by(value, objects: bool, seen: set[int]):
    """The pipes in nested collections (and, where ``objects``, in the attributes of other objects)."""
    if id(value) in seen:
        return
    if isinstance(value, DataPipe):
        seen.add(id(value))
        yield value
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        seen.add(id(value))
        for element in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            yield from _read_by(element, objects, seen)
    elif objects and hasattr(value, "__dict__") and not isinstance(value, type):
        seen.add(id(value))
        yield from _read_by(vars(value), objects, seen)


def _graph(pipe: DataPipe, objects: bool, above: frozenset[int]) -> DataPipeGraph:
    if not isinstance(pipe, DataPipe):
        raise RuntimeError(f"Expected `IterDataPipe` or `MapDataPipe`, but {type(pipe)} is found")
    if id(pipe) in above:
        return {}
    above = above | {id(pipe)}
    below: DataPipeGraph = {}
    for source in _read_by(vars(pipe), objects, set(above)):
        below.update(_graph(source, objects, above))
    return {id(pipe): (pipe, below)}


def traverse_dps(datapipe: DataPipe) -> DataPipeGraph:
    """The pipes that end in ``datapipe``: a nested dict, by ``id``. Attributes that are pipes, and collections of
    them, are looked through.

    Raises:
        RuntimeError: that is no pipe.
    """
    return _graph(datapipe, False, frozenset())


def traverse(datapipe: DataPipe, only_datapipe: bool | None = None) -> DataPipeGraph:
    """As :func:`traverse_dps`; unless ``only_datapipe``, attributes of other objects are looked through too."""
    warnings.warn("`traverse` is deprecated. Please use `traverse_dps` instead.", FutureWarning, stacklevel=2)
    return _graph(datapipe, not only_datapipe, frozenset())
