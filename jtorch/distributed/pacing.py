"""Fake CPU devices must not be outrun.

Devices made by ``--xla_force_host_platform_device_count`` (or ``jax_num_cpu_devices``) share one thread pool. Programs
with collectives that are started faster than they run fill it with waiting partners, and XLA aborts the process after
40 s. Two things prevent it, and both are done here: ``NPROC``, from which XLA sizes the pool, is at least twice the
number of devices when the backend starts; and no more than :data:`AHEAD` programs are started ahead of the one that
is waited for.
"""

from __future__ import annotations

import os
import re
from collections import deque

import jax

from ..trace.jaxapi import x64

#: Programs that may be under way at once on several CPU devices.
AHEAD = 8
_under_way: deque = deque()
_watching = False


def prepare() -> None:
    """Set ``NPROC`` for the fake CPU devices that were asked for; no effect on a backend that has started."""
    found = re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    count = int(found[1]) if found else (jax.config.jax_num_cpu_devices or 1)
    if count > 1:
        given = os.environ.get("NPROC", "")
        if not given.isdigit() or int(given) < 2 * count:
            os.environ["NPROC"] = str(2 * count)


def started(array) -> None:
    """Note a result of a program that was just started; wait for the one started :data:`AHEAD` programs ago."""
    _under_way.append(array)
    while len(_under_way) > AHEAD:
        with x64(True):
            _under_way.popleft().block_until_ready()


def watch_steps(mesh: jax.sharding.Mesh) -> None:
    """From now on keep optimizer steps on CPU devices from running further ahead than :data:`AHEAD`."""
    global _watching
    if _watching or mesh.devices.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return
    _watching = True
    from .. import optim
    from . import layout

    ticks: deque = deque()

    def after_step(optimizer, args, kwargs):
        p = next(optimizer._params(), None)
        mesh = None if p is None else layout.mesh_of(p._value())
        if mesh is not None:
            ticks.append(layout.tick(mesh, p.device))  # runs with the step's program
            if len(ticks) > AHEAD:
                started = ticks.popleft().array
                if started is not None:
                    started.block_until_ready()

    optim.optimizer.register_optimizer_step_post_hook(after_step)
