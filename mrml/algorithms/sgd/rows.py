"""The rows of SGD: batches of a shard in the order of an epoch, and the rows that a global batch draws.

A shard is read through a bounded buffer: consecutive Blocks of at least ``shuffle_rows`` rows, in the order of
``rng(seed, epoch, row_key)``.  Batches are cut from a buffer one after the other; the last one of it may be short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mrml.algorithms.linear.rows import check_numbers, check_weights
from mrml.arrays import CSR, Array
from mrml.data.block import Block
from mrml.data.shards import Shard
from mrml.kernels.net.describe import Inputs, SparseRows
from mrml.kernels.net.kernel import Place
from mrml.kernels.random import bits, rng

#: the ``step`` of draws that shuffle: epochs count from here, batches (which dropout is drawn by) from 0
SHUFFLES = 1 << 40


class Cursor(NamedTuple):
    """Where a shard goes on: its epoch, the first Block of the buffer, the next batch of that; and its steps so far."""

    epoch: int = 0
    block: int = 0
    batch: int = 0
    step: int = 0


class Batch(NamedTuple):
    """Rows to take a step with; ``y``, ``weight`` and ``offset`` (n,) float64, ``row_key`` (n,) uint64."""

    inputs: Inputs
    y: Array
    weight: Array | None
    offset: Array | None
    row_key: Array

    @property
    def n_rows(self) -> int:
        return len(self.y)

    def part(self, rows: slice) -> Batch:
        """Consecutive rows of it."""
        return self._of(self.inputs.part(rows), rows)

    def take(self, rows: Array) -> Batch:
        """Rows by their numbers, in that order."""
        return self._of(self.inputs.take(rows), rows)

    def _of(self, inputs: Inputs, rows: Any) -> Batch:
        weight, offset = (None if a is None else a[rows] for a in (self.weight, self.offset))
        return Batch(inputs, self.y[rows], weight, offset, self.row_key[rows])


def rows_of(block: Block, resident: Resident | None = None) -> Batch:
    """All rows of a design block."""
    y = block.y if isinstance(block.y, np.ndarray) else np.zeros(block.n_rows)
    return Batch(
        inputs_of(block) if resident is None else resident.inputs(block), y, block.weight, block.offset, block.row_key
    )


def drawn(block: Block, rows: Array) -> Batch:
    """Some rows of a design block, by their numbers."""
    coded = {name: c._replace(codes=c.codes[rows]) for name, c in block.coded.items()}
    y = block.y[rows] if isinstance(block.y, np.ndarray) else None
    weight, offset = (None if a is None else a[rows] for a in (block.weight, block.offset))
    if isinstance(block.X, CSR):
        x: Array | CSR = CSR(*SparseRows(*block.X[:3]).take(rows), block.X.n_columns)
    else:
        x = block.X[rows]
    some = replace(block, X=x, coded=coded, y=y, rows=block.rows[rows], weight=weight, offset=offset)
    return rows_of(some)


def inputs_of(block: Block) -> Inputs:
    """What a network reads of a design block: standardised float32, codes, and CSR columns divided by their scale."""
    n, codes = block.n_rows, _codes(block)
    if isinstance(block.X, CSR):
        data = block.X.data.astype(np.float32)
        if block.scale is not None:
            data = (block.X.data / block.scale[block.X.indices]).astype(np.float32)
        return Inputs(np.empty((n, 0), np.float32), codes, SparseRows(block.X.indptr, block.X.indices, data))
    x = np.empty((n, block.n_features), np.float32)
    for part, values in block.standardised():
        x[part] = values
    return Inputs(x, codes)


def _codes(block: Block) -> Array:
    codes = np.empty((block.n_rows, len(block.coded)), np.int32)
    for j, column in enumerate(block.coded.values()):
        codes[:, j] = column.codes
    return codes


class Resident(NamedTuple):
    """Numbers of Blocks that stay where they are computed with: ``place`` puts them there; ``design`` tells them from
    those of other transforms."""

    place: Place
    design: str

    def inputs(self, block: Block) -> Inputs:
        """As :func:`inputs_of`; dense numbers are moved once, and stay while memory for memos lasts."""
        if isinstance(block.X, CSR):
            return inputs_of(block)
        name = f"device.{self.design}"
        kept = block.memo(name, 1, lambda old: {"x": self.place.put(inputs_of(block).x)}, volatile=True)
        return Inputs(kept["x"], _codes(block))


def check_rows(block: Block) -> None:
    """InputError for a weight or a feature that is no number."""
    check_weights(block)
    if isinstance(block.y, np.ndarray):
        check_numbers(block, block.y)


class Buffer(NamedTuple):
    """Shuffled rows of ``n_blocks`` Blocks from number ``block`` of a shard."""

    block: int
    n_blocks: int
    rows: Batch

    def arrays(self) -> dict[str, Array]:
        """What a memo keeps; :meth:`of` is the inverse."""
        (x, codes, sparse), y, weight, offset, row_key = self.rows
        given = {"x": x, "codes": codes, "y": y, "weight": weight, "offset": offset, "row_key": row_key}
        given |= {} if sparse is None else sparse._asdict()
        return {"n_blocks": np.array(self.n_blocks), **{k: v for k, v in given.items() if v is not None}}

    @staticmethod
    def of(block: int, arrays: Mapping[str, Array]) -> Buffer:
        """The buffer from Block number ``block`` of its shard."""
        sparse = SparseRows(*(arrays[name] for name in SparseRows._fields)) if "indptr" in arrays else None
        rows = Batch(Inputs(arrays["x"], arrays["codes"], sparse), arrays["y"], arrays.get("weight"),
                     arrays.get("offset"), arrays["row_key"])  # fmt: skip
        return Buffer(block, int(arrays["n_blocks"]), rows)


def buffers(
    shard: Shard, cursor: Cursor, shuffle_rows: int, seed: int, resident: Resident | None = None
) -> Iterator[Buffer]:
    """The buffers of a shard's epoch, from the one that the cursor is in; in one pass over the Blocks."""
    blocks, at = shard.blocks(cursor.block), cursor.block
    while (first := next(blocks, None)) is not None:
        found = _buffer(first, blocks, at, shuffle_rows, seed, cursor.epoch, resident)
        if found.rows.n_rows:
            yield found
        at += found.n_blocks


