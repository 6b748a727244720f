"""Data sets, samplers and the loader: the same batches as PyTorch's for the same seed, in value and in order."""

import collections
import importlib
import pickle

import numpy as np
import pytest

import jtorch
from jtorch.utils import data

from .both import check

try:
    import torch
    import torch.utils.data
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; it is the reference here")


class Squares:
    """A map-style data set that works with both libraries."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i, float(i * i)


def stream(n):
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(n))

    return Stream()


def plain(x):
    """Batches of either library as nested lists."""
    if hasattr(x, "tolist"):
        return x.tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return x


# --- the same order as PyTorch's -----------------------------------------------------------------------------------

ORDERS = {
    "shuffle": lambda d, s, g: d.DataLoader(Squares(10), 3, shuffle=True, generator=g),
    "shuffle, drop_last": lambda d, s, g: d.DataLoader(Squares(10), 3, shuffle=True, drop_last=True, generator=g),
    "no shuffle": lambda d, s, g: d.DataLoader(Squares(10), 4, generator=g),
    "replacement": lambda d, s, g: d.DataLoader(
        Squares(7), 4, sampler=d.RandomSampler(s, replacement=True, num_samples=70, generator=g), generator=g
    ),
    "more than all": lambda d, s, g: d.DataLoader(Squares(7), 4, sampler=d.RandomSampler(s, num_samples=17)),
    "subset": lambda d, s, g: d.DataLoader(Squares(9), 2, sampler=d.SubsetRandomSampler([1, 3, 5, 8], generator=g)),
    "weighted": lambda d, s, g: d.DataLoader(
        Squares(4), 2, sampler=d.WeightedRandomSampler([0.1, 2, 3, 0.5], 9, generator=g)
    ),
    "weighted, each once": lambda d, s, g: d.DataLoader(
        Squares(4), 2, sampler=d.WeightedRandomSampler([0.1, 2, 3, 0.5], 3, replacement=False)
    ),
    "batch_sampler": lambda d, s, g: d.DataLoader(
        Squares(7), batch_sampler=d.BatchSampler(d.RandomSampler(s, generator=g), 3, True)
    ),
    "no batches": lambda d, s, g: d.DataLoader(Squares(5), batch_size=None, shuffle=True, generator=g),
}


@needs_torch
@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("name", ORDERS)
def test_order_and_generator_state_equal_pytorchs(name, own_generator):
    """Two whole passes, one broken off, one more, draws in between: then the generators stand at the same place."""
    results = []
    for lib, module in ((jtorch, data), (torch, torch.utils.data if torch else None)):
        lib.manual_seed(5)
        generator = lib.Generator().manual_seed(9) if own_generator else None
        loader = ORDERS[name](module, range(7), generator)
        seen = [plain(list(loader)), plain(list(loader)), plain(next(iter(loader))), lib.rand(2).tolist()]
        seen.append(plain(list(loader)))
        state = lib.get_rng_state() if generator is None else generator.get_state()
        results.append((seen, state.tolist(), lib.rand(3).tolist()))
    assert results[0] == results[1]


@needs_torch
def test_draws_are_lazy():
    """A sampler's draws come when it is advanced, not when it is made."""
    results = []
    for lib, module in ((jtorch, data), (torch, torch.utils.data)):
        g = lib.Generator().manual_seed(1)
        iterator = iter(module.DataLoader(Squares(5), 2, shuffle=True, generator=g))
        states = [g.get_state().tolist()]
        for _ in iterator:
            states.append(g.get_state().tolist())
        states.append(g.get_state().tolist())
        results.append(states)
    assert results[0] == results[1]


@needs_torch
@pytest.mark.parametrize("lengths", [[3, 7], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25], [10]])
def test_random_split_equals_pytorchs(lengths):
    ours = data.random_split(range(10), lengths, jtorch.Generator().manual_seed(4))
    theirs = torch.utils.data.random_split(range(10), lengths, torch.Generator().manual_seed(4))
    assert [list(part.indices) for part in ours] == [list(part.indices) for part in theirs]
    jtorch.manual_seed(3)
    torch.manual_seed(3)
    ours, theirs = data.random_split(range(10), lengths), torch.utils.data.random_split(range(10), lengths)
    assert [list(part) for part in ours] == [list(part) for part in theirs]


def test_random_split_errors():
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        data.random_split(range(10), [3, 3])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        data.random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(2), [0.9, 0.1])


# --- data sets -----------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    x, y = jtorch.arange(12).reshape(6, 2), jtorch.arange(6).float()
    dataset = data.TensorDataset(x, y)
    assert (
        len(dataset) == 6 and plain(dataset[2]) == [[4, 5], 2.0] and plain(dataset[1:3]) == [[[2, 3], [4, 5]], [1, 2]]
    )
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        data.TensorDataset(x, y[:3])


