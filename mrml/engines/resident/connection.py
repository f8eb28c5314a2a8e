"""A task at the other end of a socket, as the driver sees it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from functools import cached_property
from typing import Any

from mrml import wire
from mrml.engines.local.serving import Peer
from mrml.engines.resident.intake import Intake
from mrml.engines.resident.near import Hosts, called
from mrml.errors import EngineError

_LENGTH = struct.Struct("<Q")
#: a length above it is none: the other side speaks another protocol
MOST_BYTES = 1 << 36
#: a message of no bytes: somebody is there
HEARTBEAT = _LENGTH.pack(0)


class Connection(Peer):
    """Frames over a socket, read as they come: a task that stops in the middle of one holds up nobody.

    ``patience_s`` is how long what is sent may not be taken.
    """

    def __init__(
        self, number: int, sock: socket.socket, facts: dict[str, Any], patience_s: float, intake: Intake
    ) -> None:
        super().__init__(number)
        self.sock, self.facts, self.patience_s, self.intake = sock, facts, patience_s, intake
        self.heard = time.monotonic()
        #: when it last had something to do
        self.busy = self.heard
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unsent: list[bytes] = []
        #: bytes of a message that waits for room
        self._waits = 0
        self._begin(_LENGTH.size, is_head=True)

    def fileno(self) -> int:
        return self.sock.fileno()

    def put(self, message: bytes) -> None:
        self._unsent += [_LENGTH.pack(len(message)), message]

    def flush(self) -> None:
        rest, self._unsent = memoryview(b"".join(self._unsent)), []
        until, room = time.monotonic() + self.patience_s, select.poll()  # select ends at 1,024 descriptors
        room.register(self.sock, select.POLLOUT)
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError from None
                room.poll(200)

    def answers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self._waits:
            self.heard = time.monotonic()  # it is not read, and so not silent
            if not self._may_come(self._waits):
                return found
        while True:
            try:
                n = self.sock.recv_into(self._into[self._got :])
            except BlockingIOError:
                return found
            if not n:
                if found:
                    return found
                raise EOFError
            self.heard = time.monotonic()
            self._got += n
            if self._got < len(self._into):
                continue
            if not self._is_head:
                self.intake.came(len(self._into))
                found.append(self._message())
                self._begin(_LENGTH.size, is_head=True)
                continue
            (n_bytes,) = _LENGTH.unpack(self._into)
            if n_bytes > MOST_BYTES:
                raise EOFError
            if not n_bytes:
                self._begin(_LENGTH.size, is_head=True)
            elif not self._may_come(n_bytes):
                return found

    def _message(self) -> dict[str, Any]:
        try:
            found = wire.loads(self._into.toreadonly())
        except (EngineError, ValueError) as error:  # damaged on its way: as good as lost
            raise EOFError from error
        if not isinstance(found, dict):
            raise EOFError
        self.intake.keep(found)
        return found

    def _may_come(self, n_bytes: int) -> bool:
        """Begin with a message, if there is room for it."""
        if not self.intake.may_come(n_bytes):
            self._waits = n_bytes
            return False
        self._waits = 0
        self._begin(n_bytes, is_head=False)
        return True

    def _begin(self, n_bytes: int, is_head: bool) -> None:
        self._into, self._got, self._is_head = memoryview(bytearray(n_bytes)), 0, is_head

    def end(self) -> None:
        if not self._is_head:
            self.intake.came(len(self._into))
            self._begin(_LENGTH.size, is_head=True)
        self.sock.close()

    @cached_property
    def hosts(self) -> Hosts:
        """Its host by all of its names."""
        address = ""
        with contextlib.suppress(OSError):  # it is gone already
            address = self.sock.getpeername()[0]
        return called([self.facts.get("host"), self.facts.get("node"), address])

    @property
    def where(self) -> str:
        """Host, process and container of the task."""
        words = [str(self.facts.get("host", "?")), f"process {self.facts.get('pid', '?')}"]
        return ", ".join(words + [str(self.facts[k]) for k in ("container",) if self.facts.get(k)])
