"""Which fold a row is in, and Blocks of some folds' rows.

By row: a counter-based draw of the row's key, so that a row's fold depends on nothing else.  By group: the same of a
hash of the group's text, so that groups stay whole wherever their rows lie.  By class (stratified): the rows of a Block
and a class are dealt in the order of their draws, from a fold on that is drawn for that Block and class; so in every
Block the folds' numbers of rows of a class differ by at most one.  Blocks are cut alike by every engine.  By date:
rows are cut into stretches of time, and a fold is one of them, which is trained on what comes before it alone; the
first rows, which nothing comes before, are in no fold.  Given: the id column holds the fold, where another program has
dealt the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mrml.algorithms.pipeline.transforms import fnv1a
from mrml.arrays import CSR, Array
from mrml.data.block import Block, Coded, Memo, NoMemo, Update
from mrml.errors import ConfigError, InputError
from mrml.kernels.random import bits

BY = ("row", "class", "group", "date", "given")
#: the number of rows that are in no fold
NO_FOLD = -1
#: steps of the draws, apart from those of every algorithm: of rows and groups, of where a class begins, and of which
#: rows are in a share
ROW_STEP, CLASS_STEP, SHARE_STEP = 1 << 40, (1 << 40) + 1, (1 << 40) + 2
_NULL = b"\0"


@dataclass(frozen=True)
class Parting:
    """Rows dealt to ``folds`` folds ``by`` row, class, group or date, or as ``given``; ``seed`` of the draws.

    By date: ``cuts`` are where all stretches but the first begin, in time; ``span`` is on how many of them before a
    fold is trained, 0 on all; ``column`` the number of the numeric feature that is the time, -1 where a column has that
    role.
    """

    folds: int
    by: str = "row"
    seed: int = 0
    cuts: tuple[float, ...] = ()
    span: int = 0
    column: int = -1

    def told(self) -> dict[str, Any]:
        """As JSON values; nothing of dates where folds go by something else."""
        told = asdict(self)
        return told if self.by == "date" else {name: told[name] for name in ("folds", "by", "seed")}

    @property
    def name(self) -> str:
        """Tells this parting from others in the names of memos."""
        return f"{self.by}{self.folds}.{self.seed}"

    def of(self, block: Block) -> Array:
        """(n_rows,) int64: the fold of every row of a raw block, 0 to ``folds`` - 1, or NO_FOLD.

        InputError where the rows have no group, no time, or no target to be stratified by, or are given no fold.
        """
        if self.by == "given":
            return self._given(block)
        if self.by == "date":
            found: Array = np.maximum(self._stretch(block) - max(self.span, 1), NO_FOLD)
            return found
        if self.by == "class":
            return self._dealt(block, _codes(block.y, block, "target"))
        fold: Array = (bits(self.seed, ROW_STEP, self._keys(block)) % np.uint64(self.folds)).astype(np.int64)
        return fold

    def among(self, block: Block, share: float) -> Array:
        """(n_rows,) bool: the rows, or where folds go by group the groups, that are in a share of all; a larger share
        holds those of a smaller one."""
        if share >= 1.0:
            return np.ones(block.n_rows, bool)
        drawn: Array = bits(self.seed, SHARE_STEP, self._keys(block)) < np.uint64(int(share * 2.0**64))
        return drawn

    def _keys(self, block: Block) -> Array:
        """(n_rows,) uint64: what draws are made of."""
        if self.by != "group":
            return block.row_key
        codes, texts = _codes(block.group, block, "group")
        keys: Array = np.array([*map(fnv1a, texts), 0], np.uint64)[codes]
        return keys

    def without(self, block: Block, fold: int) -> Array:
        """(n_rows,) bool: the rows that are trained on where a fold is left out."""
        if self.by != "date":
            others: Array = self.of(block) != fold
            return others
        stretch, here = self._stretch(block), fold + max(self.span, 1)
        before: Array = (stretch < here) & (stretch >= here - (self.span or here))
        return before

    def _stretch(self, block: Block) -> Array:
        found: Array = np.searchsorted(np.asarray(self.cuts), times_of(block, self.column), side="right")
        return found

    def _given(self, block: Block) -> Array:
        fold = np.empty(0) if block.id is None else block.id
        if len(fold) != block.n_rows or fold.dtype.kind not in "iu" or ((fold < 0) | (fold >= self.folds)).any():
            place = f"file {block.file}, block {block.index}"
            raise InputError(place, f"its ids are not folds, 0 to {self.folds - 1}", "give every row the fold it is in")
        return fold.astype(np.int64)

    def _dealt(self, block: Block, coded: tuple[Array, list[bytes]]) -> Array:
        codes, texts = coded
        last = np.zeros(block.n_rows, bool) if block.weight is None else block.weight == 0  # moves no row that counts
        order = np.lexsort((bits(self.seed, ROW_STEP, block.row_key), last, codes))
        counts = np.bincount(codes, minlength=len(texts))
        place = np.empty(block.n_rows, np.int64)
        place[order] = np.arange(block.n_rows) - np.repeat(np.cumsum(counts) - counts, counts)
        here = (np.uint64(block.file) << np.uint64(32)) ^ np.uint64(block.index)
        own = np.array([fnv1a(text) for text in texts], np.uint64) ^ bits(self.seed, CLASS_STEP, np.array([here]))[0]
        first = (bits(self.seed, CLASS_STEP, own) % np.uint64(self.folds)).astype(np.int64)
        place += first[codes] if len(texts) else 0
        place %= self.folds
        return place


def times_of(block: Block, column: int) -> Array:
    """(n_rows,) float64: the times of a raw block's rows; InputError where one is null."""
    times = block.time
    if times is None and 0 <= column < block.n_features and not isinstance(block.X, CSR):
        times = block.X[:, column].astype(np.float64)
    place = f"file {block.file}, block {block.index}"
    if times is None:
        raise InputError(place, "the rows have no time to part folds by", "name it with --time")
    if not np.isfinite(times).all():
        finding = f"{int((~np.isfinite(times)).sum())} of its rows have no time"
        raise InputError(place, finding, "name the column with --time, and leave such rows out: --bad-rows skip")
    return times


