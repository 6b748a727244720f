"""Grad modes, per thread."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings


class _Modes(threading.local):
    def __init__(self):
        self.grad = True
        self.inference = False
        self.exported = 0  # functions being recorded for programs that are differentiated as a whole
        self.transformed = 0  # functions being recorded for JAX to transform: gradients may flow through all they do


state = _Modes()


def is_grad_enabled() -> bool:
    """Whether operations on this thread record what backward needs."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether ``inference_mode`` is active on this thread."""
    return state.inference


class DecoratorContextManager:
    """A context manager that is a decorator as well (of functions, generator functions and classes)."""

    def clone(self):
        """A fresh instance, so that a decorated function may call itself."""
        return self.__class__()

    def __call__(self, fn):
        if inspect.isclass(fn):
            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                "functions or methods. To preserve the current behavior of class decoration, you can directly decorate "
                "the `__init__` method and nothing else.",
                FutureWarning,
                stacklevel=2,
            )
            fn.__init__ = self(fn.__init__)
            return fn
        if inspect.isgeneratorfunction(fn):

            @functools.wraps(fn)
            def generator(*args, **kwargs):
                inner = fn(*args, **kwargs)
                with self.clone():
                    try:
                        item = next(inner)
                    except StopIteration as stop:
                        return stop.value
                while True:
                    try:
                        sent = yield item
                    except BaseException as error:
                        with self.clone():
                            try:
                                item = inner.throw(error)
                            except StopIteration as stop:
                                return stop.value
                    else:
                        with self.clone():
                            try:
                                item = inner.send(sent)
                            except StopIteration as stop:
                                return stop.value

            return generator

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with self.clone():
                return fn(*args, **kwargs)

        return wrapper


class _Mode(DecoratorContextManager):
    def __enter__(self):
        self._before = (state.grad, state.inference, getattr(self, "_before", None))
        self._set()
        return self

    def __exit__(self, *exc):
        state.grad, state.inference, self._before = self._before

    def _set(self) -> None:
        raise NotImplementedError


class no_grad(_Mode):
    """Inside, nothing is recorded for backward. ``with no_grad():``, ``@no_grad()`` and ``@no_grad``."""

    def __new__(cls, orig_func=None):
        self = super().__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __init__(self, orig_func=None):
        pass

    def _set(self):
        state.grad = False


class enable_grad(no_grad):
    """Inside, operations are recorded for backward again, also within ``no_grad``."""

    def _set(self):
        state.grad = True


class set_grad_enabled(_Mode):
    """Switches recording on or off at once; as a context manager, until the block ends."""

    def __init__(self, mode: bool):
        self.mode = bool(mode)
        self._before = (state.grad, state.inference, None)
        state.grad = self.mode

    def __enter__(self):
        state.grad = self.mode
        return self

    def _set(self):
        state.grad = self.mode

    def __call__(self, fn):
        state.grad = self._before[0]
        return super().__call__(fn)

    def clone(self):
        return self.__class__(self.mode)

    def __exit__(self, *exc):
        state.grad, state.inference, _ = self._before


class inference_mode(_Mode):
    """As ``no_grad``, and tensors made inside may never take part in autograd."""

    def __new__(cls, mode=True):
        self = super().__new__(cls)
        if callable(mode):
            self.mode = True
            return self(mode)
        return self

    def __init__(self, mode=True):
        self.mode = bool(mode)

    def _set(self):
        state.inference = self.mode
        if self.mode:
            state.grad = False
        else:
            state.grad = True

    def clone(self):
        return self.__class__(self.mode)
