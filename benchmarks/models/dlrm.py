"""Recommendation (after Naumov et al., "Deep learning recommendation model", 2019): 8 bags of 4 out of 10000 embeddings
of 32, pairwise products, two MLPs, batch 256.
"""

from . import Case
from .data import floats, integers

TINY = {"batch": 4, "tables": 3, "rows": 20, "width": 4}


def build(torch, batch=256, tables=8, rows=10_000, bag=4, width=32, dense=13):
    nn = torch.nn
    features = tables + 1

    class DLRM(nn.Module):
        def __init__(self):
            super().__init__()
            self.bottom = nn.Sequential(nn.Linear(dense, 128), nn.ReLU(), nn.Linear(128, width), nn.ReLU())
            self.bags = nn.ModuleList([nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables)])
            pairs = features * (features - 1) // 2
            self.top = nn.Sequential(nn.Linear(pairs + width, 128), nn.ReLU(), nn.Linear(128, 1))
            i, j = torch.tril_indices(features, features, -1)
            self.register_buffer("pairs", i * features + j)

        def forward(self, x, ids):
            x = self.bottom(x)
            vectors = torch.stack([x, *(table(ids[:, i]) for i, table in enumerate(self.bags))], 1)
            products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
            return self.top(torch.cat((x, products.index_select(1, self.pairs)), 1)).squeeze(1)

    x, ids = floats(torch, batch, dense), integers(torch, rows, batch, tables, bag)
    clicks = integers(torch, 2, batch).float()
    return Case(DLRM(), (x, ids), (clicks,), nn.functional.binary_cross_entropy_with_logits)
