"""One compiled program, and the Python numbers it is given at run time as arrays."""

from __future__ import annotations

import time

import jax
import numpy as np

from .. import devices
from . import kept
from .jaxapi import compile_lowered, lower_program, x64
from .program import Program

_BANK_DTYPES = (np.float64, np.float64, np.int64, np.complex128)  # Hyper numbers, floats, ints and bools, complexes


def flat(program: Program, constants: dict[int, object], varying: tuple[int, ...]):
    """A program as a function of one flat argument list, and the avals of its arguments."""
    function, counts = program.function(constants, varying)
    n = len(program.leaf_avals)

    def flat(*arguments):
        return function(arguments[:n], *arguments[n:])

    avals = [a.sds for a in program.leaf_avals] + [
        jax.ShapeDtypeStruct((program.n_hypers,), np.float64),
        jax.ShapeDtypeStruct((counts["f"],), np.float64),
        jax.ShapeDtypeStruct((counts["i"],), np.int64),
        jax.ShapeDtypeStruct((counts["c"],), np.complex128),
        jax.ShapeDtypeStruct((), np.bool_),
    ]
    return flat, avals


class Executable:
    """A program that XLA has compiled.

    Args:
        constants: the Python numbers that are compiled in, by position.
        varying: the positions of the others.
        donate: the leaves whose buffers may be reused.
        shardings: None on one device, else those of the leaves, of the outputs and of the rest.
        quick: compile for a few runs.
    """

    __slots__ = ("compiled", "device", "spread", "_banks", "_numbers", "__weakref__")

    def __init__(self, program: Program, constants, varying, donate, device, shardings=None, quick=False):
        self.device, self.spread = device, shardings is not None
        self._banks = [(p, "fic".index(program.bank(p))) for p in varying]
        self._numbers: list[tuple] = [(None, None)] * 4  # per bank: the values of the last run, and their array
        where = devices.jax_device(device)
        name = kept.program_name(program, constants, varying, donate, where, quick) if shardings is None else None
        with x64(True):
            self.compiled = kept.program(name, where)
            if self.compiled is None:
                lowered = lower_program(*flat(program, constants, varying), donate, where, shardings)
                start = time.perf_counter()
                self.compiled, new = compile_lowered(lowered, where.platform, quick)
                if new:
                    kept.keep_program(name, where, lowered, self.compiled, time.perf_counter() - start)

    def __call__(self, leaves, hypers: list, scalars: list, before) -> tuple:
        """``(outputs, check)``; ``before``: whether anything failed earlier."""
        banks: tuple[list, ...] = (hypers, [], [], [])
        for position, bank in self._banks:
            banks[bank + 1].append(scalars[position])
        with x64(True):
            return self.compiled(*leaves, *[self._array(k, values) for k, values in enumerate(banks)], before)

    def _array(self, k: int, values: list):
        """The run-time numbers of one bank as an array, kept from the last run while they are the same."""
        kept, array = self._numbers[k]
        if kept != values:
            array = np.array(values, _BANK_DTYPES[k])
            if not self.spread:  # a mesh program places its own arguments
                array = jax.device_put(array, devices.jax_device(self.device))
            self._numbers[k] = (list(values), array)
        return array

    def text(self) -> str:
        """The program as XLA optimised it."""
        return self.compiled.as_text()

    def cost(self) -> dict[str, float]:
        """XLA's estimate of floating-point operations and bytes accessed."""
        return dict(self.compiled.cost_analysis() or {})

    def memory(self):
        """XLA's memory analysis: argument, output, alias and temporary bytes."""
        return self.compiled.memory_analysis()
