"""What iterators of loaders are, wherever their batches are made."""


class _BaseDataLoaderIter:
    """One pass over a loader; ``isinstance`` tells such an iterator from a data set's own."""

    def __iter__(self):
        return self

    def __len__(self) -> int:
        return len(self._loader)


def announced_length(loader) -> int | None:
    """How many batches a loader of a stream says there are; None where its data set does not say."""
    if not hasattr(type(loader.dataset), "__len__"):
        return None
    try:
        return len(loader)
    except (TypeError, NotImplementedError):  # a data pipe over a stream of unknown length
        return None
