"""How a driver and a task find out that they belong together: each proves that it knows the run's secret.

HMAC-SHA256 over a fresh challenge of each side; the secret itself never travels.  Messages are lines of JSON of a
bounded length, and all of it has five seconds, so that whoever else dials the port harms nobody but himself.
"""

from __future__ import annotations

import hmac
import json
import os
import socket
import time
from typing import Any

from mrml.errors import EngineError
from mrml.version import __version__

HELLO_S = 5.0
MOST_BYTES = 4096
_NEW_MRML = "give the tasks the driver's mrml: pack it again with `mrml pack`"


class Refused(Exception):
    """The other side is not one of this run, or did not say so in time."""


class _Line:
    """Lines of JSON over a socket until a moment."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock, self.until = sock, until

    def send(self, message: dict[str, Any]) -> None:
        self.sock.settimeout(self._left())
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Byte by byte: what comes behind the line is not of the hello."""
        line = bytearray()
        while not line.endswith(b"\n"):
            if len(line) > MOST_BYTES:
                raise Refused("its hello is too long")
            self.sock.settimeout(self._left())
            byte = self.sock.recv(1)
            if not byte:
                raise Refused("it hung up")
            line += byte
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found

    def _left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def welcome(sock: socket.socket, secret: bytes) -> dict[str, Any]:
    """The driver's side: what a task says of itself once it has proved that it is one.

    Refused
        It did not prove it, or not in time.
    """
    line, mine = _Line(sock, time.monotonic() + HELLO_S), os.urandom(32).hex()
    try:
        line.send({"mrml": __version__, "challenge": mine})
        said = line.receive()
        theirs, proof = str(said["challenge"]), str(said["proof"])
        if not hmac.compare_digest(proof.encode(), _proof(secret, "task", mine, theirs).encode()):
            line.send({"refused": "it does not know the secret of this run"})
            raise Refused("it does not know the secret of this run")
        if said.get("mrml") != __version__:
            line.send({"refused": f"the driver is mrml {__version__}, this task {said.get('mrml')}; {_NEW_MRML}"})
            raise Refused(f"it is mrml {said.get('mrml')}, and this is {__version__}; {_NEW_MRML}")
        line.send({"proof": _proof(secret, "driver", theirs, mine)})
        facts = said.get("facts")
        return facts if isinstance(facts, dict) else {}
    except TimeoutError as error:
        raise Refused(f"it said nothing for {HELLO_S:.0f} s") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused("what it said is not a hello") from error


def introduce(sock: socket.socket, secret: bytes, facts: dict[str, Any]) -> None:
    """The task's side; EngineError where the driver refuses it, or is none."""
    line, mine, place = _Line(sock, time.monotonic() + HELLO_S), os.urandom(32).hex(), "driver"
    try:
        theirs = str(line.receive()["challenge"])
        proof = _proof(secret, "task", theirs, mine)
        line.send({"mrml": __version__, "challenge": mine, "proof": proof, "facts": facts})
        said = line.receive()
    except (OSError, ValueError, KeyError, TypeError, RecursionError, Refused) as error:
        finding = f"what listens there is no driver of this run: {error}"
        raise EngineError(place, finding, "look at --driver-host and --driver-ports") from error
    if "refused" in said:
        raise EngineError(place, str(said["refused"]), "start the run again")
    if not hmac.compare_digest(str(said.get("proof")).encode(), _proof(secret, "driver", mine, theirs).encode()):
        raise EngineError(place, "what listens there does not know the secret of this run", "look at --driver-host")


def _proof(secret: bytes, who: str, theirs: str, mine: str) -> str:
    return hmac.digest(secret, f"mrml resident {who} {theirs} {mine}".encode(), "sha256").hex()
