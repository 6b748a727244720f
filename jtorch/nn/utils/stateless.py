"""Modules called with other parameters and buffers than their own."""

from __future__ import annotations

import contextlib

from ...tensor import Tensor

_ABSENT = object()


def _owner(module, name: str):
    """The module that has ``name`` (found through attributes), and its key there.

    Raises:
        AttributeError: a module on the way is not there.
    """
    *path, key = name.split(".")
    for attribute in path:
        module = getattr(module, attribute)
    return module, key


def _exchange(owner, key: str, t):
    """Put ``t`` where ``owner`` has ``key``; returns what stood there. Either may be absent."""
    for table in (owner._parameters, owner._buffers):
        if key in table and t is not _ABSENT:
            before = table[key]
            table[key] = t
            return before
    before = getattr(owner, key, _ABSENT)
    if t is not _ABSENT:
        setattr(owner, key, t)
    elif before is not _ABSENT:
        delattr(owner, key)
    return before


def _ties(module) -> dict[str, list[str]]:
    """For each name of a parameter or buffer, all names of the same tensor."""
    groups: dict[int, list[str]] = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, t in named(remove_duplicate=False):
            groups.setdefault(id(t), []).append(name)
    return {name: names for names in groups.values() for name in names}


@contextlib.contextmanager
def reparametrize(module, tensors: dict, tie_weights: bool = True, strict: bool = False):
    """Put ``tensors`` (by dotted name) in the place of the module's own while the context lasts.

    A name that the module does not have is an attribute of it for as long. What the module assigns to a name in the
    meantime is found in ``tensors`` afterwards.

    Raises:
        TypeError: something is no tensor.
        ValueError: tied names are given different tensors.
        RuntimeError: with ``strict``, a name is missing or unknown.
    """
    known = _ties(module) if tie_weights or strict else {}
    for t in tensors.values():
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"{t} is not an instance of torch.Tensor")
    if strict:
        given = {n for name in tensors for n in (known.get(name, ()) if tie_weights else (name,))}
        missing, unexpected = sorted(set(known) - given), sorted(set(tensors) - set(known))
        problems = []
        if unexpected:
            problems.append("Unexpected key(s): " + ", ".join(map(repr, unexpected)) + ".")
        if missing:
            problems.append("Missing key(s): " + ", ".join(map(repr, missing)) + ".")
        if problems:
            raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(problems))
    values = {}
    for name, t in tensors.items():
        for tied in known.get(name, [name]) if tie_weights else [name]:
            if tied != name and tied in tensors and tensors[tied] is not t:
                raise ValueError(
                    f"functional_call got multiple values for keys {sorted(known[name])}, which are tied. Consider "
                    "using tie_weights=False"
                )
            values[tied] = t
    before = []
    try:
        for name, t in values.items():
            owner, key = _owner(module, name)
            before.append((name, owner, key, _exchange(owner, key, t)))
        yield module
    finally:
        for name, owner, key, t in reversed(before):
            now = _exchange(owner, key, t)
            if name in tensors and now is not tensors[name]:
                tensors[name] = now  # the module has assigned another tensor


def functional_call(
    module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights: bool = True, strict: bool = False
):
    """``module(*args, **kwargs)`` with the given tensors in place of its parameters and buffers.

    Args:
        parameters_and_buffers: tensors by dotted name, or a sequence of such dictionaries without common names.
        args: a tuple of arguments, or a single one.
        tie_weights: a tensor given for one name is used for all names of the same parameter.
        strict: every parameter and buffer must be given, and nothing else.

    Raises:
        ValueError: a name occurs twice, or tied names are given different tensors.
        RuntimeError: with ``strict``, a name is missing or unknown.
    """
    if isinstance(parameters_and_buffers, dict):
        tensors = parameters_and_buffers
    elif isinstance(parameters_and_buffers, (list, tuple)):
        tensors = {}
        for d in parameters_and_buffers:
            if not isinstance(d, dict):
                raise ValueError("Expected all elements of parameters_and_buffers to be dictionaries")
            repeated = sorted(set(tensors) & set(d))
            if repeated:
                raise ValueError(
                    f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
                )
            tensors.update(d)
    else:
        raise ValueError(
            f"Expected parameters_and_buffers to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameters_and_buffers)}"
        )
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with reparametrize(module, tensors, tie_weights, strict):
        return module(*args, **(kwargs or {}))


_functional_call = functional_call  # the name it had before it was public


def _reparametrize_module(
    module, parameters_and_buffers: dict, tie_weights: bool = False, strict: bool = False, stack_weights: bool = False
):
    """:func:`reparametrize` as PyTorch calls it. ``stack_weights`` says in what order what the module assigned is put
    back; here it is always the reverse of the order in which the tensors were put in."""
    return reparametrize(module, parameters_and_buffers, tie_weights, strict)
