"""Control flow, run in Python: If, Loop and Scan."""

from __future__ import annotations

import numpy as np

import jtorch

from .registry import handles, host, tensor


def _outer(n):
    return n._scope


@handles("If", host="all")
def if_(n, condition):
    branch = n.get("then_branch") if bool(np.asarray(host(condition)).reshape(-1)[0]) else n.get("else_branch")
    return tuple(n.interpreter.graph(branch, [], _outer(n)))


def _stacked(n, values, axis: int = 0):
    if not values:
        return tensor(np.zeros(0, np.float32))
    if all(isinstance(v, np.ndarray) for v in values):
        return np.stack(values, axis)
    return jtorch.stack([tensor(v, n.interpreter.device) for v in values], axis)


@handles("Loop", host="all")
def loop(n, trips, condition=None, *carried):
    body, outer = n.get("body"), _outer(n)
    most = None if trips is None else int(np.asarray(host(trips)).reshape(-1)[0])
    go = True if condition is None else bool(np.asarray(host(condition)).reshape(-1)[0])
    state, scanned, i = list(carried), None, 0
    while go and (most is None or i < most):
        given = [np.array(i, np.int64), np.array(go)]
        out = n.interpreter.graph(body, [*given, *state], outer)
        go = bool(np.asarray(host(out[0])).reshape(-1)[0])
        state, produced = out[1 : 1 + len(carried)], out[1 + len(carried) :]
        scanned = [[] for _ in produced] if scanned is None else scanned
        for seen, value in zip(scanned, produced, strict=True):
            seen.append(value)
        i += 1
    if scanned is None:
        scanned = [[] for _ in body.output[1 + len(carried) :]]
    return (*state, *(_stacked(n, seen) for seen in scanned))


@handles("Scan", since=9, host="all")
def scan(n, *inputs):
    body, outer, count = n.get("body"), _outer(n), n.get("num_scan_inputs")
    state, sequences = list(inputs[:-count]), [tensor(x, n.interpreter.device) for x in inputs[-count:]]
    axes = n.get("scan_input_axes") or [0] * count
    backwards = n.get("scan_input_directions") or [0] * count
    length = sequences[0].shape[axes[0]]
    produced = None
    for t in range(length):
        pieces = [
            x.select(a, length - 1 - t if back else t) for x, a, back in zip(sequences, axes, backwards, strict=True)
        ]
        out = n.interpreter.graph(body, [*state, *pieces], outer)
        state, now = out[: len(state)], out[len(state) :]
        produced = [[] for _ in now] if produced is None else produced
        for seen, value in zip(produced, now, strict=True):
            seen.append(value)
    produced = produced or []
    out_axes = n.get("scan_output_axes") or [0] * len(produced)
    out_back = n.get("scan_output_directions") or [0] * len(produced)
    stacked = [
        _stacked(n, seen[::-1] if back else seen, a) for seen, a, back in zip(produced, out_axes, out_back, strict=True)
    ]
    return (*state, *stacked)


@handles("Scan", since=8, host="all")
def scan_batched(n, lengths, *inputs):
    """The first form of Scan: every input has a batch dimension in front, and each sample is scanned by itself."""
    if lengths is not None:
        raise n.unsupported("Scan with sequence lengths, before opset 9,")
    body, outer, count = n.get("body"), _outer(n), n.get("num_scan_inputs")
    inputs = [tensor(x, n.interpreter.device) for x in inputs]
    results = []
    for b in range(inputs[0].shape[0]):
        state, sequences = [x[b] for x in inputs[:-count]], [x[b] for x in inputs[-count:]]
        produced = None
        for t in range(sequences[0].shape[0]):
            out = n.interpreter.graph(body, [*state, *(x[t] for x in sequences)], outer)
            state, now = out[: len(state)], out[len(state) :]
            produced = [[] for _ in now] if produced is None else produced
            for seen, value in zip(produced, now, strict=True):
                seen.append(value)
        results.append([*state, *(jtorch.stack(seen) for seen in produced or [])])
    return tuple(jtorch.stack(parts) for parts in zip(*results, strict=True))
