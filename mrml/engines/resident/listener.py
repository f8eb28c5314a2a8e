"""Where tasks dial in: every caller has a thread of his own until he has proved who he is."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading
from collections import deque
from typing import Any

from mrml.engines.resident.hello import Refused, welcome
from mrml.errors import ConfigError

log = logging.getLogger(__name__)

#: callers who have not said who they are, at once; others are hung up on, and a task dials again
MOST_CALLERS = 256


class Listener:
    """A port; ``wake`` is readable when somebody has joined, whom :meth:`joined` takes."""

    def __init__(self, host: str, ports: str | None, secret: bytes) -> None:
        _allow_descriptors()
        self._secret = secret
        self._socket = bound(host, ports)
        self.port: int = self._socket.getsockname()[1]
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)
        self._joined: deque[tuple[socket.socket, dict[str, Any]]] = deque()
        self._callers = threading.BoundedSemaphore(MOST_CALLERS)
        threading.Thread(target=self._listen, daemon=True).start()

    def joined(self) -> list[tuple[socket.socket, dict[str, Any]]]:
        """Connections of those who joined since, and what they say of themselves."""
        with contextlib.suppress(BlockingIOError):
            while self.wake.recv(1024):
                pass
        found = []
        while self._joined:
            found.append(self._joined.popleft())
        return found

    def _listen(self) -> None:
        while True:
            try:
                caller, address = self._socket.accept()
            except OSError:  # closed
                return
            if not self._callers.acquire(blocking=False):
                caller.close()
                continue
            threading.Thread(target=self._hear, args=(caller, address), daemon=True).start()

    def _hear(self, caller: socket.socket, address: Any) -> None:
        try:
            facts = welcome(caller, self._secret)
        except Refused as refused:
            log.warning("a caller from %s is not a task of this run: %s", address[0], refused)
            caller.close()
            return
        finally:
            self._callers.release()
        self._joined.append((caller, facts))
        with contextlib.suppress(OSError):  # full: it is awake
            self._waker.send(b"!")

    def close(self) -> None:
        """Stop listening; who has joined meanwhile is hung up on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for caller, _ in self.joined():
            caller.close()
        self.wake.close()
        self._waker.close()


def _allow_descriptors() -> None:
    """As many as this process may have: one for each task, where most systems begin with 1,024."""
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bound(host: str, ports: str | None) -> socket.socket:
    """A listening socket at the address, on a free port of ``A-B``; ConfigError where there is none."""
    first, last = _range(ports)
    for port in range(first, last + 1):
        try:
            return socket.create_server((host, port), backlog=512)
        except OSError as error:
            problem = error
    finding = f"{host} has no free port among {ports}" if ports else f"cannot listen at {host}"
    raise ConfigError("engine, driver_ports" if ports else "engine, driver_host", f"{finding}: {problem.strerror}",
                      "name others" if ports else "name an address of this machine")  # fmt: skip


def _range(ports: str | None) -> tuple[int, int]:
    if ports is None:
        return 0, 0
    first, _, last = ports.partition("-")
    try:
        found = int(first), int(last or first)
    except ValueError:
        found = (0, 0)
    if not 0 < found[0] <= found[1] < 1 << 16:
        raise ConfigError(
            "engine, driver_ports", f"{ports!r} is not a range of ports", "write A-B, such as 40000-40100"
        )
    return found
