"""What tasks send in a round: only so much of it is in a driver's memory at once, however many tasks there are.

Messages that do not fit beside those that are on their way wait in their sockets.  Of Statistics that came, what does
not fit lies in files until their keys are reduced, one key at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrml.engines import scratch
from mrml.engines.local.worker import SPILL_BYTES

#: of messages on their way, and as much of Statistics that came
MOST_BYTES = 256 << 20


class Intake:
    """The memory of one driver for what comes; ``folder`` is for what does not fit."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.coming = self.held = 0
        self._files: list[Path] = []

    def may_come(self, n_bytes: int) -> bool:
        """Whether a message may be taken in now, which then is on its way; one alone may always."""
        if self.coming and self.coming + n_bytes > self.most_bytes:
            return False
        self.coming += n_bytes
        return True

    def came(self, n_bytes: int) -> None:
        """A message is no more on its way: it is whole, or its sender is gone."""
        self.coming -= n_bytes

    def keep(self, answer: dict[str, Any]) -> None:
        """Put the Statistics of an answer into files where memory has no room for them."""
        parts = answer.get("parts") or ()
        n_bytes = sum(body.nbytes for *_, body in parts)
        if self.held + n_bytes <= self.most_bytes:
            self.held += n_bytes
            return
        for part in parts:
            # a copy of what stays: as a view it would hold the whole message
            part[2] = part[2].copy() if part[2].nbytes <= SPILL_BYTES else self._written(part[2])

    def _written(self, body: Any) -> str:
        path = self.folder / f"intake-{len(self._files)}"
        with scratch.room(self.folder, body.nbytes):
            path.write_bytes(body)
        self._files.append(path)
        return str(path)

    def forget(self) -> None:
        """The round is over."""
        for path in self._files:
            path.unlink(missing_ok=True)
        self._files.clear()
        self.held = 0
