"""Message passing by gather and scatter: 3 rounds of width 64 on batches of 32 graphs of 32 nodes and 256 edges."""

from . import Case
from .data import floats, integers

TINY = {"batch": 2, "nodes": 6, "edges": 12, "width": 8}


def build(torch, batch=32, nodes=32, edges=256, width=64, rounds=3, classes=10):
    nn = torch.nn

    class Round(nn.Module):
        """Each node adds up what its neighbours send it, over their number."""

        def __init__(self):
            super().__init__()
            self.message, self.own = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, h, source, target, degree):
            received = torch.zeros_like(h).index_add(0, target, self.message(h)[source])
            return nn.functional.relu(self.own(h) + received / degree)

    class GNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.start, self.head = nn.Linear(16, width), nn.Linear(width, classes)
            self.rounds = nn.ModuleList([Round() for _ in range(rounds)])

        def forward(self, x, source, target):
            h = nn.functional.relu(self.start(x))
            ones = torch.ones(target.shape[0], device=x.device)
            degree = torch.zeros(x.shape[0], device=x.device).index_add(0, target, ones).clamp(min=1)[:, None]
            for r in self.rounds:
                h = r(h, source, target, degree)
            return self.head(h)

    graph = torch.arange(batch).repeat_interleave(edges) * nodes
    source, target = (integers(torch, nodes, batch * edges, seed=s) + graph for s in (1, 2))
    x, y = floats(torch, batch * nodes, 16), integers(torch, classes, batch * nodes)
    return Case(GNN(), (x, source, target), (y,), nn.functional.cross_entropy)