@pytest.mark.parametrize("wrap", ["whole", "subset", "split"])
def test_loading_tensors_in_one_step_gives_what_loading_rows_gives(wrap):
    x = jtorch.arange(24, dtype=jtorch.float32).reshape(12, 2)
    dataset = data.TensorDataset(x, x[:, 0].to(jtorch.int64))
    if wrap == "subset":
        dataset = data.Subset(dataset, [3, 3, 1, 11, 0, -1])
    if wrap == "split":
        dataset = data.random_split(dataset, [0.5, 0.5], jtorch.Generator().manual_seed(0))[1]
    quick = list(data.DataLoader(dataset, 4))
    slow = list(data.DataLoader(dataset, 4, collate_fn=lambda samples: data.default_collate(samples)))
    assert plain(quick) == plain(slow)
    assert [(b.dtype, tuple(b.shape)) for batch in quick for b in batch] == [
        (b.dtype, tuple(b.shape)) for batch in slow for b in batch
    ]


def test_a_tensor_dataset_sees_writes_and_pending_values():
    x = jtorch.zeros(4)
    loader = data.DataLoader(data.TensorDataset(x), 2)
    x[1] = 5.0
    assert plain(list(loader)) == [[[0, 5]], [[0, 0]]]
    x += 1
    assert plain(list(loader)) == [[[1, 6]], [[1, 1]]]


def test_a_tensor_serves_as_a_data_set():
    x = jtorch.arange(10).reshape(5, 2)
    assert plain(list(data.DataLoader(x, 2))) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert plain(list(data.DataLoader(data.Subset(x, [4, 0]), 2))) == [[[8, 9], [0, 1]]]


def test_subclasses_of_tensor_dataset_are_asked():
    class Doubled(data.TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * t for t in super().__getitem__(index))

    assert plain(list(data.DataLoader(Doubled(jtorch.arange(4)), 4))) == [[[0, 2, 4, 6]]]


def test_concat_chain_stack_subset():
    joined = Dataset10() + Dataset10(100)
    assert isinstance(joined, data.ConcatDataset)
    assert len(joined) == 20 and joined[3] == 3 and joined[13] == 103 and joined[-1] == 109
    with pytest.raises(ValueError, match="should not exceed dataset length"):
        joined[-21]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        data.ConcatDataset([stream(3)])
    assert list(stream(2) + stream(3)) == [0, 1, 0, 1, 2]
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(data.ChainDataset([Dataset10()]))
    assert data.StackDataset(Dataset10(), Dataset10(100))[4] == (4, 104)
    named = data.StackDataset(a=Dataset10(), b=data.Subset(Dataset10(100), [5] * 10))
    assert named[4] == {"a": 4, "b": 105} and named.__getitems__([1, 2]) == [{"a": 1, "b": 105}, {"a": 2, "b": 105}]
    for bad, text in (((), "At least one"), ((Dataset10(), [1]), "Size mismatch")):
        with pytest.raises(ValueError, match=text):
            data.StackDataset(*bad)
    with pytest.raises(ValueError, match="both types are given"):
        data.StackDataset(Dataset10(), a=Dataset10())
    assert [data.Subset(Dataset10(), [4, 2])[i] for i in range(2)] == [4, 2]


class Dataset10(data.Dataset):
    def __init__(self, start=0):
        self.start = start

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return self.start + range(10)[i]


def test_getitems_is_used_and_checked():
    class Whole(Dataset10):
        def __getitems__(self, indices):
            return [-i for i in indices]

    class Short(Dataset10):
        def __getitems__(self, indices):
            return []

    class Odd(data.Subset):
        def __getitem__(self, i):
            return 0

    assert plain(next(iter(data.DataLoader(Whole(), 3)))) == [0, -1, -2]
    with pytest.raises(ValueError, match="Expected 2, got 0"):
        data.StackDataset(Short()).__getitems__([1, 2])
    with pytest.raises(NotImplementedError, match="Odd overrides __getitem__ but not __getitems__"):
        next(iter(data.DataLoader(Odd(Dataset10(), [1, 2]), 2)))


def test_dataset_without_getitem():
    with pytest.raises(NotImplementedError, match="should implement __getitem__"):
        data.Dataset()[0]


# --- streams -------------------------------------------------------------------------------------------------------


def test_streams():
    assert plain(list(data.DataLoader(stream(5), 2))) == [[0, 1], [2, 3], [4]]
    assert plain(list(data.DataLoader(stream(5), 2, drop_last=True))) == [[0, 1], [2, 3]]
    assert list(data.DataLoader(stream(3), batch_size=None)) == [0, 1, 2]
    with pytest.raises(TypeError):
        len(data.DataLoader(stream(5), 2))


class Stream:
    """A stream of ten that says it is shorter."""

    def __init__(self, length: int):
        self.length = length

    def __iter__(self):
        return iter(range(10))

    def __len__(self):
        return self.length


