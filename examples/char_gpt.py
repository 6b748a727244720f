"""A small GPT that learns to write Python, from the standard library's own source.

python examples/char_gpt.py
"""

import argparse
import sys

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F

from stdlib_text import load_text  # isort: skip

STEPS, WANTED_LOSS = 500, 2.2


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attention(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))  # (B, nh, T, hs)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).contiguous().view(B, T, C))

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, width=128, heads=4, layers=4):
        super().__init__()
        self.context = context
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight  # one table both ways
        self.apply(self.init_weights)

    def init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens):
        positions = torch.arange(tokens.size(1), device=tokens.device)
        x = self.token(tokens) + self.position(positions)  # (B, T, width)
        return self.head(self.ln(self.blocks(x)))

    @torch.no_grad()
    def generate(self, prompt, length, temperature=0.8):
        """Tokens after ``prompt``, one by one from a window of fixed length, so that one program serves them all."""
        window, out = prompt[:, -self.context :], []
        for _ in range(length):
            logits = self(window)[:, -1] / temperature
            token = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            window = torch.cat((window[:, 1:], token), dim=1)
            out.append(token.item())
        return out


def batch(data, size, context):
    start = torch.randint(len(data) - context - 1, (size, 1))
    x = data[start + torch.arange(context)]
    y = data[start + torch.arange(context) + 1]
    return x, y


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    text, alphabet = load_text()
    number = {c: i for i, c in enumerate(alphabet)}
    data = torch.tensor([number[c] for c in text])
    model = GPT(len(alphabet), args.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=args.steps + 1)
    losses = []
    for step in range(args.steps):
        x, y = batch(data, args.batch_size, args.context)
        logits = model(x)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step:4d}  loss {losses[-1]:.4f}")

    model.eval()
    prompt = data[: args.context].view(1, -1)
    print("".join(alphabet[i] for i in model.generate(prompt, 200 if args.steps >= STEPS else 10)))
    last = losses[-20:]
    print(f"loss {losses[0]:.4f} -> {sum(last) / len(last):.4f}")
    if args.steps >= STEPS and sum(last) / len(last) > WANTED_LOSS:
        sys.exit(f"expected a loss of at most {WANTED_LOSS}")


if __name__ == "__main__":
    main()
