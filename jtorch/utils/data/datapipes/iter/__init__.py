"""Pipes over streams. Each is a class, and most are a method of every stream too."""

from jtorch.utils.data.datapipes.iter.combinatorics import SamplerIterDataPipe as Sampler
from jtorch.utils.data.datapipes.iter.combinatorics import ShufflerIterDataPipe as Shuffler
from jtorch.utils.data.datapipes.iter.combining import ConcaterIterDataPipe as Concater
from jtorch.utils.data.datapipes.iter.combining import MultiplexerIterDataPipe as Multiplexer
from jtorch.utils.data.datapipes.iter.combining import ZipperIterDataPipe as Zipper
from jtorch.utils.data.datapipes.iter.files import FileListerIterDataPipe as FileLister
from jtorch.utils.data.datapipes.iter.files import FileOpenerIterDataPipe as FileOpener
from jtorch.utils.data.datapipes.iter.files import StreamReaderIterDataPipe as StreamReader
from jtorch.utils.data.datapipes.iter.grouping import BatcherIterDataPipe as Batcher
from jtorch.utils.data.datapipes.iter.grouping import GrouperIterDataPipe as Grouper
from jtorch.utils.data.datapipes.iter.grouping import UnBatcherIterDataPipe as UnBatcher
from jtorch.utils.data.datapipes.iter.samples import CollatorIterDataPipe as Collator
from jtorch.utils.data.datapipes.iter.samples import FilterIterDataPipe as Filter
from jtorch.utils.data.datapipes.iter.samples import IterableWrapperIterDataPipe as IterableWrapper
from jtorch.utils.data.datapipes.iter.samples import MapperIterDataPipe as Mapper
from jtorch.utils.data.datapipes.iter.sharding import ShardingFilterIterDataPipe as ShardingFilter
from jtorch.utils.data.datapipes.iter.splitting import DemultiplexerIterDataPipe as Demultiplexer
from jtorch.utils.data.datapipes.iter.splitting import ForkerIterDataPipe as Forker

__all__ = [
    "Batcher",
    "Collator",
    "Concater",
    "Demultiplexer",
    "FileLister",
    "FileOpener",
    "Filter",
    "Forker",
    "Grouper",
    "IterableWrapper",
    "Mapper",
    "Multiplexer",
    "Sampler",
    "ShardingFilter",
    "Shuffler",
    "StreamReader",
    "UnBatcher",
    "Zipper",
]
