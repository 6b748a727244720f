"""Data pipes: what each step yields, one iterator at a time, shares and seeds, and loaders over them."""

import pickle

import pytest

import jtorch as torch
from jtorch.utils.data import DataChunk, DataLoader, IterDataPipe, MapDataPipe, functional_datapipe
from jtorch.utils.data.datapipes.iter import Collator, Demultiplexer, FileLister, IterableWrapper, Sampler
from jtorch.utils.data.datapipes.iter.sharding import SHARDING_PRIORITIES
from jtorch.utils.data.datapipes.map import SequenceWrapper
from jtorch.utils.data.graph import traverse_dps
from jtorch.utils.data.graph_settings import apply_random_seed, apply_sharding, get_all_graph_pipes


def numbers(n):
    return IterableWrapper(range(n))


def test_steps():
    assert list(numbers(6).map(lambda x: x * x).filter(lambda x: x % 2 == 0)) == [0, 4, 16]
    assert list(numbers(5).batch(2)) == [[0, 1], [2, 3], [4]]
    assert [len(numbers(5).batch(2)), len(numbers(5).batch(2, drop_last=True))] == [3, 2]
    assert list(numbers(5).batch(2).unbatch()) == list(range(5))
    assert list(IterableWrapper([[[1], [2]], [3]]).unbatch(unbatch_level=-1)) == [1, 2, 3]
    assert list(numbers(2).concat(numbers(3))) == [0, 1, 0, 1, 2]
    assert list(numbers(3).zip(numbers(2))) == [(0, 0), (1, 1)]
    assert list(numbers(3).mux(numbers(2))) == [0, 0, 1, 1]
    assert list(Sampler(numbers(3))) == [0, 1, 2]
    (batch,) = Collator(numbers(4).batch(4))
    assert batch.tolist() == [0, 1, 2, 3]
    with pytest.raises(IndexError, match="exceeds the depth"):
        list(numbers(3).batch(2).unbatch(unbatch_level=2))


def test_columns():
    pairs = IterableWrapper([(1, 2), (3, 4)])
    assert list(pairs.map(lambda x: x + 1, input_col=1)) == [(1, 3), (3, 5)]
    assert list(pairs.map(lambda a, b: a + b, input_col=[0, 1])) == [(3,), (7,)]
    assert list(pairs.map(lambda a, b: a + b, input_col=[0, 1], output_col=-1)) == [(1, 2, 3), (3, 4, 7)]
    assert list(pairs.filter(lambda x: x > 2, input_col=0)) == [(3, 4)]
    named = IterableWrapper([{"x": 1}])
    assert list(named.map(str, input_col="x", output_col="s")) == [{"x": 1, "s": "1"}]
    with pytest.raises(ValueError, match="2 argument"):
        pairs.map(lambda x: x, input_col=[0, 1])
    with pytest.raises(ValueError, match="Boolean output"):
        list(pairs.filter(lambda pair: 1))


def test_groups():
    words = IterableWrapper(["ax", "bx", "ay", "cz", "by"])
    assert list(words.groupby(lambda w: w[0])) == [["ax", "ay"], ["bx", "by"], ["cz"]]
    assert list(words.groupby(lambda w: w[0], group_size=2, keep_key=True))[0] == ("a", ["ax", "ay"])
    assert list(words.groupby(lambda w: w[0], buffer_size=3)) == [["ax", "ay"], ["bx", "by"], ["cz"]]
    with pytest.raises(RuntimeError, match="Failed to group"):
        list(words.groupby(lambda w: w, buffer_size=2, group_size=2))


def test_split():
    first, second = numbers(5).fork(2)
    assert [*zip(first, second, strict=True)] == [(i, i) for i in range(5)]
    assert list(first) == list(range(5)) == list(second)
    even, odd = numbers(5).demux(2, lambda x: x % 2)
    assert (list(even), list(odd)) == ([0, 2, 4], [1, 3])
    first, _ = numbers(5).fork(2, buffer_size=3)
    with pytest.raises(BufferError, match="insufficient"):
        list(first)
    with pytest.raises(ValueError, match="should be between 0 and 1"):
        list(Demultiplexer(numbers(5), 2, lambda x: x)[0])
    first, second = numbers(5).fork(2)
    ended = iter(first)
    next(ended), next(iter(second))
    with pytest.warns(UserWarning, match="not exhausted"):
        assert next(iter(first)) == 0
    with pytest.raises(RuntimeError, match="invalidated"):
        next(ended)


def test_one_iterator_at_a_time():
    pipe = numbers(4)
    first = iter(pipe)
    assert next(first) == 0
    assert list(pipe) == [0, 1, 2, 3]
    assert pipe._number_of_samples_yielded == 4
    with pytest.raises(RuntimeError, match="single iterator per IterDataPipe"):
        next(first)

    class Own(IterDataPipe):
        def __iter__(self):
            return self

        def reset(self):
            self.at = 0

        def __next__(self):
            if self.at == 3:
                raise StopIteration
            self.at += 1
            return self.at

    own = Own()
    assert list(own) == list(own) == [1, 2, 3]
    assert own._number_of_samples_yielded == 3


def test_own_step_becomes_a_method():
    @functional_datapipe("doubled_for_this_test")
    class Doubled(IterDataPipe):
        """Twice each."""

        def __init__(self, source):
            self.source = source

        def __iter__(self):
            for x in self.source:
                yield 2 * x

    assert list(numbers(3).doubled_for_this_test()) == [0, 2, 4]
    assert "doubled_for_this_test" in dir(numbers(1))
    with pytest.raises(Exception, match="already taken"):
        functional_datapipe("map")(Doubled)
    with pytest.raises(AttributeError, match="no attribute 'undoubled'"):
        numbers(1).undoubled  # noqa: B018
    assert repr(numbers(1)) == "IterableWrapperIterDataPipe"
    with pytest.raises(TypeError, match="valid length"):
        len(Doubled(numbers(3)).map(abs))


