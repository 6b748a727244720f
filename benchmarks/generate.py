"""Greedy generation with a cache of keys and values, batch 1: jtorch and PyTorch eager from the same source.

    python -m benchmarks.generate [--width 256] [--layers 6] [--tokens 128] [--rounds 7]

The cache is allocated once and written in place at a position that is a tensor, so every token is the same program.
Each token is read back before the next one starts, as a program that streams its answer does. ``compiled`` is the
decoding step under ``jtorch.compile``. Before anything is timed, all contenders must agree on the tokens, also with a
loop that has no cache.
"""

from __future__ import annotations

import time

import jtorch
from benchmarks import common
from benchmarks.models.data import integers
from benchmarks.models.gpt import network
from jtorch.debug import counters


class Generator:
    """Prompts in, tokens out; ``compiled`` puts the decoding step under ``torch.compile``."""

    def __init__(self, torch, model, batch, compiled=False):
        self.torch, self.model, self.device = torch, model, common.device_of(torch)
        self.token = torch.zeros(batch, 1, dtype=torch.int64, device=self.device)
        self.position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.cache = model.cache(batch, self.token)
        self.decode = torch.compile(self._decode) if compiled else self._decode

    def _take(self, logits):
        self.token.copy_(logits.argmax(-1, keepdim=True))
        self.position.add_(1)
        return self.token

    def _decode(self):
        return self._take(self.model.step(self.token, self.position, self.cache))

    def __call__(self, prompt, count: int) -> list[list[int]]:
        torch = self.torch
        with torch.no_grad():
            positions = torch.arange(prompt.shape[1], device=self.device)
            self.position.fill_(prompt.shape[1] - 1)
            out = [self._take(self.model.step(prompt, positions, self.cache)).tolist()]
            for _ in range(count - 1):
                out.append(self.decode().tolist())
        return [[row[0] for row in rows] for rows in zip(*out, strict=True)]


def without_cache(torch, model, prompt, count: int) -> list[list[int]]:
    """The same tokens the long way: the whole sequence anew for each, its unwritten end hidden by causality."""
    start = prompt.shape[1]
    position = torch.full((1,), start - 1, dtype=torch.int64, device=prompt.device)
    with torch.no_grad():
        ids = torch.cat((prompt, torch.zeros(prompt.shape[0], count, dtype=torch.int64, device=prompt.device)), 1)
        for _ in range(count):
            token = model(ids).index_select(1, position).argmax(-1)
            position.add_(1)
            ids.index_copy_(1, position, token)
            common.finish(torch)
    return ids[:, start:].tolist()


def build(torch, sizes: dict):
    torch.manual_seed(0)
    return network(torch, **sizes).to(common.device_of(torch)).eval()


def agree(made: dict) -> None:
    """Raise unless every contender made the same tokens."""
    reference, *others = made
    for name in others:
        if made[name] != made[reference]:
            raise AssertionError(f"{name} and {reference} made different tokens")


def main(arguments=None) -> common.Table:
    parser = common.parser(__doc__)
    for name, default in (("width", 256), ("layers", 6), ("heads", 4), ("vocabulary", 512), ("tokens", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of the prompt")
    args = parser.parse_args(arguments)
    if args.tiny:
        args.width, args.layers, args.vocabulary, args.tokens, args.prompt = 16, 2, 32, 8, 4
    sizes = {k: getattr(args, k) for k in ("layers", "heads", "width", "vocabulary")}
    sizes["length"] = args.prompt + args.tokens
    torch = common.pytorch()
    libraries = {"jtorch": (jtorch, False), "compiled": (jtorch, True)} | ({"torch": (torch, False)} if torch else {})
    generators, prompts, made, compiles = {}, {}, {}, {}
    for name, (library, compiled) in libraries.items():
        model = build(library, sizes)
        prompts[name] = integers(library, args.vocabulary, 1, args.prompt).to(common.device_of(library))
        generators[name] = Generator(library, model, 1, compiled)
        before = counters()["compiles"]
        made[name] = generators[name](prompts[name], args.tokens)
        compiles[name] = counters()["compiles"] - before
        if name != "compiled":
            agree(
                {name: made[name], f"{name} without a cache": without_cache(library, model, prompts[name], args.tokens)}
            )
    agree(made)
    times = {name: [] for name in generators}
    for _ in range(args.rounds):
        for name, generate in generators.items():
            start = time.perf_counter()
            generate(prompts[name], args.tokens)
            times[name].append((time.perf_counter() - start) / args.tokens)
    table = common.Table("", "tokens/s", "ms a token", "time / torch", "programs compiled")
    for name in generators:
        table.row(
            name, 1 / common.median(times, name, 1.0), common.median(times, name),
            common.ratio(times, name, "torch"), compiles[name] if name != "torch" else None,
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
