"""Blocks and their memos kept as memory-mapped arrays, so that a file is decoded once and a round costs no parsing.

Floor 2, NumPy and the standard library.  One directory belongs to one Dataset (the engine that makes it sees to
that); ``FILE/BLOCK.NAME`` is one message::

    b"MRMLBLK1" | header length u32 LE | crc32 of the header u32 LE | header, JSON | arrays, each at a multiple of 64

Written aside and renamed: a reader sees all of a message or none.  The checksum covers the header, and the header
says how long the file is; the arrays are not summed, because a block of 7 MB is read in 0.1 ms as a map and in 5 ms
with its checksum, and what is kept here never outlives the machine it lies on.  What is missing, cut short or not
understood reads as absent, and whoever asked computes it again.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded, Update

if TYPE_CHECKING:
    from mrml.data.dataset import Dataset, Range

MAGIC = b"MRMLBLK1"
ALIGN = 64
_HEAD = struct.Struct("<8sII")
#: Maps that stay open, the least recently used closed first: at 8 MB each, 1 GB of pages that the kernel may reclaim.
MAPS = 128
#: Volatile memos that a process keeps, the least recently used dropped first.
VOLATILE_BYTES = 256 << 20
#: What blocks and memos leave free of the disk: large statistics and states go through files of the same folder.
RESERVE_BYTES = 64 << 20
#: the array of a memo that holds its version, and the version of one that is being changed
_VERSION, _CHANGING = ".version", -1
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ARRAYS = ("rows", "X", "y", "weight", "offset", "group", "id", "center", "scale", "time")
_PLAIN = ("file", "index", "part", "n_records", "n_bad", "problems")


class DirectoryStore:
    """Keeps blocks and memos below a directory, for as many processes as like to share it.

    ``alone``: no two of them work on a block at the same time, so that memos may be changed in place.
    """

    def __init__(self, path: str | os.PathLike[str], alone: bool = False) -> None:
        self.path, self.alone = Path(path), alone
        self._made: set[int] = set()
        self._targets: dict[tuple[int, int, str], Path] = {}
        self._maps: OrderedDict[tuple[int, int, str, int], _Map] = OrderedDict()
        self.volatile = Volatile()

    def block_memo(self, file: int, index: int) -> DirectoryMemo:
        """The memo of a block."""
        return DirectoryMemo(self, file, index)

    def put_block(self, block: Block) -> None:
        """Keep a block; its own store is not kept with it."""
        arrays: dict[str, Array] = {}
        shapes = {name: _flatten(name, getattr(block, name), arrays) for name in _ARRAYS}
        shapes["coded"] = [[name, _flatten(f"coded.{name}", c, arrays)] for name, c in block.coded.items()]
        plain = {name: getattr(block, name) for name in _PLAIN}
        self._write(block.file, block.index, "block", {"plain": plain, "shapes": shapes}, arrays)

    def get_block(self, file: int, index: int) -> Block | None:
        """The block as it was put, its arrays read-only views of a map, its ``store`` this one's memo."""
        found = self._map(file, index, "block")
        if found is None:
            return None
        if found.block is None:
            found.block = self._revived(file, index, *found.content)
        return found.block

    def _revived(self, file: int, index: int, meta: dict[str, Any], arrays: dict[str, Array]) -> Block:
        plain, shapes = meta["plain"], meta["shapes"]
        return Block(
            **{**plain, "problems": tuple(plain["problems"])},
            **{name: _revive(name, shapes[name], arrays) for name in _ARRAYS},
            coded={name: _revive(f"coded.{name}", shape, arrays) for name, shape in shapes["coded"]},
            store=self.block_memo(file, index),
        )

    def n_blocks(self, file: int) -> int | None:
        """How many blocks a file has, once somebody has read it to its end and said so."""
        found = self._read(file, 0, "n_blocks")
        return None if found is None else int(found[0]["n_blocks"])

    def put_n_blocks(self, file: int, n_blocks: int) -> None:
        """Say how many blocks a file has."""
        self._write(file, 0, "n_blocks", {"n_blocks": n_blocks}, {})

    def blocks(self, dataset: Dataset, range: Range) -> Iterator[Block]:
        """The blocks of a range, decoded at most once: kept ones from here, the others from the files."""
        file, index, stop = range
        end = self.n_blocks(file) if stop is None else stop
        while (end is None or index < end) and (block := self.get_block(file, index)):
            yield block
            index += 1
        if end is not None and index >= end:
            return
        for block in dataset.read(range._replace(first=index)):
            self.put_block(block)
            yield replace(block, store=self.block_memo(file, block.index))
            index += 1
        if stop is None:
            self.put_n_blocks(file, index)

    def _target(self, file: int, index: int, name: str) -> Path:
        """Remembered: to put a path together takes 15 us, and each block of a round asks for four."""
        found = self._targets.get((file, index, name))
        if found is None:
            found = self.path / f"{file:06d}" / f"{index:07d}.{quote(name, safe='')}"
            if len(self._targets) >= 8 * MAPS:  # names of other runs, or of more blocks than stay open
                self._targets.clear()
            self._targets[file, index, name] = found
        return found

    def _write(self, file: int, index: int, name: str, meta: dict[str, Any], arrays: dict[str, Array]) -> None:
        target = self._target(file, index, name)
        if not self._has_room(sum(a.nbytes for a in arrays.values())):
            return
        aside = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if file not in self._made:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(file)
            write_arrays(aside, meta, arrays)
            os.replace(aside, target)
            for access in (mmap.ACCESS_READ, mmap.ACCESS_WRITE):
                self._maps.pop((file, index, name, access), None)
        except OSError as error:
            aside.unlink(missing_ok=True)
            if error.errno not in _FULL:  # a full disk costs speed, not the run
                raise

    def _has_room(self, n_bytes: int) -> bool:
        """Whether the disk keeps its reserve, for messages without which a round does not end."""
        try:
            there = os.statvfs(self.path if self.path.exists() else self.path.parent)
        except OSError:
            return True
        return there.f_bavail * there.f_frsize - n_bytes >= RESERVE_BYTES

    def _read(
        self, file: int, index: int, name: str, access: int = mmap.ACCESS_READ
    ) -> tuple[dict[str, Any], dict[str, Array]] | None:
        found = self._map(file, index, name, access)
        return None if found is None else found.content

    def _map(self, file: int, index: int, name: str, access: int = mmap.ACCESS_READ) -> _Map | None:
        """The open map where the file is still the same: mapping 224 MB anew costs 20 ms a round."""
        target, key = self._target(file, index, name), (file, index, name, access)
        kept = self._maps.get(key)
        if kept is not None and self.alone:  # a version that another process wrote since is no more right than this one
            self._maps.move_to_end(key)
            return kept
        try:
            inode = os.stat(target).st_ino
        except OSError:
            return None
        if kept is not None and kept.inode == inode:
            self._maps.move_to_end(key)
            return kept
        content = read_arrays(target, access)
        if content is None:
            return None
        self._maps[key] = kept = _Map(inode, content)
        while len(self._maps) > MAPS:
            self._maps.popitem(last=False)
        return kept


