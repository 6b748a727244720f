"""LSTM cells learn to continue sine waves, in double precision, with LBFGS on the whole data set."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim


class Sequence(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.hidden = hidden
        self.lstm1 = nn.LSTMCell(1, hidden)
        self.lstm2 = nn.LSTMCell(hidden, hidden)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x, future=0):
        outputs = []
        h1, c1, h2, c2 = (torch.zeros(x.size(0), self.hidden, dtype=torch.double) for _ in range(4))
        for step in x.split(1, dim=1):
            h1, c1 = self.lstm1(step, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs.append(output)
        for _ in range(future):  # from here on the network reads what it said
            h1, c1 = self.lstm1(output, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output = self.linear(h2)
            outputs.append(output)
        return torch.cat(outputs, dim=1)


def sine_waves(count, length, seed):
    """Waves of one frequency, each with its own phase: (count, length)."""
    phase = np.random.RandomState(seed).randint(-4 * 20, 4 * 20, count).reshape(count, 1)
    return np.sin((np.arange(length) + phase) / 4.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6, help="calls of LBFGS's step")
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many evaluations of the loss")
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    data = torch.from_numpy(sine_waves(20, args.length, args.seed + 2))
    inputs, target = data[3:, :-1], data[3:, 1:]
    test_inputs, test_target = data[:3, :-1], data[:3, 1:]
    seq = Sequence().double()
    criterion = nn.MSELoss()
    optimizer = optim.LBFGS(seq.parameters(), lr=0.8, max_iter=10)
    done = 0

    def closure():
        nonlocal done
        optimizer.zero_grad()
        loss = criterion(seq(inputs), target)
        loss.backward()
        done += 1
        if done <= args.print_losses:
            print(f"step {done} loss {loss.item():.6f}")
        return loss

    for epoch in range(1, args.epochs + 1):
        loss = optimizer.step(closure)
        if 0 <= args.steps <= done:
            break
        with torch.no_grad():
            future = 40
            pred = seq(test_inputs, future=future)
            test_loss = criterion(pred[:, :-future], test_target)
        print(f"epoch {epoch}: loss {loss.item():.6f}, test loss {test_loss.item():.6f}")


if __name__ == "__main__":
    main()
