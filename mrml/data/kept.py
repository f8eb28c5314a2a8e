"""What blocks have computed, kept beside the run for the tasks of its next jobs, which share no disk.

A task works on a :class:`DirectoryStore` of its own.  When it has mapped a split, what the algorithm asks to keep is
packed: ``NUMBER.rows.zip``, the rows without their columns and the memo that stands for those (binned columns, 1 byte
a value), once; and one ``NUMBER.NAME.VERSION.zip`` for every other memo whenever it has a new version (raw
predictions, once a tree).  Packs are written aside and renamed, equal ones by every attempt; one that is missing, or
whose checksum is wrong, is made again from the rows.
"""

from __future__ import annotations

import io
import logging
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from mrml.data.block import Block
from mrml.data.store import DirectoryStore
from mrml.fs.folder import Folder

if TYPE_CHECKING:
    from mrml.data.dataset import Dataset, Split

log = logging.getLogger(__name__)


class KeptBlocks:
    """The blocks of one split, with the memos ``names``; with the first of them a block needs no columns.

    Parameters
    ----------
    folder : where packs lie, for all tasks of a run.
    number : of the split.
    scratch : a local directory of this task.
    """

    def __init__(self, folder: Folder, number: int, scratch: Path, names: Sequence[str]) -> None:
        self.folder, self.prefix, self.scratch, self.names = folder, f"{number:06d}.", scratch, tuple(names)
        self.store = DirectoryStore(scratch)

    def blocks(self, dataset: Dataset, split: Split) -> Iterator[Block]:
        """The blocks in order; when the last one was used, what is new is packed."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        there = [name for name in self.folder.names() if name.startswith(self.prefix)]
        bare = self._fetch(there, "rows") is not None
        found = {name: self._fetch(there, _safe(name)) for name in self.names[1:]}
        seen = []
        for block in self._bare(split) if bare else self._whole(dataset, split):
            seen.append((block.file, block.index))
            yield block
        if not bare:
            self._put(f"{self.prefix}rows.zip", [*self._paths(seen, "block"), *self._memos(seen, self.names[0])])
        for name in self.names[1:]:
            self._renew(seen, name, found[name])

    def _whole(self, dataset: Dataset, split: Split) -> Iterator[Block]:
        for part in split:
            last = part.first
            for block in dataset.read(part):
                bare = replace(block, X=np.empty((block.n_rows, 0), np.float32), coded={}, id=None)
                self.store.put_block(bare)
                last = block.index + 1
                yield replace(block, store=self.store.block_memo(block.file, block.index))
            self.store.put_n_blocks(part.file, last)

    def _bare(self, split: Split) -> Iterator[Block]:
        for file in dict.fromkeys(part.file for part in split):
            for path in sorted((self.scratch / f"{file:06d}").glob("*.block")):
                block = self.store.get_block(file, int(path.name.partition(".")[0]))
                assert block is not None, "it was unpacked a moment ago"
                yield block

    def _paths(self, seen: list[tuple[int, int]], what: str) -> list[Path]:
        return [self.scratch / f"{file:06d}" / f"{index:07d}.{what}" for file, index in seen]

    def _memos(self, seen: list[tuple[int, int]], name: str) -> list[Path]:
        return self._paths(seen, quote(f"memo.{name}", safe=""))

    def _renew(self, seen: list[tuple[int, int]], name: str, before: int | None) -> None:
        """Pack a memo that has a new version; the one before it may still be read by another attempt."""
        versions = {found[0] for at in seen if (found := self.store.block_memo(*at).get(name)) is not None}
        paths = self._memos(seen, name)
        if len(versions) != 1 or versions == {before} or not all(p.exists() for p in paths):
            return
        version = versions.pop()
        self._put(f"{self.prefix}{_safe(name)}.{version:08d}.zip", paths)
        for old in self.folder.names():
            if old.startswith(f"{self.prefix}{_safe(name)}.") and int(old.split(".")[-2]) < version - 1:
                self.folder.remove(old)

    def _put(self, name: str, paths: list[Path]) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in paths:
                archive.write(path, str(path.relative_to(self.scratch)))
        self.folder.make()
        self.folder.write(name, packed.getvalue())

    def _fetch(self, there: list[str], what: str) -> int | None:
        """Unpack the newest version of a pack; its version, or None where there is none that is whole."""
        mine = sorted(name for name in there if name.startswith(f"{self.prefix}{what}."))
        if not mine:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(self.folder.read(mine[-1]))) as archive:
                archive.extractall(self.scratch)  # checks every member's checksum
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            log.warning("%s/%s cannot be read (%s): it is made again from the rows", self.folder, mine[-1], error)
            return None
        version = mine[-1].split(".")[-2]
        return int(version) if version.isdigit() else 0


def _safe(name: str) -> str:
    """A memo's name as part of a file's."""
    return name.replace(".", "-")
