"""REINFORCE: a policy learns to balance a pole on a cart (the cart and its physics are below)."""

import argparse
import math
import random
from collections import deque

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical


class CartPole:
    """A pole on a cart that is pushed left or right; an episode ends when it leans 12 degrees or leaves the track."""

    gravity, cart_mass, pole_mass, half_length, force, tau = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, seed):
        self.random = random.Random(seed)

    def reset(self):
        self.state = [self.random.uniform(-0.05, 0.05) for _ in range(4)]
        return self.state

    def step(self, action):
        x, v, angle, spin = self.state
        push = self.force if action == 1 else -self.force
        total = self.cart_mass + self.pole_mass
        cos, sin = math.cos(angle), math.sin(angle)
        temp = (push + self.pole_mass * self.half_length * spin**2 * sin) / total
        inertia = self.half_length * (4.0 / 3.0 - self.pole_mass * cos**2 / total)
        angle_acc = (self.gravity * sin - cos * temp) / inertia
        acc = temp - self.pole_mass * self.half_length * angle_acc * cos / total
        self.state = [x + self.tau * v, v + self.tau * acc, angle + self.tau * spin, spin + self.tau * angle_acc]
        return self.state, 1.0, abs(self.state[0]) > 2.4 or abs(self.state[2]) > 12 * math.pi / 180


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 128)
        self.dropout = nn.Dropout(p=0.6)
        self.affine2 = nn.Linear(128, 2)
        self.saved_log_probs, self.rewards = [], []

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.affine2(x), dim=1)


def select_action(policy, state):
    probs = policy(torch.tensor(state).float().unsqueeze(0))
    m = Categorical(probs)
    action = m.sample()
    policy.saved_log_probs.append(m.log_prob(action))
    return action.item()


def finish_episode(policy, optimizer, gamma, eps=1e-8):
    total, returns = 0.0, deque()
    for r in policy.rewards[::-1]:
        total = r + gamma * total
        returns.appendleft(total)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_loss = [-log_prob * R for log_prob, R in zip(policy.saved_log_probs, returns, strict=True)]
    optimizer.zero_grad()
    loss = torch.cat(policy_loss).sum()
    loss.backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--epochs", type=int, default=50, help="episodes")
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many episodes")
    parser.add_argument("--max-moves", type=int, default=200, help="longest episode")
    parser.add_argument("--seed", type=int, default=543)
    parser.add_argument("--print-losses", type=int, default=0, metavar="N")
    args = parser.parse_args()

    env = CartPole(args.seed)
    torch.manual_seed(args.seed)
    policy = Policy()
    optimizer = optim.Adam(policy.parameters(), lr=1e-2)
    running = 10.0
    for episode in range(1, args.epochs + 1):
        if episode - 1 == args.steps:
            break
        state, moves, ended = env.reset(), 0, False
        while not ended and moves < args.max_moves:
            state, reward, ended = env.step(select_action(policy, state))
            policy.rewards.append(reward)
            moves += 1
        running = 0.05 * moves + 0.95 * running
        loss = finish_episode(policy, optimizer, args.gamma)
        if episode <= args.print_losses:
            print(f"step {episode} loss {loss.item():.6f}")
        if episode % 10 == 0:
            print(f"episode {episode}\tlast length: {moves}\taverage length: {running:.2f}")


if __name__ == "__main__":
    main()
