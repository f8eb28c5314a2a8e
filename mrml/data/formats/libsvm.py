"""LibSVM text: ``label [qid:n] index:value ... # comment`` to a sparse matrix.

Also ``label:weight`` where the column ``weight`` is wanted (XGBoost's form; 1 where a line has none).  Indices may
come in any order; one that comes twice in a line makes it a bad row.  A value ``nan`` is kept: it is missing.

The fast path finds the tokens with NumPy and lets Arrow read all numbers of the run as one column.  Where anything is
off, the slow path looks at each line by itself, and the fast path reads the lines that are well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from mrml.arrays import CSR, Array
from mrml.data.block import Coded
from mrml.data.formats.columns import to_column
from mrml.data.formats.lines import BOM, find_records, keep_records
from mrml.data.formats.records import MAX_PROBLEMS, Problem, Records
from mrml.errors import InputError, nearest
from mrml.pin import memory_bytes
from mrml.schema import Column, Format

COLUMNS = ("label", "qid", "weight")
_TOKEN, _SPACE, _COLON, _LINE = range(4)
_CLASS = np.zeros(256, np.uint8)
_CLASS[[9, 32]], _CLASS[58], _CLASS[[10, 13]] = _SPACE, _COLON, _LINE
_ONE_A_LINE = bytes(10 if c else i for i, c in enumerate(_CLASS))
#: bytes that a column takes while a model of such columns is fitted: logistic took 2,300 at 4,000,000 of them
COLUMN_BYTES = 2048
#: the largest index that leaves room for n_columns in int32, and for eight numbers a column in this machine's memory; a
#: schema is inferred only of columns that fit at COLUMN_BYTES.  This bound is the same for every process of a machine
_MAX_INDEX = min((1 << 31) - 2, memory_bytes() // 64)
#: Lines that the slow path tries at once before it looks at each.
_LOOK_LINES = 256
#: What Arrow reads as a float64.
_NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan|nan\(\w*\)))")
_COMMENT = re.compile(rb"#[^\r\n]*")


class _Lines(NamedTuple):
    """``label``, ``qid``, ``weight`` (n,) float64; ``X`` with n rows."""

    label: Array
    qid: Array
    weight: Array
    X: CSR


class _Tokens(NamedTuple):
    """(n_tokens,) each: first byte; before a colon; after one; first of its line; the word ``qid``."""

    starts: Array
    is_index: Array
    is_value: Array
    is_first: Array
    is_qid: Array


def parse(data: bytes, wanted: Sequence[Column], format: Format) -> Records:
    """Labels, query ids, weights and features of whole lines.

    ``wanted`` : columns among ``label``, ``qid`` and ``weight``.  ``Records.sparse`` has zero-based indices (what
    ``format.index_base`` counts from is taken off), and the run's own largest index + 1 columns.
    """
    for column in wanted:
        if column.name not in COLUMNS:
            raise InputError(f"column {column.name!r}", "is not in LibSVM data", nearest(column.name, COLUMNS))
    text = _COMMENT.sub(lambda m: b" " * len(m[0]), data) if b"#" in data else data
    weighted = any(c.name == "weight" for c in wanted)
    lines = _fast(text, weighted, format.index_base)
    if lines is None:
        return _slow(text, weighted, wanted, format)
    n = len(lines.label)
    return Records(n, np.arange(n), _columns(lines, wanted, format), lines.X, 0, ())


def _columns(lines: _Lines, wanted: Sequence[Column], format: Format) -> dict[str, Array | Coded]:
    return {c.name: to_column(pa.array(getattr(lines, c.name)), c, format.na) for c in wanted}


def _fast(text: bytes, weighted: bool, base: int) -> _Lines | None:
    """The lines of text without comments, or None when one is at fault."""
    tokens = _tokens(text)
    n_qid = int(tokens.is_qid.sum())
    if text.startswith(BOM) or not _well_formed(tokens, text, weighted) or text.count(b"qid:") != n_qid:
        return None
    numbers = _numbers(text.replace(b"qid:", b"000:") if n_qid else text, len(tokens.starts))
    return None if numbers is None else _assemble(tokens, numbers, base)


def _tokens(text: bytes) -> _Tokens:
    """Where the runs of bytes between spaces, colons and line ends are."""
    buffer = np.frombuffer(text, np.uint8)
    classes = np.full(len(buffer) + 2, _LINE, np.uint8)
    np.take(_CLASS, buffer, out=classes[1:-1])
    inside = classes == _TOKEN
    edges = np.flatnonzero(inside[1:] != inside[:-1])  # first byte of a token, byte after it, and so on
    starts, stops = edges[::2], edges[1::2]
    line_starts = np.concatenate([[0], np.flatnonzero(classes[1:-1] == _LINE) + 1])
    is_first = np.zeros(len(starts) + 1, bool)
    is_first[np.searchsorted(starts, line_starts)] = True  # of an empty line, that of the next
    is_index = classes[stops + 1] == _COLON
    is_qid = is_index & (stops - starts == 3)
    if is_qid.any():
        at = starts[is_qid]
        is_qid[is_qid] = (buffer[at] == ord("q")) & (buffer[at + 1] == ord("i")) & (buffer[at + 2] == ord("d"))
    return _Tokens(starts, is_index, classes[starts] == _COLON, is_first[:-1], is_qid)


def _well_formed(tokens: _Tokens, text: bytes, weighted: bool) -> bool:
    """Every line is a label, then pairs: each colon has a token on either side, and qid comes second."""
    _, is_index, is_value, is_first, is_qid = tokens
    n_pairs = int(is_index.sum())
    if n_pairs != text.count(b":") or n_pairs != int(is_value.sum()) or (is_index & is_value).any():
        return False
    is_weight = is_first & is_index
    if is_weight.any() and not weighted:
        return False
    if ((is_index | is_value) == (is_first & ~is_weight)).any():  # alone, and only there
        return False
    at = np.flatnonzero(is_qid)
    return not is_first[at].any() and bool((is_first[at - 1] | (is_weight[at - 2] & is_value[at - 1])).all())


def _numbers(text: bytes, n_tokens: int) -> Array | None:
    """(n_tokens,) float64, or None when one is no number."""
    if not n_tokens:
        return np.zeros(0)
    options = pa_csv.ReadOptions(column_names=["number"], use_threads=False, block_size=len(text) + 1)
    convert = pa_csv.ConvertOptions(column_types={"number": pa.float64()}, null_values=[])
    column = pa.py_buffer(text.translate(_ONE_A_LINE))
    try:
        table = pa_csv.read_csv(column, options, pa_csv.ParseOptions(quote_char=False), convert)
    except pa.ArrowInvalid:
        return None
    numbers: Array = table.column(0).to_numpy()
    return numbers if len(numbers) == n_tokens else None


def _assemble(tokens: _Tokens, numbers: Array, base: int) -> _Lines | None:
    """The arrays of well-formed lines; None where an index is out of bounds or comes twice."""
    first = np.flatnonzero(tokens.is_first)
    n, line = len(first), np.cumsum(tokens.is_first) - 1
    weight, qid = np.ones(n), np.full(n, np.nan)
    has_weight = tokens.is_index[first]
    weight[has_weight] = numbers[first[has_weight] + 1]
    at = np.flatnonzero(tokens.is_qid)
    qid[line[at]] = numbers[at + 1]
    at = np.flatnonzero(tokens.is_index & ~tokens.is_qid & ~tokens.is_first)
    row, index, value = line[at], numbers[at], numbers[at + 1]
    if not ((index >= base) & (index <= _MAX_INDEX) & (index == np.trunc(index))).all():
        return None
    indices = index.astype(np.int64) - base
    steps = np.diff(row * (_MAX_INDEX + 1) + indices)
    if (steps <= 0).any():
        order = np.lexsort((indices, row))
        indices, value = indices[order], value[order]
        if (np.diff(row * (_MAX_INDEX + 1) + indices) == 0).any():
            return None
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]).astype(np.int64)
    n_columns = int(indices.max()) + 1 if len(indices) else 0
    return _Lines(numbers[first], qid, weight, CSR(indptr, indices.astype(np.int32), value, n_columns))


# ---- the slow path ----


def _slow(text: bytes, weighted: bool, wanted: Sequence[Column], format: Format) -> Records:
    """The same, with the lines at fault found, described and dropped."""
    spans = find_records(text)
    records: list[int] = []  # the lines that are not blank
    faults: dict[int, tuple[str, str, str]] = {}
    for i in range(0, len(spans.starts), _LOOK_LINES):
        stop = min(i + _LOOK_LINES, len(spans.starts))
        run_is_fine = _fast(text[spans.starts[i] : spans.nexts[stop - 1]], weighted, format.index_base) is not None
        for k in range(i, stop):
            line = text[spans.starts[k] : spans.ends[k]].strip(b" \t")
            fault = None if run_is_fine or not line else _fault(line, weighted, format.index_base)
            if fault:
                faults[len(records)] = fault
            if line:
                records.append(k)
    rows = np.array([i for i in range(len(records)) if i not in faults], np.int64)
    lines = np.array(records, np.int64)
    kept = _fast(keep_records(text, spans, lines[rows]), weighted, format.index_base)
    assert kept is not None  # both paths take the same lines: a property test
    described = list(faults.items())[:MAX_PROBLEMS]
    problems = tuple(Problem(int(spans.starts[lines[i]]), *fault) for i, fault in described)
    return Records(len(records), rows, _columns(kept, wanted, format), kept.X, len(faults), problems)


def _fault(line: bytes, weighted: bool, base: int) -> tuple[str, str, str] | None:
    """Column, finding and remedy of one line without comment or spaces around it; None when it is well-formed."""
    label, *pairs = re.split(rb"[ \t]+", line)
    parts = label.split(b":")
    if len(parts) == 2 and not weighted:
        return "label", f"is missing: the line begins with {_shown(label)}", "begin every line with a label"
    for name, part in zip(("label", "weight"), parts, strict=False):
        if not _NUMBER.fullmatch(part):
            return name, f"{_shown(part)} is not a number", "LibSVM data holds numbers only"
    if len(parts) > 2:
        return "label", f"{_shown(label)} is not a number", "LibSVM data holds numbers only"
    if pairs and pairs[0].startswith(b"qid:"):
        if not _NUMBER.fullmatch(pairs[0][4:]):
            return "qid", f"{_shown(pairs[0][4:])} is not a number", "LibSVM data holds numbers only"
        pairs = pairs[1:]
    return _features_fault(pairs, base)


def _features_fault(pairs: Sequence[bytes], base: int) -> tuple[str, str, str] | None:
    seen: set[float] = set()
    for pair in pairs:
        index, colon, value = pair.partition(b":")
        if not colon or not _NUMBER.fullmatch(index) or not _NUMBER.fullmatch(value):
            return "", f"{_shown(pair)} is not index:value", "LibSVM data holds numbers only"
        number = float(index.split(b"(")[0])
        if number == base - 1 == 0:
            return "", f"index {_shown(index)} is below {base}", "set index_base: 0 under data"
        if not base <= number <= _MAX_INDEX or number != int(number):
            remedy = "above that, columns do not fit into this machine's memory: number them anew"
            return "", f"index {_shown(index)} is not an integer from {base} to {_MAX_INDEX}", remedy
        if number in seen:
            return "", f"index {_shown(index)} comes twice", "keep one of them"
        seen.add(number)
    return None


def _shown(token: bytes) -> str:
    text = token.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 40 else text[:37] + "...")
