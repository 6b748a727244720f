"""What data pipes are: data sets whose steps are methods of one another, under names that programs add to.

A stream's step may hold a buffer, so that a pipe has one iterator at a time: beginning another ends the first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import TypeVar

from jtorch.utils.data.dataset import Dataset, IterableDataset

T_co = TypeVar("T_co", covariant=True)
_T = TypeVar("_T")


class DataChunk(list[_T]):
    """A batch of samples, as ``batch`` and ``groupby`` make them."""

    def __init__(self, items):
        super().__init__(items)
        self.items = items if isinstance(items, list) else list(self)

    def as_str(self, indent: str = "") -> str:
        """The samples as text, one line."""
        return f"{indent}[{', '.join(str(item) for item in self)}]"

    def raw_iterator(self) -> Iterator[_T]:
        """The samples one after the other."""
        yield from self.items


class _Functions:
    """Methods added by name: ``functions`` of a kind of pipe holds those of all pipes of that kind."""

    functions: dict[str, Callable]

    def __getattr__(self, name: str):
        functions = type(self).functions
        if name not in functions:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        made = functools.partial(functions[name], self)
        made.__doc__ = functions[name].__doc__
        return made

    @classmethod
    def register_function(cls, function_name: str, function: Callable) -> None:
        """Make ``function(pipe, ...)`` a method of all pipes of this kind."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(cls, function_name, cls_to_register, enable_df_api_tracing=False) -> None:
        """Make ``pipe.function_name(...)`` mean ``cls_to_register(pipe, ...)``.

        Raises:
            Exception: the name is taken.
            NotImplementedError: ``enable_df_api_tracing``, which is about torcharrow's data frames.
        """
        if enable_df_api_tracing:
            raise NotImplementedError("enable_df_api_tracing is not supported; write the pipe over samples")
        if function_name in cls.functions:
            raise Exception(f"Unable to add DataPipe function name {function_name} as it is already taken")

        def method(source, *args, **kwargs):
            return cls_to_register(source, *args, **kwargs)

        method.__doc__ = cls_to_register.__doc__
        cls.functions[function_name] = method

    def __dir__(self):
        return [*super().__dir__(), *type(self).functions]

    def __repr__(self) -> str:
        return type(self).__qualname__

    __str__ = __repr__

    def __getstate__(self):
        return self.__dict__


class IterDataPipe(_Functions, IterableDataset[T_co]):
    """A stream of samples. Subclasses define ``__iter__``, and ``reset()`` where they hold something between samples;
    it is called whenever an iterator begins.

    A pipe has one iterator at a time: one that another has followed raises RuntimeError when it is read.
    """

    functions: dict[str, Callable] = {}
    _valid_iterator_id: int | None = None
    _number_of_samples_yielded = 0

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__next__" in vars(cls):
            cls.__next__ = _counted(cls.__next__)
        if "__iter__" in vars(cls):
            cls.__iter__ = _begun(cls.__iter__)

    def __iter__(self):
        return self

    def reset(self) -> None:
        """Go back to the beginning. There is nothing to do where nothing is held between samples."""

    def _begin(self) -> int:
        """A new iterator is the valid one; returns its number."""
        self._valid_iterator_id = 0 if self._valid_iterator_id is None else self._valid_iterator_id + 1
        self._number_of_samples_yielded = 0
        self.reset()
        return self._valid_iterator_id

    def _check(self, number: int) -> None:
        if number != self._valid_iterator_id:
            raise RuntimeError(
                f"This iterator has been invalidated because another iterator has been created from the same "
                f"IterDataPipe: {self!r}. There is a single iterator per IterDataPipe constraint; use fork() to read "
                "a stream several times at once."
            )


class DFIterDataPipe(IterDataPipe):
    """A pipe of data frames, for ``isinstance``; jtorch makes none."""


class MapDataPipe(_Functions, Dataset[T_co]):
    """Samples by key: subclasses define ``__getitem__``, and usually ``__len__``."""

    functions: dict[str, Callable] = {}


class _PipeIterator:
    """An iterator of a pipe that is good for as long as it is the pipe's last."""

    def __init__(self, pipe: IterDataPipe, iterator: Iterator, begin_now: bool):
        self._pipe, self._iterator = pipe, iterator
        self._counts = iterator is not pipe  # a pipe that is its own iterator counts for itself
        self._number = pipe._begin() if begin_now else None

    def __iter__(self):
        return self

    def __next__(self):
        pipe = self._pipe
        if self._number is None:
            self._number = pipe._begin()
        pipe._check(self._number)
        try:
            sample = next(self._iterator)
        except StopIteration:
            raise
        except Exception as error:
            if hasattr(error, "add_note"):
                error.add_note(f"This exception is thrown by __iter__ of {pipe!r}")
            raise
        if self._counts:
            pipe._number_of_samples_yielded += 1
        return sample

    def __getattr__(self, name):
        return getattr(self._iterator, name)


def _begun(iterate):
    """``__iter__`` whose iterator is checked. A generator's begins with its first sample, as its body does."""
    begin_now = not inspect.isgeneratorfunction(iterate)

    @functools.wraps(iterate)
    def __iter__(self):
        if _in_super_call(self, __iter__):
            return iterate(self)
        if not begin_now:
            return _PipeIterator(self, iterate(self), False)
        number = self._begin()
        made = _PipeIterator(self, iterate(self), False)
        made._number = number
        return made

    return __iter__


def _in_super_call(pipe, function) -> bool:
    """Whether a subclass's ``__iter__`` asks its base class for the samples: they are checked and counted once."""
    return type(pipe).__iter__ is not function


def _counted(advance):
    @functools.wraps(advance)
    def __next__(self):
        sample = advance(self)
        if type(self).__next__ is __next__:
            self._number_of_samples_yielded += 1
        return sample

    return __next__


class functional_datapipe:  # noqa: N801 (PyTorch's name)
    """Class decorator: pipes of this kind get the method ``name``, which makes a pipe of this class from them.

    Raises:
        TypeError: the class is no pipe.
        Exception: the name is taken.
    """

    def __init__(self, name: str, enable_df_api_tracing: bool = False):
        self.name, self.enable_df_api_tracing = name, enable_df_api_tracing

    def __call__(self, cls):
        if issubclass(cls, IterDataPipe):
            IterDataPipe.register_datapipe_as_function(self.name, cls, self.enable_df_api_tracing)
        elif issubclass(cls, MapDataPipe):
            MapDataPipe.register_datapipe_as_function(self.name, cls)
        else:
            raise TypeError(f"`functional_datapipe` can only decorate IterDataPipe or MapDataPipe, but got {cls}")
        return cls


def length_of(pipe, of) -> int:
    """``len(pipe)``.

    Raises:
        TypeError: it has none; the message names ``of``, the pipe that was asked.
    """
    if not hasattr(type(pipe), "__len__"):
        raise TypeError(f"{type(of).__name__} instance doesn't have valid length")
    return len(pipe)
