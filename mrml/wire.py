"""One format for everything that travels or is kept: States, Statistics, values, blocks' memos.

A message is a tree of dicts (string keys), lists, strings, numbers, booleans, None and NumPy arrays::

    b"MRML" | version u8 | crc32 u32 LE of what follows | header length u32 LE | header, JSON | arrays

An array stands in the header as ``{"__array__": [dtype, shape, offset, n_bytes]}``.  No pickle: reading
a message runs no code.  Tuples come back as lists.  JSON writes a float with the digits that read back
as the same float, so a message is exact, and the same tree is the same bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import EngineError

MAGIC = b"MRML"
VERSION = 1
_HEAD = struct.Struct("<4sBII")
_DTYPES = "biufUS"


def dumps(tree: Any) -> bytes:
    """The message of a tree; TypeError for a leaf the format does not know."""
    return b"".join(pieces(tree))


def pieces(tree: Any) -> list[Any]:
    """The message of a tree in pieces, of which those of arrays are views: bytes and memoryviews, in order."""
    chunks: list[Any] = []
    offset = 0

    def encode(node: Any) -> Any:
        nonlocal offset
        if isinstance(node, np.ndarray):
            if node.dtype.kind not in _DTYPES:
                raise TypeError(f"arrays of dtype {node.dtype} cannot be sent")
            kind = node.dtype.newbyteorder("<")
            flat = np.ascontiguousarray(node, kind).reshape(-1)
            chunks.append(flat.view(np.uint8).data if flat.nbytes else b"")
            entry = {"__array__": [kind.str, list(node.shape), offset, flat.nbytes]}
            offset += flat.nbytes
            return entry
        if isinstance(node, dict):
            return {_key(k): encode(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [encode(v) for v in node]
        if isinstance(node, np.generic):
            return node.item()
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"a {type(node).__name__} cannot be sent")

    header = json.dumps(encode(tree), separators=(",", ":")).encode()
    crc = zlib.crc32(header, zlib.crc32(struct.pack("<I", len(header))))
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return [_HEAD.pack(MAGIC, VERSION, crc, len(header)), header, *chunks]


def settled(tree: Any) -> Any:
    """What ``loads(dumps(tree))`` is, without the bytes; arrays that came so before are the same objects."""
    if type(tree) in _PLAIN:
        return tree
    if isinstance(tree, np.ndarray):
        return _settled_array(tree)
    if isinstance(tree, dict):
        return {_key(k): settled(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [settled(v) for v in tree]
    if isinstance(tree, np.generic):
        return tree.item()
    return loads(dumps(tree))  # a subclass of those, or what does not travel


#: of ``flags.num``, which takes one look where the names take five: C-contiguous and aligned, and writeable
_SOLID, _WRITEABLE = 0x101, 0x400
_PLAIN = frozenset((bool, int, float, str, type(None)))


def _settled_array(array: Array) -> Array:
    if array.dtype.kind not in _DTYPES:
        raise TypeError(f"arrays of dtype {array.dtype} cannot be sent")
    as_it_is = array.flags.num & (_SOLID | _WRITEABLE) == _SOLID and array.dtype.isnative
    if not as_it_is or type(array) is not np.ndarray:
        array = np.array(array, array.dtype.newbyteorder("<"), order="C", subok=False)
        array.flags.writeable = False
    return array


def n_bytes(tree: Any) -> int:
    """About the bytes of the message of a tree: those of its arrays and texts, 8 of any other leaf."""
    if isinstance(tree, np.ndarray):
        return int(tree.nbytes)
    if isinstance(tree, dict):
        return sum(map(n_bytes, tree.values())) + sum(map(len, tree))
    if isinstance(tree, list | tuple):
        return sum(map(n_bytes, tree))
    return len(tree) if isinstance(tree, str) else 8


class ReadOnlyDict(dict[str, Any]):
    """A dict of a tree that :func:`read_only` made; a copy, ``dict(d)`` or ``{**d}``, may be changed."""

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class ReadOnlyList(list[Any]):
    """A list of a tree that :func:`read_only` made; a copy, ``list(l)`` or ``[*l]``, may be changed."""

    def __reduce__(self) -> Any:
        return list, (list(self),)


#: what :func:`read_only` leaves as it is
_KEPT = _PLAIN | {ReadOnlyDict, ReadOnlyList}


def _refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise TypeError("what a State holds cannot be changed: make a copy, and a new State of it")


for _cls, _names in (
    (ReadOnlyDict, "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update"),
    (ReadOnlyList, "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort"),
):
    for _name in _names.split():
        setattr(_cls, _name, _refuse)


def read_only(tree: Any) -> Any:
    """The tree as ``loads(dumps(tree))`` would give it, of dicts and lists that refuse to be changed.

    Parts that came so before are the same objects and are not walked: of a State that grows, a round pays for what is
    new in it.
    """
    if (kind := type(tree)) in _KEPT:
        return tree
    if kind is np.ndarray:
        return _settled_array(tree)
    if isinstance(tree, dict):
        return ReadOnlyDict({_key(k): read_only(v) for k, v in tree.items()})
    if isinstance(tree, list | tuple):
        return ReadOnlyList([read_only(v) for v in tree])
    return settled(tree)


def loads(message: bytes | memoryview) -> Any:
    """The tree of a message; arrays are read-only, views of it where they lie aligned.  EngineError when it is damaged.

    NumPy computes a product with an array that is not aligned by another path than BLAS, to other last bits; and where
    an array lies depends on the length of the header, so on what else travels with it.
    """
    view = memoryview(message)
    if len(view) < _HEAD.size or bytes(view[:4]) != MAGIC:
        raise EngineError("wire", "these bytes are not an mrml message", "run every process with the same mrml")
    _, version, crc, n_header = _HEAD.unpack_from(view)
    if version != VERSION:
        finding = f"message version {version}, this mrml reads {VERSION}"
        raise EngineError("wire", finding, "run every process with the same mrml")
    if zlib.crc32(view[9:]) != crc:
        raise EngineError("wire", "a message is damaged: its checksum differs", "check transport and disk, run again")
    start = _HEAD.size + n_header
    header = json.loads(bytes(view[_HEAD.size : start]))

    def decode(node: Any) -> Any:
        if isinstance(node, dict):
            if "__array__" in node:
                dtype, shape, offset, n_bytes = node["__array__"]
                raw = view[start + offset : start + offset + n_bytes]
                array = np.frombuffer(raw, dtype=dtype).reshape(shape)
                if not array.flags.aligned:
                    array = array.copy()
                    array.flags.writeable = False
                return array
            return {k: decode(v) for k, v in node.items()}
        if isinstance(node, list):
            return [decode(v) for v in node]
        return node

    return decode(header)


def _key(key: Any) -> str:
    if not isinstance(key, str) or key == "__array__":
        raise TypeError(f"{key!r} is not a key that can be sent: keys are strings")
    return key
