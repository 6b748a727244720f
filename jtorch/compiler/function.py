"""A compiled function: recorded, watched, captured, and from then on replayed.

The first call runs as always while a profile hook notes what code runs, which gives the guards. The next call that
fits them is captured. From the third on the capture is replayed for as long as its guards hold; a call that fits none
starts over, and one that cannot be replayed is recorded as always, which is slower by the host's share and never wrong.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import threading

from .. import config as settings
from ..errors import TorchDynamoException
from ..nn.modules.module import Module
from ..trace import capture as watching_trace
from ..trace import recorder
from ..trace.capture import Frames, GraphBreak, Log
from ..utils import _pytree
from . import config
from .buckets import Buckets, mark
from .captured import capture, plain
from .guards import Arguments, Guards, Unguardable, ambient
from .state import Compiled, state, statistics
from .watch import Watch


class RecompileError(TorchDynamoException):
    """``error_on_recompile`` is set, and a call is another case than those before."""


class FailOnRecompileLimitHit(Exception):
    """``fail_on_recompile_limit_hit`` is set, and there are more cases than ``recompile_limit``."""


_ATTEMPTS = 3  # learning runs in a row that led nowhere before a function is only recorded


class CompiledFunction(Compiled):
    """What ``jtorch.compile`` makes of a function. Calling it gives what calling the function gives.

    Attributes:
        captures: how many ways through the function are kept.
        reason: why it is only recorded, or None.
        unpadded: with dynamic sizes, why calls are not padded to sizes that have a program, or None.
    """

    def __init__(
        self, fn, fullgraph: bool = False, name: str | None = None, capture: bool = True, limit: int | None = None,
        dynamic: bool | None = None,
    ):  # fmt: skip
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._fullgraph, self._capture, self._limit, self._dynamic = fn, fullgraph, capture, limit, dynamic
        self._name = name or getattr(fn, "__qualname__", type(fn).__name__)
        self._owner = getattr(fn, "__self__", None)
        self._lock = threading.RLock()
        self._special = inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn)
        self.reset()

    def reset(self) -> None:
        """Forget every capture."""
        self._entries: list[tuple[Guards, object]] = []
        self._candidates: list[Guards] = []
        self._failures = 0
        self.latest: str | None = None  # why the latest attempt led nowhere
        self.reason: str | None = None if self._capture else "its backend runs operations as they come"
        self.unpadded: str | None = None
        self._buckets = Buckets(self) if self._dynamic and self._capture else None
        self._epoch = state.epoch

    @property
    def captures(self) -> int:
        return len(self._entries)

    def __get__(self, instance, owner=None):
        """As a method: bound to the instance, which is its first argument."""
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args, **kwargs):
        stance = state.stance
        if (
            state.disabled or watching_trace.state.log is not None or self._special or stance == "force_eager"
            or recorder.redirected()
        ):  # fmt: skip
            return self._fn(*args, **kwargs)
        if self._epoch != state.epoch:
            self.reset()
        if self._buckets is None and mark.used and self._dynamic is None and self._capture:
            if any(map(mark.get, _pytree.tree_leaves((args, kwargs)))):
                self._buckets = Buckets(self)
        if self._buckets is not None:
            found = self._buckets.call(args, kwargs)
            if found is not None:
                return found[0]
        for n, (guards, captured) in enumerate(self._entries):
            leaves = guards.match(args, kwargs)
            if leaves is not None:
                tensors = captured.ready(leaves)
                if tensors is not None:
                    if n:
                        self._entries.insert(0, self._entries.pop(n))
                    statistics.replays += 1
                    del leaves
                    return captured.replay(tensors)
        if stance != "default" and self.reason is None and not self._seen(args, kwargs):
            if stance == "eager_on_recompile":
                return self._fn(*args, **kwargs)
            raise RuntimeError(
                f"Detected recompile when torch.compile stance is 'fail_on_recompile': {self._name} would have to be "
                "captured anew"
            )
        with state.compiling():
            if self.reason is not None or not self._lock.acquire(blocking=False):
                return self._record(args, kwargs)
            try:
                return self._learn(args, kwargs)
            finally:
                self._lock.release()

    def _seen(self, args, kwargs) -> bool:
        """Whether a call like this one was made before, if only once: capturing it is nothing anew."""
        return any(guards.match(args, kwargs) is not None for guards in self._candidates)

    @staticmethod
    def _log(around: Frames, fullgraph: bool, hold: bool = True) -> Log:
        """What a run is noted in, that ``around`` calls."""
        return Log(fullgraph, hold, around, config.capture_scalar_outputs)

    def _record(self, args, kwargs):
        statistics.records += 1
        if not self._fullgraph:
            return self._fn(*args, **kwargs)
        log = self._log(_AROUND_RECORDING, True, hold=False)
        with watching_trace.watching(log):
            result = self._fn(*args, **kwargs)
        return _pytree.tree_map(plain, result) if log.reads else result

    def _learn(self, args, kwargs):
        limit = config.recompile_limit if self._limit is None else self._limit
        if len(self._entries) >= limit:
            why = f"it was captured for {limit} different cases (recompile_limit)"
            if config.fail_on_recompile_limit_hit:
                raise FailOnRecompileLimitHit(f"{self._name}: {why}")
            self._give_up(why)
            return self._record(args, kwargs)
        if ambient() is None or sys.getprofile() is not None:
            return self._record(args, kwargs)
        statistics.records += 1
        for guards in self._candidates:
            leaves = guards.match(args, kwargs)
            if leaves is not None:
                self._candidates.remove(guards)
                result, captured, why = self._capture_run(args, kwargs, guards, leaves, Watch())
                if captured is None:
                    self._failed(why)
                else:
                    self._failures = 0
                    statistics.captures += 1
                    self._entries.insert(0, (guards, captured))
                return result
        if config.error_on_recompile and (self._entries or self._candidates):
            raise RecompileError(f"Recompiling function {self._name}: this call is another case than those before")
        log, watch = self._log(_AROUND_LEARNING, self._fullgraph, hold=False), Watch()
        try:
            arguments = Arguments(args, kwargs)
        except Unguardable as error:
            self._failed(str(error))
            return self._record(args, kwargs)
        with watching_trace.watching(log), watch:
            result = self._fn(*args, **kwargs)
        for trace in recorder.open_traces().values():
            trace.recurs = True
        if log.reads:
            result = _pytree.tree_map(plain, result)
            log.reads.clear()
        why = log.refusal or watch.refusal
        if why is None:
            excused = set() if _reads_hyper_parameters(watch) else log.offered - log.used
            roots = [r for r in (self._owner, self._fn) if r is not None]
            try:
                # the arguments as they are now: a tensor may have got a gradient since
                guards = Guards(watch, Arguments(args, kwargs), arguments.flatten(args, kwargs), roots, excused)
                self._candidates = [*self._candidates[-7:], guards]
            except Unguardable as error:
                why = str(error)
        if why is not None:
            self._failed(why)
        return result

    def _capture_run(self, args, kwargs, guards: Guards, leaves: list, watch: Watch) -> tuple:
        """Run the function, watching: ``(its result, Captured or None, why not)``."""
        log = self._log(_AROUND_CAPTURE, self._fullgraph)
        result, captured, why = capture(self._fn, args, kwargs, guards, leaves, log, watch)
        if captured is not None and watch.codes.keys() - guards.watch.codes.keys():
            captured, why = None, "other code ran than the time before"
        return result, captured, why

    def _failed(self, why: str) -> None:
        self._failures += 1
        self.latest = why
        if self._failures >= _ATTEMPTS:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self.reason = why
        statistics.breaks[f"{self._name}: {why}"] += 1
        if "recompiles" in settings.logs or "graph_breaks" in settings.logs:
            print(f"[jtorch:compile] {self._name} is recorded at each call, not replayed: {why}", file=sys.stderr)

    def around(self, fn) -> CompiledFunction:
        """Another function compiled in the same way."""
        return CompiledFunction(fn, self._fullgraph, self._name, self._capture, self._limit, self._dynamic)

    def __deepcopy__(self, memo):
        return self.around(copy.deepcopy(self._fn, memo))

    def __reduce__(self):
        return CompiledFunction, (self._fn, self._fullgraph, self._name, self._capture, self._limit, self._dynamic)

    def __repr__(self) -> str:
        return f"<compiled {self._name}>"


def _reads_hyper_parameters(watch: Watch) -> bool:
    return any({"param_groups", "defaults", "get_last_lr"} & {*c.co_names, *filter(_is_text, c.co_consts)} for c in
               watch.codes)  # fmt: skip


def _is_text(x) -> bool:
    return isinstance(x, str)


_BETWEEN = frozenset(
    f.__code__ for f in (Module.__call__, Module._call_impl, Module._call_with_hooks)
)  # fmt: skip
_AROUND_CAPTURE = Frames(capture.__code__, _BETWEEN)
_AROUND_RECORDING = Frames(CompiledFunction._record.__code__, _BETWEEN)
_AROUND_LEARNING = Frames(CompiledFunction._learn.__code__, _BETWEEN)

__all__ = ["CompiledFunction", "FailOnRecompileLimitHit", "GraphBreak", "RecompileError"]
