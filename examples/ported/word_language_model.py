"""An LSTM that predicts the next word of the standard library's documentation strings."""

import argparse
import inspect
import math
import re

import torch
import torch.nn as nn
import torch.nn.functional as F

MODULES = (
    "argparse",
    "collections",
    "csv",
    "datetime",
    "decimal",
    "difflib",
    "functools",
    "heapq",
    "random",
    "statistics",
)


class Dictionary:
    def __init__(self):
        self.word2idx, self.idx2word = {}, []

    def add_word(self, word):
        if word not in self.word2idx:
            self.word2idx[word] = len(self.idx2word)
            self.idx2word.append(word)
        return self.word2idx[word]

    def __len__(self):
        return len(self.idx2word)


def load_corpus(limit):
    """The words of some modules' documentation as one long tensor of ids, and the dictionary."""
    dictionary, ids = Dictionary(), []
    for name in MODULES:
        module = __import__(name)
        objects = [module, *(getattr(module, n) for n in sorted(getattr(module, "__all__", ())))]
        for obj in objects:
            for word in re.findall(r"[a-z]+|[.,;:()]", (inspect.getdoc(obj) or "").lower()):
                ids.append(dictionary.add_word(word))
    return torch.tensor(ids[:limit], dtype=torch.int64), dictionary


def batchify(data, batch_size):
    """Columns of consecutive text: (words, batch)."""
    rows = data.size(0) // batch_size
    return data.narrow(0, 0, rows * batch_size).view(batch_size, -1).t().contiguous()


def get_batch(source, i, bptt):
    length = min(bptt, len(source) - 1 - i)
    return source[i : i + length], source[i + 1 : i + 1 + length].view(-1)


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp, nhid, nlayers, dropout):
        super().__init__()
        self.ntoken, self.nhid, self.nlayers = ntoken, nhid, nlayers
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, nhid, nlayers, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)
        if nhid == ninp:
            self.decoder.weight = self.encoder.weight
        self.init_weights()

    def init_weights(self):
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x, hidden):
        emb = self.drop(self.encoder(x))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output)).view(-1, self.ntoken)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, batch_size):
        weight = next(self.parameters())
        return (
            weight.new_zeros(self.nlayers, batch_size, self.nhid),
            weight.new_zeros(self.nlayers, batch_size, self.nhid),
        )


def repackage_hidden(h):
    """The hidden state without its history."""
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emsize", type=int, default=64)
    parser.add_argument("--nhid", type=int, default=64)
    parser.add_argument("--nlayers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=5.0)
    parser.add_argument("--clip", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--bptt", type=int, default=20)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--words", type=int, default=16000, help="length of the text")
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus, dictionary = load_corpus(args.words)
    data = batchify(corpus, args.batch_size).to(device)
    split = len(data) * 9 // 10
    train_data, val_data = data[:split], data[split:]
    model = RNNModel(len(dictionary), args.emsize, args.nhid, args.nlayers, args.dropout).to(device)
    criterion = nn.NLLLoss()
    lr, best, done = args.lr, None, 0

    for epoch in range(1, args.epochs + 1):
        model.train()
        hidden = model.init_hidden(args.batch_size)
        for i in range(0, train_data.size(0) - 1, args.bptt):
            if done == args.steps:
                return
            inputs, targets = get_batch(train_data, i, args.bptt)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(inputs, hidden)
            loss = criterion(output, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(p.grad, alpha=-lr)
            done += 1
            if done <= args.print_losses:
                print(f"step {done} loss {loss.item():.6f}")

        model.eval()
        total = 0.0
        hidden = model.init_hidden(args.batch_size)
        with torch.no_grad():
            for i in range(0, val_data.size(0) - 1, args.bptt):
                inputs, targets = get_batch(val_data, i, args.bptt)
                output, hidden = model(inputs, hidden)
                total += len(inputs) * criterion(output, targets).item()
        val_loss = total / (len(val_data) - 1)
        print(f"epoch {epoch}: valid loss {val_loss:.3f}, perplexity {math.exp(val_loss):.1f}, lr {lr}")
        if best is None or val_loss < best:
            best = val_loss
        else:
            lr /= 4.0  # no better than before: smaller steps


if __name__ == "__main__":
    main()
