"""Large arrays of calls on their way to the nodes whose tasks ask for them, by digest."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mrml import wire
from mrml.engines.local.serving import Peer

#: pieces in which an array travels
PIECE_BYTES = 4 << 20
#: files of arrays on nodes that no call asks for any more, but the next one may
UNUSED_BYTES = 4 << 30


class Arrays:
    """Large arrays of calls, by digest: those of calls under way are held, of some others nodes still have files."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._held: dict[str, list[memoryview]] = {}
        self._calls = Counter[str]()
        #: what no call asks for, longest unused first, with its bytes
        self._unused = OrderedDict[str, int]()

    def put(self, raw: memoryview) -> str:
        """Hold an array; its digest, for which the same memory is read once."""
        place = np.frombuffer(raw, np.uint8).ctypes.data, raw.nbytes
        if place not in self._known:  # while it is held nothing else lies there
            self._known[place] = hashlib.sha256(raw).hexdigest()
            self._held.setdefault(self._known[place], []).append(raw)
        return self._known[place]

    def bytes_of(self, digest: str) -> memoryview:
        """An array that a call under way asks for."""
        return self._held[digest][0]

    def used(self, digests: Iterable[str]) -> None:
        """By one more call; what was put and is used by none is let go."""
        for digest in digests:
            self._calls[digest] += 1
            self._unused.pop(digest, None)
        for digest in set(self._held) - set(self._calls):
            self._release(digest)

    def let_go(self, digests: Iterable[str]) -> list[str]:
        """One call fewer asks for them; those that nodes are to forget."""
        for digest in digests:
            self._calls[digest] -= 1
            if not self._calls[digest]:
                del self._calls[digest]
                self._unused[digest] = self._release(digest)
        old = []
        while sum(self._unused.values()) > UNUSED_BYTES:
            old.append(self._unused.popitem(last=False)[0])
        return old

    def _release(self, digest: str) -> int:
        """Hold an array no longer; its bytes."""
        self._known = {place: known for place, known in self._known.items() if known != digest}
        return self._held.pop(digest)[0].nbytes


@dataclass
class Node:
    """What a host's tasks share: of each array the task by which it comes, or None once it is there."""

    arrays: dict[str, Peer | None] = field(default_factory=dict)
    forgets: list[str] = field(default_factory=list)


def pieces(digest: str, raw: memoryview) -> Iterable[bytes]:
    """The messages by which an array travels."""
    for first in range(0, raw.nbytes, PIECE_BYTES):
        piece = np.frombuffer(raw[first : first + PIECE_BYTES], np.uint8)
        last = first + PIECE_BYTES >= raw.nbytes
        told = {"digest": digest, "n_bytes": raw.nbytes, "piece": piece, "first": not first, "last": last}
        yield wire.dumps({"op": "array", "tasks": [], **told})
