"""The records of the streaming engine's jobs: a key and fields in one line of text.

The key is JSON, so that a tab or a newline in it does no harm; binary fields are base64, because mrjob's local runners
sort lines.  An algorithm's key begins with ``=``: whatever it says, it is none of the engine's own words.
"""

from __future__ import annotations

import base64
import json

#: what an algorithm's key begins with
KEY = "="
#: the key of what went wrong in a task
ERROR = "!error"
#: the key of what a task counted, where it has no other record to ride on
REPORT = "!report"

Fields = list[str]


class FieldsProtocol:
    """One line: the key as JSON, a tab, tab-separated fields."""

    def read(self, line: bytes) -> tuple[str, Fields]:
        key, *fields = line.decode("ascii").split("\t")
        return json.loads(key), fields

    def write(self, key: str, fields: Fields) -> bytes:
        return "\t".join([json.dumps(key), *fields]).encode("ascii")


def pack(message: bytes) -> str:
    """Bytes as one field."""
    return base64.b64encode(message).decode("ascii")
