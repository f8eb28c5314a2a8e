"""What tasks are told of their driver: a file that only this user can read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from mrml import wire
from mrml.errors import EngineError
from mrml.fs.find import filesystem


@dataclass(frozen=True)
class Letter:
    """Where the driver listens, the run's secret, and where the next driver would leave its own address.

    ``grace_s`` is how long a task looks for a driver that it lost, ``beat_s`` how often it says that it is there.
    """

    host: str
    port: int
    secret: bytes
    grace_s: float
    next: str = ""
    beat_s: float = 3.0

    def to_bytes(self) -> bytes:
        """What :meth:`of` reads."""
        return wire.dumps({**vars(self), "secret": self.secret.hex()})

    @staticmethod
    def of(message: bytes) -> Letter:
        """The letter of some bytes."""
        told = wire.loads(message)
        return Letter(**{**told, "secret": bytes.fromhex(told["secret"])})

    def write(self, path: Path) -> Path:
        """For this user's eyes only."""
        path.touch(0o600)
        path.write_bytes(self.to_bytes())
        return path

    def address(self) -> tuple[str, int]:
        """Where to dial: that of the next driver once there is one."""
        if self.next:
            with contextlib.suppress(OSError, EngineError):
                fs, name = filesystem(self.next)
                told = wire.loads(fs.cat_file(name))
                return told["host"], told["port"]
        return self.host, self.port
