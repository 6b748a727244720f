"""A small GPT learns from the standard library's source, then writes with a cache of keys and values.

python examples/generate_kv_cache.py

The cache has room for every position from the start and is written in place at a position that is a tensor, so one
compiled program makes every token; the script checks that.
"""

import argparse
import time

import jtorch as torch
from jtorch import nn
from jtorch.debug import counters
from jtorch.nn import functional as F

from stdlib_text import load_text  # isort: skip


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attention(self, x, cache, positions):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in self.qkv(x).split(C, dim=2))
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys, values = cache
            keys.index_copy_(2, positions, k)
            values.index_copy_(2, positions, v)
            mask = torch.arange(keys.size(2)) <= positions[:, None]  # the past and the token itself
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(B, T, C))

    def forward(self, x, cache=None, positions=None):
        x = x + self.attention(self.ln1(x), cache, positions)
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, width=128, heads=4, layers=4):
        super().__init__()
        self.shape = (heads, context, width // heads)
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens, caches=None, positions=None):
        """Logits for ``tokens (B, T)``; with caches, the tokens stand at ``positions (T)``, else at the beginning."""
        if positions is None:
            positions = torch.arange(tokens.size(1))
        x = self.token(tokens) + self.position(positions)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, cache, positions)
        return self.head(self.ln(x))

    def new_caches(self, batch):
        return [(torch.zeros(batch, *self.shape), torch.zeros(batch, *self.shape)) for _ in self.blocks]


@torch.no_grad()
def generate(model, prompt, count):
    """The ``count`` likeliest tokens after ``prompt (1, T)``, and how many programs the later ones were compiled to."""
    caches, position = model.new_caches(1), torch.tensor([prompt.size(1)])
    token = model(prompt, caches, torch.arange(prompt.size(1)))[:, -1].argmax(-1, keepdim=True)

    @torch.compile  # optional: without it the same program runs, recorded anew for each token
    def following():
        token.copy_(model(token, caches, position)[:, -1].argmax(-1, keepdim=True))
        position.add_(1)
        return token

    out = [token.item()]
    before, start = counters()["compiles"], time.perf_counter()
    for _ in range(count - 1):
        out.append(following().item())
    seconds = time.perf_counter() - start
    print(f"{(count - 1) / seconds:.0f} tokens a second, compiling included")
    return out, counters()["compiles"] - before


@torch.no_grad()
def generate_slowly(model, prompt, count):
    """The same without a cache: the whole text again for every token, what is not written yet hidden by causality."""
    tokens = torch.cat((prompt, torch.zeros(1, count, dtype=torch.int64)), dim=1)
    position, out = torch.tensor([prompt.size(1) - 1]), []
    for _ in range(count):
        token = model(tokens).index_select(1, position).argmax(-1)
        position.add_(1)
        tokens.index_copy_(1, position, token)
        out.append(token.item())
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=68)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()

    torch.manual_seed(0)
    text, alphabet = load_text()
    data = torch.tensor([alphabet.index(c) for c in text])
    prompt = data[:28].view(1, -1)
    context = prompt.size(1) + args.tokens
    model = GPT(len(alphabet), context, args.width, layers=args.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(args.steps):
        at = torch.randint(len(data) - context - 1, (12, 1)) + torch.arange(context)
        logits = model(data[at])
        loss = F.cross_entropy(logits.flatten(0, 1), data[at + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}")

    model.eval()
    out, compiled = generate(model, prompt, args.tokens)
    print("".join(alphabet[i] for i in [*prompt[0].tolist(), *out]))
    assert compiled == 1, f"{args.tokens - 1} tokens took {compiled} programs, expected 1"
    assert out == generate_slowly(model, prompt, args.tokens), "the cache changed the tokens"
    print(f"1 program for {args.tokens - 1} positions; the same tokens as without a cache")


if __name__ == "__main__":
    main()
