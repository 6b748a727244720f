"""``torch.fx.passes.infra.pass_manager``: several passes, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from ...graph_module import GraphModule
from .pass_base import PassResult

__all__ = ["PassManager"]


class PassManager:
    """Runs passes in order, again and again until none changes anything, at most ``steps`` times.

    Args:
        passes: each takes a GraphModule and returns a :class:`PassResult`.
        steps: how often at most.
        run_checks_after_each_pass: call the checks after each pass, not only at the end.
    """

    def __init__(
        self,
        passes: list[Callable] | None = None,
        constraints: list[Callable] | None = None,
        steps: int | None = None,
        run_checks_after_each_pass: bool = False,
        suppress_check_failures: bool = False,
    ):
        if constraints:
            raise NotImplementedError("PassManager(constraints=...): give the passes in the order they are to run in")
        self.passes, self.steps = list(passes or ()), 1 if steps is None else steps
        self.run_checks_after_each_pass, self.suppress_check_failures = (
            run_checks_after_each_pass,
            suppress_check_failures,
        )
        self.checks: list[Callable] = []

    def add_pass(self, _pass: Callable) -> None:
        """Append a pass."""
        self.passes.append(_pass)

    def add_checks(self, check: Callable) -> None:
        """Call ``check(graph_module)`` after the passes."""
        self.checks.append(check)

    def check(self, module: GraphModule) -> None:
        """Run the checks."""
        for check in self.checks:
            try:
                check(module)
            except Exception:
                if not self.suppress_check_failures:
                    raise

    def __call__(self, module: GraphModule) -> PassResult:
        modified = False
        for _ in range(self.steps):
            changed = False
            for one in self.passes:
                result = one(module)
                if not isinstance(result, PassResult):
                    raise TypeError(f"The result of the pass {one} should be type PassResult, got {type(result)}")
                module, changed = result.graph_module, changed or result.modified
                if self.run_checks_after_each_pass:
                    self.check(module)
            modified |= changed
            if not changed:
                break
        self.check(module)
        return PassResult(module, modified)