@dataclass
class _Map:
    """An open map: the file it was made of, what :func:`read_arrays` gave, and the Block that this is, once asked."""

    inode: int
    content: tuple[dict[str, Any], dict[str, Array]]
    block: Block | None = None


class DirectoryMemo:
    """The memo (:class:`mrml.data.block.Memo`) of one block in a :class:`DirectoryStore`."""

    def __init__(self, store: DirectoryStore, file: int, index: int) -> None:
        self._store, self._file, self._index = store, file, index

    def get(self, name: str) -> tuple[int, dict[str, Array]] | None:
        if (kept := self._store.volatile.get((self._file, self._index, name))) is not None:
            return kept
        found = self._store._read(self._file, self._index, f"memo.{name}")
        if found is None or (version := int(found[1][_VERSION][0])) == _CHANGING:
            return None
        return version, {k: a for k, a in found[1].items() if k != _VERSION}

    def put(self, name: str, version: int, arrays: dict[str, Array], volatile: bool = False) -> None:
        if volatile:
            self._store.volatile.put((self._file, self._index, name), version, arrays)
        else:
            arrays = {_VERSION: np.array([version]), **arrays}
            self._store._write(self._file, self._index, f"memo.{name}", {}, arrays)

    def change(self, name: str, version: int, update: Update) -> dict[str, Array] | None:
        """Bring the arrays to a version in place: 2 ms for 16 MB that take 20 to write anew.

        Whoever is killed meanwhile leaves a memo without a version, which is absent.
        """
        found = None
        if self._store.alone:
            found = self._store._read(self._file, self._index, f"memo.{name}", mmap.ACCESS_WRITE)
        if found is None:
            return None
        arrays = dict(found[1])
        kept = arrays.pop(_VERSION)
        if kept[0] == version:
            return arrays
        if kept[0] == _CHANGING or kept[0] > version:
            return None
        before, kept[0] = int(kept[0]), _CHANGING
        update(before, arrays)
        kept[0] = version
        return arrays


