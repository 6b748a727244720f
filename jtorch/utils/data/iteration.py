"""What iterators of loaders are, wherever their batches are made."""


class _BaseDataLoaderIter:
    """One pass over a loader; ``isinstance`` tells such an iterator from a data set's own."""

    def __iter__(self):
        return self

    def __len__(self) -> int:
        return len(self._loader)
