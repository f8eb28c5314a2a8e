"""Which tasks are near to which splits: a split goes to a task on a host that holds its rows, where that is known.

Nothing depends on it but seconds.  A host is what either side calls it: a task its name, YARN's name of its node and
the address by which it came, HDFS the names and addresses of its DataNodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mrml.data.dataset import Dataset, Split

#: the hosts that hold a split, none where that is not known
Hosts = frozenset[str]


class Held(NamedTuple):
    """Bytes ``start`` to ``stop`` of a file, and the hosts that hold them."""

    start: int
    stop: int
    hosts: Hosts


def called(names: Iterable[object]) -> Hosts:
    """A host by all of its names: whole, and without its domain."""
    found = {str(name).lower() for name in names if name}
    return frozenset(found | {name.partition(".")[0] for name in found if not name.replace(".", "").isdigit()})


def holders(dataset: Dataset, splits: Sequence[Split], held: Sequence[Sequence[Held]]) -> list[Hosts]:
    """Of every split, the hosts that hold at least half as much of it as the one that holds most; ``held`` by file,
    in order."""
    return [_holders(dataset, split, held) for split in splits]


def _holders(dataset: Dataset, split: Split, held: Sequence[Sequence[Held]]) -> Hosts:
    found: Counter[str] = Counter()
    for part in split:
        file = dataset.files[part.file]
        each = file.size / max(file.n_blocks or 1, 1)  # of Parquet about: its row groups are alike
        start, stop = part.first * each, file.size if part.stop is None else part.stop * each
        pieces = held[part.file]
        for piece in pieces[bisect_right(pieces, start, key=lambda p: p.stop) :]:
            if piece.start >= stop:
                break
            found.update(dict.fromkeys(piece.hosts, int(min(stop, piece.stop) - max(start, piece.start))))
    most = max(found.values(), default=0)
    return frozenset(host for host, n_bytes in found.items() if n_bytes and 2 * n_bytes >= most)


def deal(owners: dict[int, int], near: Sequence[Hosts], tasks: dict[int, Hosts], share: int) -> None:
    """Give splits to tasks that are near to them, up to a fair share each; those that have an owner stay with it.

    ``owners`` is filled: the number of a task by that of a split.  ``tasks`` are the hosts of the tasks that are there.
    """
    counts = Counter(owners.values())
    for split, hosts in enumerate(near):
        if split in owners:
            continue
        there = [n for n, host in tasks.items() if counts[n] < share and host & hosts]
        if there:
            owner = min(there, key=lambda n: (counts[n], n))
            owners[split] = owner
            counts[owner] += 1