class Volatile:
    """Memos in memory, up to a number of bytes: what does not fit any more is computed again."""

    def __init__(self, limit: int = VOLATILE_BYTES) -> None:
        self.limit, self.n_bytes = limit, 0
        self._kept: OrderedDict[tuple[int, int, str], tuple[int, dict[str, Array]]] = OrderedDict()

    def get(self, key: tuple[int, int, str]) -> tuple[int, dict[str, Array]] | None:
        """Version and arrays, or None."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: tuple[int, int, str], version: int, arrays: dict[str, Array]) -> None:
        """Keep arrays in the place of an older version."""
        self._drop(key)
        self._kept[key] = version, arrays
        self.n_bytes += sum(a.nbytes for a in arrays.values())
        while self.n_bytes > self.limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[int, int, str]) -> None:
        _, arrays = self._kept.pop(key, (0, {}))
        self.n_bytes -= sum(a.nbytes for a in arrays.values())


def write_arrays(path: Path, meta: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write ``meta`` (JSON values) and arrays by name; each array begins at a multiple of 64 bytes."""
    solid = {k: np.ascontiguousarray(a).reshape(a.shape) for k, a in arrays.items()}
    entries, end = {}, 0
    for name, array in solid.items():
        start = -(-end // ALIGN) * ALIGN
        entries[name] = [array.dtype.str, list(array.shape), start]
        end = start + array.nbytes
    header = json.dumps({"meta": meta, "arrays": entries, "n_bytes": end}, separators=(",", ":")).encode()
    base = _first(len(header))
    with open(path, "wb") as file:
        file.write(_HEAD.pack(MAGIC, len(header), zlib.crc32(header)) + header)
        for name, array in solid.items():
            file.seek(base + entries[name][2])
            file.write(array.reshape(-1).view(np.uint8).data if array.nbytes else b"")
        file.truncate(base + end)


def read_arrays(path: Path, access: int = mmap.ACCESS_READ) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """What :func:`write_arrays` wrote, arrays as views of a map; None when missing or damaged."""
    try:
        with open(path, "rb" if access == mmap.ACCESS_READ else "r+b") as file:
            raw = mmap.mmap(file.fileno(), 0, access=access)
        magic, n_header, crc = _HEAD.unpack_from(raw)
        text = raw[_HEAD.size : _HEAD.size + n_header]
        if magic != MAGIC or zlib.crc32(text) != crc:
            return None
        header = json.loads(text)
    except (OSError, ValueError, struct.error):
        return None
    base = _first(n_header)
    if len(raw) != base + header["n_bytes"]:
        return None
    return header["meta"], {k: _view(raw, base, *entry) for k, entry in header["arrays"].items()}


def _view(raw: mmap.mmap, base: int, dtype: str, shape: list[int], start: int) -> Array:
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    if not count or not kind.itemsize:
        out: Array = np.ndarray(shape, kind)
        out.flags.writeable = False
        return out
    return np.frombuffer(raw, kind, count, base + start).reshape(shape)


def _first(n_header: int) -> int:
    """Where the first array begins."""
    return -(-(_HEAD.size + n_header) // ALIGN) * ALIGN


def _flatten(name: str, value: Array | CSR | Coded | None, into: dict[str, Array]) -> Any:
    """Put the arrays of a value into ``into``; what it takes to put it together again."""
    if value is None:
        return None
    if isinstance(value, CSR):
        into |= {f"{name}.indptr": value.indptr, f"{name}.indices": value.indices, f"{name}.data": value.data}
        return {"csr": value.n_columns}
    if isinstance(value, Coded):
        into |= {f"{name}.codes": value.codes, f"{name}.levels": value.levels}
        return "coded"
    into[name] = value
    return "array"


def _revive(name: str, shape: Any, arrays: dict[str, Array]) -> Any:
    if shape is None:
        return None
    if shape == "coded":
        return Coded(arrays[f"{name}.codes"], arrays[f"{name}.levels"])
    if shape == "array":
        return arrays[name]
    return CSR(arrays[f"{name}.indptr"], arrays[f"{name}.indices"], arrays[f"{name}.data"], shape["csr"])
