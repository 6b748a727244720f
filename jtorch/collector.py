"""Python's cyclic garbage collector, made to run less often (docs/decisions/0005-garbage-collector.md)."""

import gc

#: full collections after which a program is taken to have a heap of its own
_YOUNG = 5


class Pause:
    """No collections while JAX and this package are imported: they find nothing, and take a tenth of that time.

    What has been imported is no garbage later either, so the collector forgets it, unless the program had made much
    before. An import that fails ends the pause as well.
    """

    def __init__(self):
        self._was_on = gc.isenabled()
        self._young = gc.get_stats()[2]["collections"] <= _YOUNG
        gc.disable()

    def end(self) -> None:
        if self._was_on:
            if self._young:
                gc.freeze()
            calm()
            gc.enable()
        self._was_on = False

    def __del__(self):
        if self._was_on:
            gc.enable()


def calm() -> None:
    """Let a step's objects die young.

    A recorded step keeps a few thousand small objects alive until it is flushed. Under Python's default threshold the
    cyclic collector runs in the middle of each step, promotes them, and then pays full collections of JAX's whole heap
    for them (measured: a quarter of a small step's time). Thresholds a program has set itself are left alone.
    """
    first, second, third = gc.get_threshold()
    if 0 < first <= 2000:
        gc.set_threshold(20_000, second, third)
