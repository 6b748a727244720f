"""A stream of what there is, and steps that take one sample at a time: map, filter, collate."""

from __future__ import annotations

import copy
import inspect
import warnings

from jtorch.utils.data.collate import default_collate
from jtorch.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe, length_of
from jtorch.utils.data.datapipes.utils.common import StreamWrapper


class IterableWrapperIterDataPipe(IterDataPipe):
    """The elements of ``iterable``, copied deeply at each pass where ``deepcopy``."""

    def __init__(self, iterable, deepcopy: bool = True):
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self):
        source = self.iterable
        if self.deepcopy:
            try:
                source = copy.deepcopy(self.iterable)
            except TypeError:
                warnings.warn(
                    "The input iterable can not be deepcopied, please be aware of in-place modification would affect "
                    "source data.",
                    stacklevel=2,
                )
        yield from source

    def __len__(self) -> int:
        return length_of(self.iterable, self)


def check_columns(fn, input_col) -> None:
    """Check that ``fn`` takes as many arguments as columns are named.

    Raises:
        ValueError: it takes more or fewer.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a built-in function that says nothing of its arguments
        return
    columns = len(input_col) if isinstance(input_col, (list, tuple)) else 1
    try:
        signature.bind(*[None] * columns)
    except TypeError as error:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise ValueError(
            f"The function {name} is called with {columns} argument(s), from input_col={input_col!r}, but its "
            f"signature is {signature}: {error}"
        ) from None


def apply_to_columns(fn, sample, input_col):
    """``fn`` of the sample, or of the named column(s) of it."""
    if input_col is None:
        return fn(sample)
    if isinstance(input_col, (list, tuple)):
        return fn(*(sample[column] for column in input_col))
    return fn(sample[input_col])


@functional_datapipe("map")
class MapperIterDataPipe(IterDataPipe):
    """``fn`` of each sample.

    Args:
        input_col: the index or key (or several) of a sample that ``fn`` is given; None gives the sample.
        output_col: where in the sample the result goes; None: in the first of ``input_col`` (the others are left
            out); -1 appends it.

    Raises:
        ValueError: ``output_col`` without ``input_col``, several ``output_col``, or ``fn`` takes another number of
            arguments.
    """

    def __init__(self, datapipe, fn, input_col=None, output_col=None):
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        if isinstance(output_col, (list, tuple)):
            if len(output_col) > 1:
                raise ValueError("`output_col` must be a single-element list or tuple")
            output_col = output_col[0]
        check_columns(fn, input_col)
        self.datapipe, self.fn, self.input_col, self.output_col = datapipe, fn, input_col, output_col

    def _apply(self, sample):
        result = apply_to_columns(self.fn, sample, self.input_col)
        if self.input_col is None:
            return result
        columns = list(sample) if isinstance(sample, tuple) else sample
        if self.output_col == -1:
            columns.append(result)
        elif self.output_col is not None:
            columns[self.output_col] = result
        else:
            several = isinstance(self.input_col, (list, tuple))
            first, *others = self.input_col if several else [self.input_col]
            columns[first] = result
            for other in sorted(others, reverse=True):
                del columns[other]
        return tuple(columns) if isinstance(sample, tuple) else columns

    def __iter__(self):
        for sample in self.datapipe:
            yield self._apply(sample)

    def __len__(self) -> int:
        return length_of(self.datapipe, self)


@functional_datapipe("collate")
class CollatorIterDataPipe(MapperIterDataPipe):
    """Batches joined by ``collate_fn`` (or ``conversion``), which is :func:`default_collate` where neither is given.

    Raises:
        NotImplementedError: ``conversion`` by column names, which is for data frames.
    """

    def __init__(self, datapipe, conversion=default_collate, collate_fn=None):
        fn = conversion if collate_fn is None else collate_fn
        if not callable(fn):
            raise NotImplementedError("collate() by column is for data frames; pass a function as collate_fn=")
        super().__init__(datapipe, fn)


@functional_datapipe("filter")
class FilterIterDataPipe(IterDataPipe):
    """The samples for which ``filter_fn`` (of ``input_col``, where given) is True.

    Raises:
        ValueError: while iterating, ``filter_fn`` returned no bool.
    """

    def __init__(self, datapipe, filter_fn, input_col=None):
        check_columns(filter_fn, input_col)
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def __iter__(self):
        for sample in self.datapipe:
            keep = apply_to_columns(self.filter_fn, sample, self.input_col)
            if not isinstance(keep, bool):
                raise ValueError(f"Boolean output is required for `filter_fn` of FilterIterDataPipe, got {type(keep)}")
            if keep:
                yield sample
            else:
                StreamWrapper.close_streams(sample)
