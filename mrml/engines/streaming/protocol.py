"""The records of the streaming engine's jobs: a key and binary fields.

Two forms.  A line of text with base64 fields, because mrjob's local runners sort lines; and on Hadoop, between map and
reduce, Streaming's ``rawbytes``: length and bytes of the key, length and bytes of the value.  An algorithm's key begins
with ``=``: whatever it says, it is none of the engine's own words.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Iterator
from typing import BinaryIO

from mrml.errors import EngineError

#: what an algorithm's key begins with
KEY = "="
#: the key of what went wrong in a task
ERROR = "!error"
#: the key of what a task counted, where it has no other record to ride on
REPORT = "!report"

Fields = list[bytes]
_LENGTH = struct.Struct(">i")


class FieldsProtocol:
    """One line: the key as JSON, so that a tab or a newline in it does no harm, and tab-separated base64 fields."""

    def read(self, line: bytes) -> tuple[str, Fields]:
        key, *fields = line.split(b"\t")
        return json.loads(key), [base64.b64decode(f) for f in fields]

    def write(self, key: str, fields: Fields) -> bytes:
        return b"\t".join([json.dumps(key).encode("ascii"), *map(base64.b64encode, fields)])


def write_raw(stream: BinaryIO, key: str, fields: Fields) -> None:
    """One record of ``rawbytes``; the value holds each field behind its length."""
    name = json.dumps(key).encode("ascii")
    n_bytes = sum(_LENGTH.size + len(f) for f in fields)
    if n_bytes > (1 << 31) - 1:
        finding = f"a statistic of {n_bytes} bytes; Hadoop carries 2 GiB at most"
        raise EngineError(f"key {key!r}", finding, "spread it over more keys")
    stream.write(_LENGTH.pack(len(name)) + name + _LENGTH.pack(n_bytes))
    for f in fields:
        stream.write(_LENGTH.pack(len(f)))
        stream.write(f)


def read_raw(stream: BinaryIO) -> Iterator[tuple[str, Fields]]:
    """The records of ``rawbytes`` until the stream ends."""
    while head := stream.read(_LENGTH.size):
        name = _exactly(stream, _LENGTH.unpack(head)[0])
        value = memoryview(_exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]))
        yield json.loads(name), _fields(value)


def _fields(value: memoryview) -> Fields:
    fields, at = [], 0
    while at < len(value):
        (n_bytes,) = _LENGTH.unpack_from(value, at)
        at += _LENGTH.size + n_bytes
        fields.append(bytes(value[at - n_bytes : at]))
    return fields


def _exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    found = stream.read(n_bytes)
    if len(found) != n_bytes:
        raise EngineError("shuffle", "a record ends before its length", "look at the log of the map tasks")
    return found


def grouped(records: Iterator[tuple[str, Fields]]) -> Iterator[tuple[str, Iterator[Fields]]]:
    """Runs of equal keys, as a reducer gets them."""
    for key, group in itertools.groupby(records, key=lambda record: record[0]):
        yield key, (fields for _, fields in group)
