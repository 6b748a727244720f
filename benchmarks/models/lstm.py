"""A word language model: 2-layer LSTM of 256, 35 steps, batch 20."""

from . import Case
from .data import integers, token_loss

TINY = {"batch": 2, "width": 8, "length": 5, "vocabulary": 32}


def build(torch, batch=20, width=256, layers=2, length=35, vocabulary=1000):
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(vocabulary, width)
            self.rnn = nn.LSTM(width, width, layers)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, ids):
            return self.head(self.rnn(self.embed(ids))[0])

    ids = integers(torch, vocabulary, length + 1, batch)
    return Case(Model(), (ids[:-1].contiguous(),), (ids[1:].contiguous(),), token_loss(torch))