def kept_buffers(
    shard: Shard, cursor: Cursor, shuffle_rows: int, seed: int, design: str, resident: Resident | None = None
) -> Iterator[Buffer]:
    """The same, each kept in memory with its first Block: the next meetings of the epoch begin inside it.

    ``design`` tells the columns from those of other transforms.
    """
    at, name = cursor.block, f"buffer.{design}.{shard.n_shards}.{seed}.{shuffle_rows}"
    while (first := next(blocks := shard.blocks(at), None)) is not None:

        def compute(old: object, first: Block = first, blocks: Iterator[Block] = blocks) -> dict[str, Array]:
            return _buffer(first, blocks, 0, shuffle_rows, seed, cursor.epoch, resident).arrays()

        found = Buffer.of(at, first.memo(name, cursor.epoch + 1, compute, volatile=True))
        if found.rows.n_rows:
            yield found
        at += found.n_blocks


def _buffer(first: Block, rest: Iterator[Block], at: int, shuffle_rows: int, seed: int, epoch: int,
            resident: Resident | None) -> Buffer:  # fmt: skip
    """The buffer that begins with a Block, which is number ``at``, and takes of those after it what it needs."""
    held = [weighing(first, resident)]
    while sum(rows.n_rows for rows in held) < shuffle_rows and (block := next(rest, None)) is not None:
        held.append(weighing(block, resident))
    rows = _joined(held, np.concatenate if resident is None else resident.place.joined)
    order = np.argsort(bits(seed, SHUFFLES + epoch, rows.row_key), kind="stable")
    return Buffer(at, len(held), rows.take(order))


def weighing(block: Block, resident: Resident | None = None) -> Batch:
    """The rows of a block that weigh something: the others change nothing, not even who is in a batch."""
    check_rows(block)
    if block.weight is None or (block.weight > 0).all():
        return rows_of(block, resident)
    return rows_of(block, resident).take(np.flatnonzero(block.weight > 0))


def _joined(parts: Sequence[Batch], numbers: Callable[[list[Array]], Array]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    x, codes = numbers([p.inputs.x for p in parts]), np.concatenate([p.inputs.codes for p in parts])
    sparse = [p.inputs.sparse for p in parts]
    joined = None if sparse[0] is None else _csr_joined([s for s in sparse if s is not None])
    weight, offset = (_column([getattr(p, name) for p in parts]) for name in ("weight", "offset"))
    y, keys = (np.concatenate([getattr(p, name) for p in parts]) for name in ("y", "row_key"))
    return Batch(Inputs(x, codes, joined), y, weight, offset, keys)


def _column(parts: list[Array | None]) -> Array | None:
    given = [p for p in parts if p is not None]
    return np.concatenate(given) if given else None


def _csr_joined(parts: list[SparseRows]) -> SparseRows:
    lengths = np.concatenate([np.diff(p.indptr) for p in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SparseRows(indptr, np.concatenate([p.indices for p in parts]), np.concatenate([p.data for p in parts]))


def global_batch(block: Block, seed: int, epoch: int, number: int, n_batches: int) -> Array:
    """The rows of a Block that are in batch ``number`` of an epoch of ``n_batches``; every row is in one.

    A row's batch is ``floor(n_batches * rng(seed, epoch, row_key))``; the order is kept with the Block in memory.
    """

    def compute(old: object) -> dict[str, Array]:
        batch = (rng(seed, SHUFFLES + epoch, block.row_key) * n_batches).astype(np.int32)
        order = np.argsort(batch, kind="stable").astype(np.int32)
        return {"order": order, "batch": batch[order]}

    kept = block.memo(f"batches.{seed}.{n_batches}", epoch + 1, compute, volatile=True)
    low, high = np.searchsorted(kept["batch"], [number, number + 1])
    found: Array = kept["order"][low:high]
    return found if block.weight is None else found[block.weight[found] > 0]
