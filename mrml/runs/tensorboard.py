"""Event files, which TensorBoard draws curves from: the figures of a run's rounds.

A file is records of ``length (uint64), its checksum, bytes, their checksum`` (TensorFlow's record_writer.h).  The bytes
are a protocol buffer Event: wall time (field 1), step (2), version (3) and summary (5), whose values have a tag (1) and
a number (2) (tensorboard/compat/proto/event.proto and summary.proto).  Checksums are CRC-32C, rotated by 15 bits, plus
a constant.  So little is written here that no library is needed for it.
"""

from __future__ import annotations

import functools
import logging
import os
import platform
import struct
import time
from pathlib import Path
from typing import Any

from mrml.errors import ConfigError

log = logging.getLogger(__name__)
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8
#: numbers of a round that are no curve
_PLACED = ("round", "rounds", "trees", "eta_s")


class Events:
    """Told of a run as a Progress is, hands it on, and writes every number of a round under its name.

    The step is the round.  A run that is taken up writes another file, which TensorBoard puts behind the first.
    """

    def __init__(self, folder: str, told: Any) -> None:
        self.told, self._folder = told, folder
        self._path: Path | None = None

    def start(self, plan: dict[str, Any]) -> None:
        try:
            self._path = self._named()
            self._write(_field(3, b"brain.Event:2"))
        except OSError as error:
            finding = f"{self._folder} cannot be written: {error.strerror}"
            raise ConfigError("--log-dir", finding, "name another") from error
        self.told.start(plan)

    def round(self, facts: dict[str, Any]) -> None:
        numbers = {k: v for k, v in facts.items() if isinstance(v, int | float) and k not in _PLACED}
        values = [_field(1, _field(1, k.encode()) + b"\x15" + struct.pack("<f", v)) for k, v in numbers.items()]
        try:
            self._write(b"\x10" + _varint(int(facts["round"])) + _field(5, b"".join(values)))
        except OSError as error:  # no reason to lose a run
            log.warning("%s can no longer be written: %s; its events stop here", self._path, error.strerror)
            self._path = None
        self.told.round(facts)

    def done(self, facts: dict[str, Any]) -> None:
        self.told.done(facts)

    def _named(self) -> Path:
        if "://" in self._folder:
            remedy = "name a local one; TensorBoard reads it while the run goes on"
            raise ConfigError("--log-dir", f"{self._folder} is not a directory of this machine", remedy)
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.{time.time_ns()}"
        return Path(self._folder, name)

    def _write(self, fields: bytes) -> None:
        """A record, whole when this returns."""
        if self._path is None:
            return
        data = b"\x09" + struct.pack("<d", time.time()) + fields
        head = struct.pack("<Q", len(data))
        with open(self._path, "ab") as file:
            file.write(head + _checksum(head) + data + _checksum(data))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: a text, or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@functools.cache
def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


def _checksum(data: bytes) -> bytes:
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)
