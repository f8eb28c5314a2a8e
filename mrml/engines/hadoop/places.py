"""Which hosts hold the blocks of files on HDFS, as the NameNode tells by WebHDFS; hdfs-native does not ask it (0.14.7).

It is asked for a few seconds at most, and what it does not tell is not known: nothing depends on it but seconds.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import time
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mrml.data.files import File
from mrml.engines.hadoop.yarn import fetch
from mrml.engines.resident.near import Held, called
from mrml.errors import EngineError
from mrml.fs.address import is_https, web_addresses
from mrml.fs.hdfs import URL

log = logging.getLogger(__name__)

#: a file takes some milliseconds
LIMIT_S = 5.0
TIMEOUT_S = 2.0
_AT_ONCE = 8


def places(files: Sequence[File], keys: dict[str, str]) -> list[list[Held]]:
    """Of every file, where its bytes are; nothing of what is on no HDFS, or was not told in time."""
    until = time.monotonic() + LIMIT_S
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda file: _places(file.path, keys, until), files))


def _places(path: str, keys: dict[str, str], until: float) -> list[Held]:
    url = URL.fullmatch(path)
    if url is None or url[1] not in ("hdfs", "webhdfs", "swebhdfs"):
        return []
    authority = url[2] or keys.get("fs.defaultFS", "").partition("://")[2].rstrip("/")
    query = urllib.parse.urlencode({"op": "GETFILEBLOCKLOCATIONS", "user.name": getpass.getuser()})
    for address in web_addresses(url[1], authority, keys):  # a NameNode that stands by refuses
        if time.monotonic() > until:
            return []
        place = f"http{'s' * is_https(url[1], keys)}://{address}/webhdfs/v1{urllib.parse.quote(url[3] or '/')}?{query}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EngineError):
            return [_held(told) for told in json.loads(fetch(place, timeout_s=TIMEOUT_S))[_OUTER][_INNER]]
    log.debug("it is not known which hosts hold %s", path)
    return []


_OUTER, _INNER = "BlockLocations", "BlockLocation"


def _held(told: dict[str, Any]) -> Held:
    addresses = [name.rpartition(":")[0] for name in told.get("names") or ()]
    start = int(told["offset"])
    return Held(start, start + int(told["length"]), called([*(told.get("hosts") or ()), *addresses]))
