"""A GPT of 4 layers, 4 heads, width 128 on 64 tokens, batch 12; and GPT-2 small (124 million parameters)."""

from . import Case
from .data import next_tokens, token_loss
from .transformer import block

TINY = {"batch": 2, "layers": 2, "heads": 2, "width": 16, "length": 8, "vocabulary": 32}


def network(torch, layers, heads, width, length, vocabulary, tied=False):
    nn, Block = torch.nn, block(torch)

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block(width, heads, causal=True) for _ in range(layers)])
            self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            if tied:
                nn.init.normal_(self.tokens.weight, std=0.02)
                self.head.weight = self.tokens.weight

        def forward(self, ids):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
            for b in self.blocks:
                x = b(x)
            return self.head(self.ln(x))

        def cache(self, batch, like):
            """Room for the keys and values of every block and position."""
            shape = (batch, heads, length, width // heads)
            zeros = lambda: torch.zeros(shape, device=like.device)  # noqa: E731
            return [(zeros(), zeros()) for _ in range(layers)]

        def step(self, ids, positions, cache):
            """Logits ``(B, vocabulary)`` after the last of ``ids (B, T)``, which stand at ``positions (T)``."""
            x = self.tokens(ids) + self.positions(positions)
            mask = torch.arange(length, device=ids.device) <= positions[:, None]
            for b, kv in zip(self.blocks, cache, strict=True):
                x = b(x, kv, positions, mask)
            return self.head(self.ln(x[:, -1]))

    return GPT()


def gpt(torch, batch=12, layers=4, heads=4, width=128, length=64, vocabulary=128):
    x, y = next_tokens(torch, vocabulary, batch, length)
    return Case(network(torch, layers, heads, width, length, vocabulary), (x,), (y,), token_loss(torch))


def gpt2(torch, batch=2, layers=12, heads=12, width=768, length=128, vocabulary=50257):
    """GPT-2 small, on 128 of its 1024 tokens."""
    x, y = next_tokens(torch, vocabulary, batch, length)
    model = network(torch, layers, heads, width, 8 * length, vocabulary, tied=True)
    return Case(model, (x,), (y,), token_loss(torch))
