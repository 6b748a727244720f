"""A character LSTM on the standard library's own source, trained by truncated backpropagation through time.

python examples/char_lstm.py
"""

import argparse
import sys

import jtorch as torch
from jtorch import nn
from jtorch.nn import functional as F

from stdlib_text import load_text  # isort: skip

STEPS, WANTED_LOSS = 400, 1.6


class CharLSTM(nn.Module):
    def __init__(self, vocabulary, width=192, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 64)
        self.lstm = nn.LSTM(64, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens, state=None):
        x, state = self.lstm(self.embedding(tokens), state)  # (B, T, width)
        return self.head(x), state

    @torch.no_grad()
    def generate(self, token, length, temperature=0.8):
        state, out = None, []
        for _ in range(length):
            logits, state = self(token, state)
            token = torch.multinomial(F.softmax(logits[:, -1] / temperature, dim=-1), num_samples=1)
            out.append(token.item())
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=32, help="characters per step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    text, alphabet = load_text()
    data = torch.tensor([alphabet.index(c) for c in text])
    rows = data[: len(data) // args.batch_size * args.batch_size].view(args.batch_size, -1)  # parallel streams

    model = CharLSTM(len(alphabet))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    losses = []
    state = None
    for step in range(args.steps):
        start = step * args.length % (rows.size(1) - args.length - 1)
        x = rows[:, start : start + args.length]
        y = rows[:, start + 1 : start + args.length + 1]
        if state is None:
            zeros = torch.zeros(model.lstm.num_layers, args.batch_size, model.lstm.hidden_size)
            state = (zeros, zeros)
        logits, state = model(x, tuple(s.detach() for s in state))  # the state goes on, its history does not
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step:4d}  loss {losses[-1]:.4f}")

    model.eval()
    print("".join(alphabet[i] for i in model.generate(data[:1].view(1, 1), 200 if args.steps >= STEPS else 10)))
    last = losses[-20:]
    print(f"loss {losses[0]:.4f} -> {sum(last) / len(last):.4f}")
    if args.steps >= STEPS and sum(last) / len(last) > WANTED_LOSS:
        sys.exit(f"expected a loss of at most {WANTED_LOSS}")


if __name__ == "__main__":
    main()