@pytest.mark.parametrize("lib", [jtorch, pytest.param(torch, marks=needs_torch)], ids=["jtorch", "torch"])
def test_a_stream_longer_than_it_said(lib):
    data = lib.utils.data

    def batches(length: int, asked: bool) -> int:
        loader = data.DataLoader(type("S", (Stream, data.IterableDataset), {})(length), batch_size=2)
        if asked:
            len(loader)
        return sum(1 for _ in loader)

    assert batches(1, asked=False) == batches(5, asked=True) == 5  # no more batches than elements were announced
    with pytest.warns(UserWarning, match="was reported to be 4"):
        batches(4, asked=True)


# --- collation -----------------------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")

BATCHES = {
    "ints": lambda t: [1, 2],
    "floats": lambda t: [1.0, 2.5],
    "bools": lambda t: [True, False],
    "strings": lambda t: ["a", "b"],
    "tensors": lambda t: [t.tensor([1.0, 2.0]), t.tensor([3.0, 4.0])],
    "scalars": lambda t: [t.tensor(1), t.tensor(2)],
    "half": lambda t: [t.tensor([1.0], dtype=t.bfloat16), t.tensor([3.0], dtype=t.bfloat16)],
    "arrays": lambda t: [np.array([1, 2], "int32"), np.array([3, 4], "int32")],
    "numpy scalars": lambda t: [np.float32(1.5), np.float32(2.5)],
    "numpy bools": lambda t: [np.bool_(True), np.bool_(False)],
    "tuples": lambda t: [(1, "a", t.tensor([1.0])), (2, "b", t.tensor([2.0]))],
    "dicts": lambda t: [{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": [3.0, 4.0]}],
    "ordered": lambda t: [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "named": lambda t: [Point(1, 2.0), Point(3, 4.0)],
    "empty": lambda t: [(), ()],
}


def described(x):
    """Types, dtypes, shapes and values."""
    if hasattr(x, "dtype"):
        return str(x.dtype), tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x), [(k, described(v)) for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return type(x), [described(v) for v in x]
    return x


@needs_torch
@pytest.mark.parametrize("name", BATCHES)
def test_default_collate_equals_pytorchs(name):
    ours = data.default_collate(BATCHES[name](jtorch))
    theirs = torch.utils.data.default_collate(BATCHES[name](torch))
    assert described(ours) == described(theirs)


@needs_torch
@pytest.mark.parametrize("name", BATCHES)
def test_default_convert_equals_pytorchs(name):
    ours = data.default_convert(BATCHES[name](jtorch))
    theirs = torch.utils.data.default_convert(BATCHES[name](torch))
    assert described(ours) == described(theirs)


def _collated_by_a_map(torch):
    names = importlib.import_module(f"{torch.__name__}.utils.data._utils.collate")

    class Box:
        def __init__(self, x):
            self.x = x

    def boxes(batch, *, collate_fn_map=None):
        return [names.collate([b.x for b in batch], collate_fn_map=collate_fn_map), len(batch)]

    fewer = {int: names.collate_int_fn, (str, bytes): lambda batch, *, collate_fn_map=None: "".join(batch), Box: boxes}
    found = names.collate([{"a": Box(1), "s": "x"}, {"a": Box(2), "s": "y"}], collate_fn_map=fewer)
    names.default_collate_fn_map[Box] = boxes
    try:
        return found, names.default_collate([Box(torch.ones(2)), Box(torch.zeros(2))])
    finally:
        del names.default_collate_fn_map[Box]


def test_collating_by_a_map_of_types():
    ours = _collated_by_a_map(jtorch)
    assert ours[0]["s"] == "xy" and ours[0]["a"][0].tolist() == [1, 2] and ours[1][0].shape == (2, 2)
    torch = pytest.importorskip("torch")
    assert described(ours) == described(_collated_by_a_map(torch))
    with pytest.raises(TypeError, match="must contain"):
        data._utils.collate.collate([1.0], collate_fn_map={})


def test_collating_pending_tensors_and_gradients():
    x = jtorch.ones(2, requires_grad=True)
    batch = data.default_collate([x * 2, x * 3])
    assert batch.tolist() == [[2, 2], [3, 3]]
    batch.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_collate_errors():
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        data.default_collate([jtorch.zeros(2), jtorch.zeros(3)])
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        data.default_collate([[1, 2], [1]])
    with pytest.raises(TypeError, match="found <class 'object'>"):
        data.default_collate([object()])
    with pytest.raises(TypeError, match="batch must contain tensors"):
        data.default_collate([np.array(["a"])])


def test_collated_tensors_are_not_views_of_the_samples():
    sample = jtorch.zeros(2)
    batch = data.default_collate([sample, sample])
    batch += 1
    assert sample.tolist() == [0, 0] and batch.tolist() == [[1, 1], [1, 1]]


# --- the loader's options ------------------------------------------------------------------------------------------


def test_lengths():
    assert len(data.DataLoader(Squares(10), 3)) == 4
    assert len(data.DataLoader(Squares(10), 3, drop_last=True)) == 3
    assert len(data.DataLoader(Squares(10), None)) == 10
    iterator = iter(data.DataLoader(Squares(10), 3))
    assert len(iterator) == 4 and iter(iterator) is iterator


def test_attributes():
    loader = data.DataLoader(Squares(10), 3, pin_memory=True, worker_init_fn=print)
    assert isinstance(loader.sampler, data.SequentialSampler) and isinstance(loader.batch_sampler, data.BatchSampler)
    assert loader.batch_size == 3 and loader.num_workers == 0 and loader.dataset.n == 10 and not loader.drop_last
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader is initialized"):
        loader.batch_size = 4
    loader.collate_fn = len
    assert next(iter(loader)) == 3
    assert data.get_worker_info() is None
    assert len(pickle.loads(pickle.dumps(data.DataLoader(Squares(10), 3)))) == 4


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"num_workers": 2, "prefetch_factor": -1}, ValueError, "prefetch_factor option should be non-negative"),
        ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
        ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in multiprocessing"),
        ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
        ({"multiprocessing_context": "spawn"}, ValueError, "multi-process loading"),
        ({"sampler": [1], "shuffle": True}, ValueError, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, ValueError, "batch_size should be a positive integer value, but got batch_size=0"),
        ({"drop_last": 1}, ValueError, "drop_last should be a boolean value, but got drop_last=1"),
    ],
)
def test_loader_errors(options, error, text):
    with pytest.raises(error, match=text):
        data.DataLoader(Squares(4), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_stream_loader_errors(options):
    with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
        data.DataLoader(stream(3), **options)


def test_sampler_errors():
    with pytest.raises(TypeError, match="replacement should be a boolean value"):
        data.RandomSampler(range(3), replacement=1)
    for n in (0, -1, 2.0):
        with pytest.raises(ValueError, match="num_samples should be a positive integer value"):
            data.RandomSampler(range(3), num_samples=n)
    with pytest.raises(ValueError, match="num_samples=0"):
        data.DataLoader([], shuffle=True)
    with pytest.raises(ValueError, match="weights should be a 1d sequence"):
        data.WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(ValueError, match="num_samples should be a positive integer value"):
        data.WeightedRandomSampler([1.0], True)
    with pytest.raises(NotImplementedError):
        iter(data.Sampler())


def test_an_index_out_of_range():
    loader = data.DataLoader(data.TensorDataset(jtorch.arange(4)), batch_sampler=[[0, 4]])
    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 0 with size 4"):
        next(iter(loader))


def test_timeout_needs_workers():
    with pytest.raises(AssertionError, match="timeout"):
        iter(data.DataLoader(Squares(4), timeout=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_iterators_of_loaders_of_ones_own(workers):
    """A library's loader need not be a ``DataLoader``: it has the attributes that iterators read."""
    module = importlib.import_module("jtorch.utils.data.dataloader")

    class Loader(data.IterableDataset):
        _auto_collation, drop_last, in_order, pin_memory, timeout = False, False, True, False, 0
        _dataset_kind, generator, prefetch_factor, persistent_workers = module._DatasetKind.Iterable, None, 2, False
        worker_init_fn = multiprocessing_context = None
        num_workers, _index_sampler = workers, module._InfiniteConstantSampler()
        dataset = property(lambda self: self)

        def collate_fn(self, x):
            return x * 2

        def __iter__(self):
            return iter([jtorch.ones(2), jtorch.zeros(1)])

    make = module._MultiProcessingDataLoaderIter if workers else module._SingleProcessDataLoaderIter
    expected = [[2.0, 2.0], [0.0]]
    assert sorted(x.tolist() for x in make(Loader())) == sorted(expected * max(workers, 1))


def test_kinds_of_data_sets():
    module = importlib.import_module("jtorch.utils.data.dataloader")
    loader = data.DataLoader([1, 2, 3], batch_size=2)
    assert loader._dataset_kind == module._DatasetKind.Map and list(loader._index_sampler) == [[0, 1], [2]]


def test_what_libraries_take_from_utils():
    def program(torch):
        utils = torch.utils.data._utils
        batch = utils.collate.default_collate([{"a": 1, "b": (torch.ones(2), "x")}] * 2)
        return batch, utils.MP_STATUS_CHECK_INTERVAL

    check(program)
    sample = [jtorch.zeros(1), {"k": jtorch.ones(1)}, "text", 3, (1,)]
    pinned = data._utils.pin_memory.pin_memory(sample)
    assert pinned == sample and type(pinned[4]) is tuple
