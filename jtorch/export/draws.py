"""Random numbers of exported programs: further inputs, drawn anew at each call, in the order of the recording."""

from __future__ import annotations

import dataclasses

import jtorch

from ..devices import CPU
from ..tensor import Tensor
from ..tensor import random as random_
from ..trace.capture import Draw, Log
from ..trace.graph import Graph, Ref
from . import structure


def draw(kind: str, shape: list[int], parameters: tuple, dtype, strides=None) -> Tensor:
    """A tensor of random numbers from the CPU's default generator, in the memory order of ``strides``."""
    return random_.draw(kind, shape, tuple(parameters), dtype, "cpu", strides=strides)


@dataclasses.dataclass
class Drawn:
    """What one draw of a program is.

    Attributes:
        form: kind, shape, parameters, name of the dtype and strides, as :mod:`.structure` describes them.
        used: whether the program takes the numbers; the generator moves on in any case.
    """

    form: object
    used: bool

    def arguments(self, sizes: dict) -> tuple:
        """Those of :func:`draw`, where the open sizes are these."""
        kind, shape, parameters, dtype, strides = structure.build(self.form, [], sizes)
        return kind, list(shape), parameters, getattr(jtorch, dtype), strides

    def numbers(self, sizes: dict) -> Tensor:
        return draw(*self.arguments(sizes))


def described(event: Draw) -> object:
    """The form of a draw that was recorded.

    Raises:
        RuntimeError: the numbers come from another generator than the CPU's default one.
    """
    host = event.make
    if not isinstance(host, random_.HostDraw) or host.generator is not random_.default_generator(CPU):
        raise RuntimeError(
            "export: random numbers are drawn on another device or from a generator of the program's own. An exported "
            "program draws from the CPU's default generator: draw there and move the numbers, pass them in, or put the "
            "module in evaluation mode"
        )
    strides = None if host.strides is None else tuple(host.strides)
    dtype = str(host.dtype).rpartition(".")[2]
    return structure.describe((host.kind, host.shape, tuple(host.parameters), dtype, strides), lambda x: None)


def taken(graph: Graph, log: Log) -> tuple[Graph, list[tuple]]:
    """``graph`` with the numbers that were drawn as further inputs, and of each draw its form and whether it is one."""
    drawn = [e for e in log.events if isinstance(e, Draw)]
    slots = {id(v): -1 - i for i, v in enumerate(graph.leaves)}
    forms = [(described(e), id(e.value) in slots) for e in drawn]
    further = tuple(Ref(slots[id(e.value)], e.value.aval) for e in drawn if id(e.value) in slots)
    return dataclasses.replace(graph, inputs=graph.inputs + further), forms


__all__ = ["Drawn", "draw", "taken"]
