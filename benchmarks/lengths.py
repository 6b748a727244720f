"""Training on texts of different lengths: seconds of the first steps, where nearly each batch has a shape of its own.

    python -m benchmarks.lengths [--steps 40] [--models lstm,transformer,unrolled] [--compiled]

A program from start to end, so each contender runs once in a process of its own, with an empty cache. ``--compiled``
adds jtorch without the interpreter (``JTORCH_INTERPRET=0``, docs/decisions/0015-small-programs.md), which takes
minutes. Losses of the last step are printed too: they should agree.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common

_VOCABULARY, _WIDTH = 100, 64
#: tokens of the shortest and of the longest text
_LENGTHS = {"lstm": (10, 60), "transformer": (10, 60), "unrolled": (5, 20)}


def _unrolled(torch, cell, hidden, embedded):
    """A recurrent cell in a Python loop: as many calls as the text has tokens."""
    h = c = torch.zeros(embedded.shape[0], hidden)
    states = []
    for t in range(embedded.shape[1]):
        h, c = cell(embedded[:, t], (h, c))
        states.append(h)
    return torch.stack(states, 1)


def build(name: str, torch):
    """``(parameters, a function from tokens to logits)``."""
    nn = torch.nn
    embedding, head = nn.Embedding(_VOCABULARY, _WIDTH), nn.Linear(_WIDTH, _VOCABULARY)
    if name == "lstm":
        body = nn.LSTM(_WIDTH, _WIDTH, num_layers=2, batch_first=True)
        run = lambda x: body(x)[0]  # noqa: E731
    elif name == "transformer":
        layer = nn.TransformerEncoderLayer(_WIDTH, 4, 2 * _WIDTH, dropout=0.0, batch_first=True)
        run = body = nn.TransformerEncoder(layer, 2)
    elif name == "unrolled":
        body = nn.LSTMCell(_WIDTH, _WIDTH)
        run = lambda x: _unrolled(torch, body, _WIDTH, x)  # noqa: E731
    else:
        raise ValueError(f"no model {name!r}; there are lstm, transformer and unrolled")
    parameters = [p for m in (embedding, body, head) for p in m.parameters()]
    return parameters, lambda tokens: head(run(embedding(tokens)))


def train(library: str, name: str, steps: int) -> dict:
    """Seconds until each step's loss was there, and the last loss."""
    torch = importlib.import_module(library)
    torch.manual_seed(0)
    lengths = random.Random(1)
    parameters, model = build(name, torch)
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    start, seconds = time.perf_counter(), []
    for _ in range(steps):
        tokens = torch.randint(_VOCABULARY, (16, lengths.randint(*_LENGTHS[name])))
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        value = loss.item()
        seconds.append(time.perf_counter() - start)
    counts = torch.debug.counters() if library == "jtorch" else {}
    return {"seconds": seconds, "loss": value, "compiles": counts.get("compiles"), "runs": counts.get("interpreted")}


def measured(library: str, name: str, steps: int, **env) -> dict:
    call = f"lengths.train({library!r}, {name!r}, {steps})"
    program = f"import json; from benchmarks import lengths; print(json.dumps({call}))"
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "JTORCH_CACHE_DIR": cache, **env},
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments=None) -> common.Table:
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--models", default=",".join(_LENGTHS))
    parser.add_argument("--compiled", action="store_true", help="also with every program compiled")
    args = parser.parse_args(arguments)
    steps = 4 if args.tiny else args.steps
    table = common.Table("model", "jtorch s", "first step s", "compiles", "interpreted", "all compiled s", "torch s",
                         "loss", "loss of torch")  # fmt: skip
    for name in args.models.split(","):
        ours = measured("jtorch", name, steps)
        compiled = measured("jtorch", name, steps, JTORCH_INTERPRET="0")["seconds"][-1] if args.compiled else None
        theirs = measured("torch", name, steps) if common.pytorch() is not None else {"seconds": [None], "loss": None}
        table.row(
            name, ours["seconds"][-1], ours["seconds"][0], ours["compiles"], ours["runs"], compiled,
            theirs["seconds"][-1], ours["loss"], theirs["loss"],
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
