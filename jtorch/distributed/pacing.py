"""Fake CPU devices must not be outrun.

Devices made by ``--xla_force_host_platform_device_count`` (or ``jax_num_cpu_devices``) share one thread pool. Programs
with collectives that are started faster than they run fill it with waiting partners, and XLA aborts the process after
40 s. Two things prevent it, and both are done here: ``NPROC``, from which XLA sizes the pool, is at least twice the
number of devices when the backend starts; and no more than :data:`AHEAD` optimizer steps are started ahead of the
one that is waited for.
"""

from __future__ import annotations

import os
import re
from collections import deque

import jax

#: How many optimizer steps may be under way at once on several CPU devices.
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


def watch_steps(mesh: jax.sharding.Mesh) -> None:
    """From now on an optimizer step on several CPU devices waits for the one :data:`AHEAD` steps before it."""
    global _watching
    if _watching or mesh.devices.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return
    _watching = True
    from ..optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(_after_step)


def _after_step(optimizer, args, kwargs) -> None:
    from . import layout

    p = next(optimizer._params(), None)
    mesh = None if p is None else layout.mesh_of(p._value())
    if mesh is None:
        return
    _under_way.append(layout.tick(mesh, p.device))  # part of the step's program: there when that has run
    if len(_under_way) > AHEAD:
        array = _under_way.popleft().array
        if array is not None:  # None: that step failed
            array.block_until_ready()
