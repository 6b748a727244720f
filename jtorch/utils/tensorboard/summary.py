"""The larger messages: hyperparameters, graphs of modules, precision and recall."""

from __future__ import annotations

import math

import numpy as np

from jtorch.tensor import Tensor

from .records import _bytes, _double, _int, _varint


def _value(x) -> tuple[int, bytes]:
    """``(type, google.protobuf.Value)`` of a hyperparameter.

    Raises:
        ValueError: it is no number, string, bool or tensor of one element.
    """
    if isinstance(x, Tensor):
        x = x.item()
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, bool):
        return 2, _int(4, int(x))
    if isinstance(x, (int, float)):
        return 3, _double(2, float(x))
    if isinstance(x, str):
        return 1, _bytes(3, x)
    raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")


def hparams(hparam_dict: dict, metric_dict: dict, hparam_domain_discrete: dict | None = None) -> list:
    """``[(tag, plugin data), ...]``: the experiment, the start of a run and its end."""
    domains = hparam_domain_discrete or {}
    infos = start = b""
    for name, x in hparam_dict.items():
        if x is None:
            continue
        kind, value = _value(x)
        info = _bytes(1, name) + _int(4, kind)
        if name in domains:
            info += _bytes(5, b"".join(_bytes(1, _value(d)[1]) for d in domains[name]))
        infos += _bytes(5, info)
        start += _bytes(1, _bytes(1, name) + _bytes(2, value))
    metrics = b"".join(_bytes(6, _bytes(1, _bytes(2, name))) for name in metric_dict)
    return [
        ("_hparams_/experiment", _bytes(2, infos + metrics)),
        ("_hparams_/session_start_info", _bytes(3, start)),
        ("_hparams_/session_end_info", _bytes(4, _int(1, 1))),
    ]


def _tensors(x) -> list:
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [t for y in x for t in _tensors(y)] if isinstance(x, (tuple, list)) else []


def graph(model, inputs, verbose: bool = False) -> bytes:
    """A GraphDef with a node for each module without submodules that ran, in the order of running."""
    made: dict[int, str] = {}
    kept: list = []
    nodes: list[tuple[str, str, list[str], str]] = []
    names = {m: path for path, m in model.named_modules(prefix=type(model).__name__)}

    def remember(x, name: str) -> None:
        for t in _tensors(x):
            made[id(t)] = name
            kept.append(t)

    def ran(module, args, output) -> None:
        if next(module.children(), None) is not None:
            sources = sorted({made[id(t)] for t in _tensors(args) if id(t) in made})
            for t in _tensors(output):  # what is computed between modules counts as the container's own
                if id(t) not in made and sources:
                    made[id(t)] = nodes[-1][0] if nodes else sources[0]
                    kept.append(t)
            return
        name = names[module].replace(".", "/")
        count = sum(n == name or n.startswith(name + "_") for n, *_ in nodes)
        name = f"{name}_{count}" if count else name
        sources = sorted({made[id(t)] for t in _tensors(args) if id(t) in made})
        if not sources and nodes:
            sources = [nodes[-1][0]]
        nodes.append((name, type(module).__name__, sources, module.extra_repr()))
        remember(output, name)

    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    for i, x in enumerate(given):
        nodes.append((f"input/{i}", "IO Node", [], ""))
        remember(x, f"input/{i}")
    hooks = [m.register_forward_hook(ran) for m in names]
    try:
        output = model(*given)
    finally:
        for hook in hooks:
            hook.remove()
    ends = sorted({made[id(t)] for t in _tensors(output) if id(t) in made}) or [nodes[-1][0]]
    nodes.append(("output/0", "IO Node", ends, ""))
    if verbose:
        print("\n".join(f"{n} = {kind}({', '.join(sources)})" for n, kind, sources, _ in nodes))
    message = b""
    for name, kind, sources, text in nodes:
        node = _bytes(1, name) + _bytes(2, kind) + b"".join(_bytes(3, s) for s in sources)
        if text:
            node += _bytes(5, _bytes(1, "attr") + _bytes(2, _bytes(2, text)))
        message += _bytes(1, node)
    return message + _bytes(4, _int(1, 22))


def pr_curve(labels, predictions, count: int = 127, weights=None) -> tuple[np.ndarray, bytes]:
    """``(table, plugin data)``: rows of true and false positives, true and false negatives, precision, recall."""
    count = min(count, 127)
    weights = 1.0 if weights is None else np.asarray(weights, np.float64)
    bucket = np.floor(predictions * (count - 1)).astype(np.int64).reshape(-1)
    true = (labels.astype(np.float64) * weights).reshape(-1)
    false = ((1 - labels.astype(np.float64)) * weights).reshape(-1)
    tp = np.bincount(bucket, true, count)[::-1].cumsum()[::-1]
    fp = np.bincount(bucket, false, count)[::-1].cumsum()[::-1]
    tn, fn = fp[0] - fp, tp[0] - tp
    tiny = 1e-7
    table = np.stack([tp, fp, tn, fn, tp / np.maximum(tiny, tp + fp), tp / np.maximum(tiny, tp + fn)])
    return table, _int(1, 0) + _varint(2 << 3) + _varint(count)


def image_size(count: int) -> int:
    """Columns of a sprite of ``count`` images."""
    return math.ceil(math.sqrt(count))
