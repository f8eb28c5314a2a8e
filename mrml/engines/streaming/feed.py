"""Text that Hadoop reads and feeds to the map tasks: which inputs it can be, and how a job asks for it.

Hadoop cuts a file at multiples of ``max(minsize, min(total / maps, HDFS block))`` bytes; a last split of up to 1.1 of
that stays whole.  With a ``minsize`` of some windows and more ``maps`` asked for than there are splits of it, every
split begins at a window whatever the HDFS block is, and a task can rebuild its blocks (:mod:`mrml.data.fed`).

Hadoop reads where the data lies, but line by line: 4,000,000 lines of 30 bytes cost two tasks on two cores 5 to 8 s a
round more than reading directly does, so it is not what a job does by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from mrml.data import sides
from mrml.data.dataset import Dataset
from mrml.data.fed import FedSplit
from mrml.data.formats import textfiles
from mrml.data.formats.lines import BOM
from mrml.data.windows import n_windows
from mrml.errors import ConfigError, EngineError

#: beginnings of files that are read side by side; once a run
_READERS = 8
#: what stands for itself in Hadoop's list of paths, which knows commas and patterns
_PLAIN = re.compile(r"hdfs://[\w.:/=+@~%-]+", re.ASCII)
#: endings by which Hadoop would decompress what mrml reads as it is
_CODECS = (".deflate", ".snappy", ".lz4", ".passthrough", ".lzo")


def obstacle(dataset: Dataset) -> str:
    """Why Hadoop cannot feed the rows of a Dataset; empty where it can."""
    format_ = dataset.schema.format
    if format_.name == "parquet":
        return "Parquet is read by columns"
    if any(c.role == "group" for c in dataset.columns):
        return "groups reach over the ends of splits"
    for file in dataset.files:
        if file.compression or file.path.lower().endswith(_CODECS):
            return f"{file.name} is compressed"
        if textfiles.in_order(file, format_):
            return "newlines may be quoted, so a file has no splits"
        if sides.side_columns(file, dataset.schema, dataset.roles):
            return f"{file.name} has a side file"
        if not _PLAIN.fullmatch(file.path):
            return f"{file.path} is not on HDFS, or has a name that Hadoop takes for a pattern"
    if len({urlsplit(f.path).path for f in dataset.files}) < len(dataset.files):
        return "two files have one path on different file systems"
    return ""


class Feed(NamedTuple):
    """The cut of a Dataset that Hadoop makes: splits of ``split_bytes``, a multiple of the window."""

    split_bytes: int
    n_splits: int
    n_bytes: int
    paths: tuple[str, ...]

    @staticmethod
    def of(dataset: Dataset, n_tasks: int, most: int) -> Feed:
        """Splits of at most ``most`` bytes where a window is no more, so that ``n_tasks`` get some.

        ConfigError where Hadoop cannot feed these rows.
        """
        if reason := obstacle(dataset):
            raise ConfigError("engine, feed", f"Hadoop cannot feed these rows: {reason}", "use --feed direct")
        each = Feed.cut(dataset.n_bytes, dataset.schema.window_bytes, n_tasks, most)
        paths = tuple(f.path for f in dataset.files)
        return Feed(each, sum(n_windows(f.size, each) for f in dataset.files), dataset.n_bytes, paths)

    @staticmethod
    def cut(n_bytes: int, window: int, n_tasks: int, most: int) -> int:
        """Bytes of a split: whole windows."""
        return n_windows(min(-(-n_bytes // n_tasks), most), window) * window

    def __str__(self) -> str:
        return f"Hadoop feeds {self.n_splits} splits of at most {self.split_bytes} bytes"

    def properties(self) -> dict[str, str]:
        """What the job is told; no line is too long for it."""
        return {
            "stream.map.input.ignoreKey": "false",
            "stream.map.input": "text",
            "stream.map.input.field.separator": "\t",
            "mapreduce.input.fileinputformat.split.minsize": str(self.split_bytes),
            "mapreduce.job.maps": str(self.n_bytes // self.split_bytes + 1),
            "mapreduce.input.linerecordreader.line.maxlength": str((1 << 31) - 1),
        }


def heads(dataset: Dataset) -> list[Any]:
    """(n,) uint8 for each file: the bytes of its beginning that every block needs, to travel with the task."""
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda file: textfiles.head(file, dataset.schema), dataset.files)
        return [np.frombuffer(head, np.uint8) for head in found]


def fed_split(dataset: Dataset, heads: list[Any], environment: Mapping[str, str]) -> tuple[int, bytes, FedSplit]:
    """The number of the file that a task's environment names, its head, and the split."""
    path = environment["mapreduce_map_input_file"]
    start, length = (int(environment[f"mapreduce_map_input_{word}"]) for word in ("start", "length"))
    for number, file in enumerate(dataset.files):
        if urlsplit(file.path).path == urlsplit(path).path:
            head = heads[number].tobytes()
            return number, head, FedSplit(start, length, file.size, dataset.schema.window_bytes, head.startswith(BOM))
    raise EngineError(path, "is not a file of this run, and Hadoop feeds it", "report this as a bug")
