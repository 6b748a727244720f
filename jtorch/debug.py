"""Looking inside: what ran, why it compiled, what it compiled to.

``JTORCH_LOGS=flushes,recompiles`` prints the same facts while a program runs.
"""

from __future__ import annotations

from . import devices
from .tape import modes
from .trace import executor, explain, recorder
from .trace.executor import clear as clear_executables
from .trace.graph import Graph, recording

__all__ = ["Counters", "clear_executables", "counters", "graph", "last_trace"]


class Counters(dict):
    """A snapshot of the counters; prints as a table."""

    def __str__(self) -> str:
        return "\n".join(f"{name:>16}  {value}" for name, value in self.items())


def counters() -> Counters:
    """How often traces were flushed (by cause), compiled, found in the cache, and seconds spent compiling.

    ``interpreted`` are runs of small programs by NumPy, before it paid to compile them (``jtorch.config.interpret``).
    ``upgrades`` are programs that had been compiled quickly, and were compiled properly once they proved to be used.
    """
    c = executor.counters
    return Counters(
        flushes=c.flushes, compiles=c.compiles, upgrades=c.upgrades, interpreted=c.interpreted, hits=c.hits,
        evictions=c.evictions,
        calls=c.calls_recorded, compile_seconds=round(c.compile_seconds, 3), causes=dict(c.causes),
    )  # fmt: skip


class TraceView:
    """A trace that ran: its calls, and the HLO it was lowered and compiled to. ``print`` shows the calls."""

    def __init__(self, entry):
        self._entry = entry

    @property
    def calls(self) -> list[str]:
        """One line per recorded call: results, op, operands."""
        program = self._entry.program
        lines = []
        for call, operands, outs in program.steps:
            names = []
            for (kind, where), aval in zip(operands, call.in_avals, strict=True):
                if kind == "slot":
                    names.append(f"%{where}" if where >= 0 else f"leaf{-1 - where}:{aval}")
                elif kind == "hyper":
                    names.append(f"hyper{where}")
                else:
                    fixed = self._entry.fixed[where]
                    names.append("scalar" if where in self._entry.varying else repr(fixed))
            results = ", ".join(f"%{s}:{a}" for s, a in zip(outs, call.out_avals, strict=True))
            statics = ""
            if call.op is not None and call.key is not None:
                pairs = [f"{n}={v!r}" for n, v in zip(call.op.static_names, call.key[0], strict=True) if v is not None]
                statics = f" [{', '.join(pairs)}]" if pairs else ""
            lines.append(f"{results} = {call.name}({', '.join(names)}){statics}")
        return lines

    def stablehlo(self) -> str:
        """The program as lowered, before XLA optimised it."""
        from .trace.jaxapi import lower_text

        return lower_text(self._entry)

    def hlo(self) -> str:
        """The program as XLA optimised it; one after the other where it was compiled in pieces."""
        return self._entry.compiled().text()

    def cost(self) -> dict:
        """XLA's estimate of floating-point operations and bytes accessed."""
        return self._entry.compiled().cost()

    def memory(self):
        """XLA's memory analysis: argument, output, alias and temporary bytes."""
        return self._entry.compiled().memory()

    def donated(self) -> int:
        """How many inputs give their buffer to an output."""
        return len(self._entry.donate)

    def __str__(self) -> str:
        return "\n".join([*self.calls, "", self.hlo()])

    def __repr__(self) -> str:
        return "\n".join(self.calls)


def last_trace() -> TraceView | None:
    """The trace this thread flushed last, or None before the first flush."""
    entry = explain.last()
    return None if entry is None else TraceView(entry)


def graph(function, inputs, named=None) -> Graph:
    """The operations ``function(*inputs)`` calls, recorded without running any of them.

    Args:
        function: takes Tensors and returns a sequence of Tensors.
        inputs: Tensors on one device; only their shapes, dtypes and device matter. What the function writes in place
            (running statistics) is put back afterwards.
        named: ``{name: tensor}`` of tensors to be known by name where the function reads them (parameters).

    Returns:
        A :class:`jtorch.trace.graph.Graph`; tensors the function reads besides its inputs are leaves of it.

    Raises:
        RuntimeError: the function reads a value that it computed or was given (``item()``, ``if x > 0``).
    """
    from .tensor.dispatch import wrap

    inputs = list(inputs)
    values = [x._value() for x in inputs]
    named = {name: x._value() for name, x in (named or {}).items()}
    device = values[0].device if values else devices.resolve(None)
    recorder.flush_all("jtorch.debug.graph()")
    with recording(device) as trace, modes.no_grad():
        given = [trace.placeholder(v.aval) for v in values]
        outputs = [t._value() for t in function(*(wrap(v) for v in given))]
        return trace.graph(given, outputs, named)
