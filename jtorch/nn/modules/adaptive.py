"""Softmax over a large number of classes, most of them rare."""

from __future__ import annotations

from collections import namedtuple

import jtorch

from .. import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Adaptive softmax (Grave et al., 2017): frequent classes in a head, rarer ones in clusters of shrinking width.

    Args:
        cutoffs: the classes at which clusters begin, increasing.
        div_value: by how much the width shrinks from one cluster to the next.

    Raises:
        ValueError: the cutoffs are not increasing, unique and within the classes.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs, div_value: float = 4.0, head_bias: bool = False, device=None,
        dtype=None,
    ):  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(cutoffs) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1
            or len(set(cutoffs)) != len(cutoffs) or any(int(c) != c for c in cutoffs)
        ):  # fmt: skip
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        options = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            width = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            into = Linear(in_features, width, bias=False, **options)
            self.tail.append(Sequential(into, Linear(width, size, bias=False, **options)))

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        self.head.reset_parameters()
        for into, out in self.tail:
            into.reset_parameters()
            out.reset_parameters()

    def forward(self, input_, target_):
        """The log-probability of each target, and the mean negative one."""
        input, target = input_, target_
        batched = input.dim() > 1
        x = input if batched else input.unsqueeze(0)
        y = target if target.dim() > 0 else target.unsqueeze(0)
        if input.dim() not in (1, 2) or target.dim() != input.dim() - 1:
            raise RuntimeError(
                "0D or 1D target tensor expected with 1D or 2D input, multi-target not supported: got "
                f"{target.dim()}D target and {input.dim()}D input"
            )
        if x.shape[0] != y.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        # Every cluster is computed for every row and the right one selected, so that shapes do not depend on the data.
        out = self.log_prob(x).gather(1, y.unsqueeze(1)).squeeze(1)
        loss = -out.mean()
        return _ASMoutput(out if batched else out.squeeze(0), loss)

    def log_prob(self, input):
        """Log-probabilities of all classes, ``(N, n_classes)``."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            within = F.log_softmax(cluster(input), 1)
            parts.append(within + head[:, self.shortlist_size + i].unsqueeze(1))
        return jtorch.cat(parts, 1)

    def predict(self, input):
        """The most probable class of each row."""
        return self.log_prob(input).argmax(1)
