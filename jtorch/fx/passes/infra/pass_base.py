"""``torch.fx.passes.infra.pass_base``: the form of a pass."""

from __future__ import annotations

import abc
from typing import NamedTuple

from ...graph_module import GraphModule

__all__ = ["PassBase", "PassResult"]


class PassResult(NamedTuple):
    """A pass's module, and whether it differs from the one given."""

    graph_module: GraphModule
    modified: bool


class PassBase(abc.ABC):
    """A pass: override :meth:`call`, and :meth:`requires` and :meth:`ensures` for checks before and after it."""

    def __call__(self, graph_module: GraphModule) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    @abc.abstractmethod
    def call(self, graph_module: GraphModule) -> PassResult | None:
        """What the pass does."""

    def requires(self, graph_module: GraphModule) -> None:  # noqa: B027 (optional)
        """Raises if the module is not one that the pass takes."""

    def ensures(self, graph_module: GraphModule) -> None:  # noqa: B027 (optional)
        """Raises if the module is not as the pass should leave it."""