def test_shuffles_follow_the_seed():
    torch.manual_seed(0)
    pipe = numbers(20).shuffle()
    once, again = list(pipe), list(pipe)
    assert once != again and sorted(once) == list(range(20)) == sorted(again)
    torch.manual_seed(0)
    assert list(numbers(20).shuffle()) == once
    assert list(numbers(5).shuffle().set_shuffle(False)) == list(range(5))
    assert list(numbers(5).shuffle(buffer_size=1)) == list(range(5))
    apply_random_seed(pipe, torch.Generator().manual_seed(3))
    seeded = list(pipe)
    apply_random_seed(pipe, torch.Generator().manual_seed(3))
    assert list(pipe) == seeded


def test_shuffle_is_pytorchs():
    pytorch = pytest.importorskip("torch")
    from torch.utils.data.datapipes.iter import IterableWrapper as Theirs

    pytorch.manual_seed(5)
    torch.manual_seed(5)
    assert list(numbers(30).shuffle(buffer_size=7)) == list(Theirs(range(30)).shuffle(buffer_size=7))
    pytorch.manual_seed(5)
    torch.manual_seed(5)
    from torch.utils.data.datapipes.map import SequenceWrapper as TheirSequence

    assert list(SequenceWrapper(range(30)).shuffle()) == list(TheirSequence(range(30)).shuffle())
    pytorch.manual_seed(6)
    torch.manual_seed(6)
    theirs = pytorch.utils.data.DataLoader(Theirs(range(12)).shuffle(), batch_size=4, shuffle=True)
    ours = DataLoader(numbers(12).shuffle(), batch_size=4, shuffle=True)
    assert [b.tolist() for _ in range(2) for b in ours] == [b.tolist() for _ in range(2) for b in theirs]


def test_shares_and_graph():
    pipe = numbers(10).map(abs).sharding_filter()
    apply_sharding(pipe, 3, 1)
    assert list(pipe) == [1, 4, 7] and len(pipe) == 3
    pipe = numbers(12).sharding_filter()
    apply_sharding(pipe, 2, 1, SHARDING_PRIORITIES.DISTRIBUTED)
    apply_sharding(pipe, 3, 2, SHARDING_PRIORITIES.MULTIPROCESSING)
    assert list(pipe) == [5, 11]
    with pytest.raises(RuntimeError, match="cannot mix"):
        apply_sharding(pipe, 2, 0)
    with pytest.raises(RuntimeError, match="Sharding twice"):
        apply_sharding(numbers(3).sharding_filter().sharding_filter(), 2, 0)
    source = numbers(3)
    left, right = source.fork(2)
    graph = traverse_dps(left.zip(right))
    assert source in get_all_graph_pipes(graph) and len(get_all_graph_pipes(graph)) == 5
    with pytest.raises(RuntimeError, match="Expected `IterDataPipe` or `MapDataPipe`"):
        traverse_dps(3)


def test_map_pipes():
    pipe = SequenceWrapper([3, 1, 2])
    assert list(pipe.map(lambda x: x + 1)) == [4, 2, 3]
    assert list(pipe.concat(SequenceWrapper([9]))) == [3, 1, 2, 9]
    assert list(pipe.zip(pipe))[1] == (1, 1)
    assert list(pipe.batch(2)) == [[3, 1], [2]] and len(pipe.batch(2)) == 2
    assert sorted(pipe.shuffle()) == [1, 2, 3]
    assert isinstance(pipe, MapDataPipe) and isinstance(pipe.batch(2)[0], DataChunk)
    with pytest.raises(IndexError, match="out of range"):
        pipe.concat(pipe)[6]


def test_files(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.txt", "c.bin", "sub/d.txt"):
        (tmp_path / name).write_text(name)
    found = FileLister(str(tmp_path), "*.txt", recursive=True)
    assert [path.removeprefix(f"{tmp_path}/") for path in found] == ["a.txt", "b.txt", "sub/d.txt"]
    read = FileLister(str(tmp_path), ["*.bin"]).open_files("b").read_from_stream(2)
    assert [data for _, data in read] == [b"c.", b"bi", b"n"]


def test_pickled():
    for pipe in (
        numbers(6).shuffle().batch(2),
        numbers(6).fork(2)[1],
        numbers(6).groupby(abs),
        numbers(6).mux(numbers(6)),
    ):
        copy = pickle.loads(pickle.dumps(pipe))
        torch.manual_seed(1)
        expected = list(pipe)
        torch.manual_seed(1)
        assert list(copy) == expected


def test_loaders():
    pipe = numbers(10).map(float).sharding_filter()
    assert [b.tolist() for b in DataLoader(pipe, batch_size=5)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert len(DataLoader(pipe, batch_size=4)) == 3
    assert [b.tolist() for b in DataLoader(SequenceWrapper(range(4)), batch_size=2)] == [[0, 1], [2, 3]]
    with pytest.warns(UserWarning, match="Adding one at the end"):
        loader = DataLoader(numbers(8), batch_size=8, shuffle=True)
    (batch,) = loader
    assert sorted(batch.tolist()) == list(range(8))
    unknown = DataLoader(numbers(4).filter(lambda x: True), batch_size=2)
    assert len(list(unknown)) == 2
    with pytest.raises(TypeError):
        len(unknown)


def test_workers_share():
    pipe = numbers(10).shuffle().sharding_filter()
    loader = DataLoader(pipe, batch_size=None, num_workers=2, shuffle=True, persistent_workers=True)
    first, second = [int(x) for x in loader], [int(x) for x in loader]
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
