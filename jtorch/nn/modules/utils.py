"""What constructors share: numbers spread over dimensions, options of factory functions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat


def _ntuple(n: int, name: str = "parse"):
    """A function that makes an ``n``-tuple of a number, and a tuple of anything iterable."""

    def parse(x):
        return tuple(x) if isinstance(x, Iterable) else tuple(repeat(x, n))

    parse.__name__ = name
    return parse


_single, _pair = _ntuple(1, "_single"), _ntuple(2, "_pair")
_triple, _quadruple = _ntuple(3, "_triple"), _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t, n: int) -> tuple:
    """Each element ``n`` times, the last first: ``(1, 2) -> (2, 2, 1, 1)`` for two."""
    return tuple(x for x in reversed(t) for _ in range(n))


def factory_kwargs(kwargs: dict | None) -> dict:
    """The options for ``torch.empty`` among the arguments of a module: ``device``, ``dtype``, ``memory_format``.

    A ``factory_kwargs`` among them, a dict, gives more of the same.

    Raises:
        TypeError: any other argument, or one given both ways.
    """
    if kwargs is None:
        return {}
    simple = {name: value for name, value in kwargs.items() if name != "factory_kwargs"}
    known, nested = {"device", "dtype", "memory_format"}, dict(kwargs.get("factory_kwargs", {}))
    if unexpected := simple.keys() - known:
        raise TypeError(f"unexpected kwargs {unexpected}")
    for name in simple.keys() & nested.keys():
        raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
    return nested | simple


def consume_prefix_in_state_dict_if_present(state_dict: dict, prefix: str) -> None:
    """Take ``prefix`` off the keys that begin with it, in place, and off those of its metadata: of a model that was
    saved within another, ``prefix="module."`` for one saved within ``DistributedDataParallel``."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[key.removeprefix(prefix)] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is None:
        return
    for key in list(metadata):
        # the module itself is named without the dot; other names are below it or beside it
        if key == prefix.removesuffix(".") or key.startswith(prefix):
            metadata[key.removeprefix(prefix) if key.startswith(prefix) else ""] = metadata.pop(key)
