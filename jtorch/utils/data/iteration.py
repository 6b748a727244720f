"""What iterators of loaders are, wherever their batches are made.

An iterator is made of a loader: a ``DataLoader``, or whatever has the attributes that PyTorch's iterators read
(``dataset``, ``collate_fn``, ``_dataset_kind``, ``_auto_collation``, ``_index_sampler``, ...). Libraries with loaders
of their own make iterators so.
"""


class _DatasetKind:
    """What a loader reads: samples by index, or a stream of them."""

    Map = 0
    Iterable = 1


class _BaseDataLoaderIter:
    """One pass over a loader; ``isinstance`` tells such an iterator from a data set's own."""

    def __iter__(self):
        return self

    def __len__(self) -> int:
        return len(self._loader)