def _codes(column: Array | Coded | None, block: Block, role: str) -> tuple[Array, list[bytes]]:
    """(n_rows,) codes of a column, and the text of each code; whole numbers have no decimal point, null is a text."""
    if column is None:
        place = f"file {block.file}, block {block.index}"
        raise InputError(place, f"the rows have no {role} to part folds by", f"name it with --{role}")
    if isinstance(column, Coded):
        return np.where(column.codes < 0, len(column.levels), column.codes), [
            *(str(level).encode() for level in column.levels.tolist()), _NULL,
        ]  # fmt: skip
    values, codes = np.unique(column, return_inverse=True)
    return codes, [_text(value) for value in values.tolist()]


def _text(value: float) -> bytes:
    if value != value:
        return _NULL
    return (str(int(value)) if abs(value) < np.inf and value == int(value) else repr(value)).encode()


@dataclass(frozen=True)
class Part:
    """The rows of one fold (None: of any), or with ``without`` a ``share`` of those that are trained on where it is
    left out (None: of all)."""

    parting: Parting
    fold: int | None
    without: bool
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.fold is not None and not 0 <= self.fold < self.parting.folds:
            raise ConfigError("fold", f"{self.fold} is none of {self.parting.folds}", "they are counted from 0")

    @property
    def name(self) -> str:
        """Tells its rows from those of other parts in the names of memos."""
        some = f".{self.share!r}" if self.share < 1.0 else ""
        return f"{'without' if self.without else 'fold'}{self.fold}of{self.parting.name}{some}"

    def block(self, raw: Block) -> Block:
        """The block of these rows alone, with a memo of its own; of the block at hand the last ones are kept, since
        many members ask for the same."""
        kept, parts = _LAST[0]
        if kept is not raw:
            parts = {}
            _LAST[0] = raw, parts
        if self.name not in parts:
            parts[self.name] = self._block(raw)
        return parts[self.name]

    def _block(self, raw: Block) -> Block:
        def compute(older: Any) -> dict[str, Array]:
            keep = self._keep(raw)
            return {"keep": keep, **_columns(raw, keep)}

        kept = raw.memo(f"rows.{self.name}", 1, compute)
        plain = replace(raw, coded={}, X=np.empty((raw.n_rows, 0)))
        coded = {name: Coded(kept[f"coded.{name}"], c.levels) for name, c in raw.coded.items()}
        x = kept["X"] if "X" in kept else CSR(kept["indptr"], kept["indices"], kept["data"], raw.n_features)
        return replace(
            taken(plain, kept["keep"]), X=x, coded=coded, store=_Within(raw.store, self.name, not self.without)
        )

    def _keep(self, raw: Block) -> Array:
        if self.without:
            some = self.parting.among(raw, self.share)
            return some if self.fold is None else some & self.parting.without(raw, self.fold)
        of = self.parting.of(raw)
        keep: Array = of != NO_FOLD if self.fold is None else of == self.fold
        return keep


#: the last block that a part was taken of, and its parts by name
_LAST: list[tuple[Block | None, dict[str, Block]]] = [(None, {})]


def _columns(raw: Block, keep: Array) -> dict[str, Array]:
    """The features of some rows: what is long enough to be kept with the block."""
    coded = {f"coded.{name}": c.codes[keep] for name, c in raw.coded.items()}
    if isinstance(raw.X, CSR):
        x = raw.X.take(keep)
        return {**coded, "indptr": x.indptr, "indices": x.indices, "data": x.data}
    return {**coded, "X": raw.X[keep]}


def taken(block: Block, keep: Array) -> Block:
    """The rows where ``keep`` (n_rows,) bool is true; their keys stay, and memos are no more theirs."""

    def some(value: Any) -> Any:
        if isinstance(value, Coded):
            return Coded(value.codes[keep], value.levels)
        return value.take(keep) if isinstance(value, CSR) else None if value is None else value[keep]

    arrays = {
        name: some(getattr(block, name)) for name in ("rows", "X", "y", "weight", "offset", "group", "id", "time")
    }
    return replace(block, coded={name: some(c) for name, c in block.coded.items()}, store=NoMemo(), **arrays)


class _Within:
    """The memo of a part of a block: names of its own in the block's.

    What is computed of a part that judges, scores of as many models as there are candidates, is kept in memory alone.
    """

    def __init__(self, memo: Memo, prefix: str, volatile: bool) -> None:
        self.memo, self.prefix, self.volatile = memo, prefix, volatile

    def get(self, name: str) -> tuple[int, dict[str, Array]] | None:
        return self.memo.get(f"{self.prefix}.{name}")

    def put(self, name: str, version: int, arrays: Mapping[str, Array], volatile: bool = False) -> None:
        self.memo.put(f"{self.prefix}.{name}", version, dict(arrays), volatile or self.volatile)

    def change(self, name: str, version: int, update: Update) -> dict[str, Array] | None:
        return self.memo.change(f"{self.prefix}.{name}", version, update)
