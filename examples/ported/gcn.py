"""A graph convolutional network: wines are the nodes, similar wines the edges, and few nodes carry a label."""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.parameter import Parameter
from torch.optim import Adam


class GraphConv(nn.Module):
    """``A (X W) + b``: each node gets the weighted sum of its neighbours' features."""

    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = Parameter(torch.empty(in_features, out_features))
        self.bias = Parameter(torch.empty(out_features))
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x, edges, weights):
        source, target = edges
        support = torch.mm(x, self.weight)
        messages = support[source] * weights.unsqueeze(1)
        return torch.zeros_like(support).index_add(0, target, messages) + self.bias


class GCN(nn.Module):
    def __init__(self, in_features, hidden, classes, dropout):
        super().__init__()
        self.gc1 = GraphConv(in_features, hidden)
        self.gc2 = GraphConv(hidden, classes)
        self.dropout = dropout

    def forward(self, x, edges, weights):
        x = F.relu(self.gc1(x, edges, weights))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, edges, weights), dim=1)


def load_graph(neighbours=6):
    """Features, labels, edges (2, E) and their weights 1 / sqrt(degree degree), self-loops included."""
    features, labels = load_wine(return_X_y=True)
    features = StandardScaler().fit_transform(features).astype(np.float32)
    near = kneighbors_graph(features, neighbours).toarray()
    adjacency = np.maximum(near, near.T) + np.eye(len(features))
    degree = adjacency.sum(1)
    edges = np.stack(adjacency.nonzero())
    weights = 1.0 / np.sqrt(degree[edges[0]] * degree[edges[1]])
    return (
        torch.from_numpy(features), torch.from_numpy(labels), torch.from_numpy(edges),
        torch.from_numpy(weights.astype(np.float32)),
    )  # fmt: skip


def accuracy(output, labels):
    return output.max(1)[1].eq(labels).double().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    features, labels, edges, weights = load_graph()
    order = torch.randperm(len(labels))
    train, test = order[:30], order[30:]
    model = GCN(features.shape[1], args.hidden, int(labels.max()) + 1, args.dropout)
    optimizer = Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)

    for epoch in range(1, args.epochs + 1):
        if epoch - 1 == args.steps:
            break
        model.train()
        optimizer.zero_grad()
        output = model(features, edges, weights)
        loss = F.nll_loss(output[train], labels[train])
        loss.backward()
        optimizer.step()
        if epoch <= args.print_losses:
            print(f"step {epoch} loss {loss.item():.6f}")
        if epoch % 20 == 0:
            model.eval()
            with torch.no_grad():
                output = model(features, edges, weights)
            print(f"epoch {epoch}: loss {loss.item():.4f}, test accuracy {accuracy(output[test], labels[test]):.4f}")


if __name__ == "__main__":
    main()
