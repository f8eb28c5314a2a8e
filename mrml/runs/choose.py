"""Which engine suits some data, where the configuration leaves that open.  Floor 4."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mrml import pin
from mrml.config.sections import DataConfig, EngineConfig
from mrml.data.files import File, discover
from mrml.errors import InputError
from mrml.logs import size

#: text that one process is done with before several have shared it: they save ``1 - 1/workers`` of the work, but take
#: 0.3 s to start and about 1 ms a round for messages.  Measured with 2 workers, seconds inline and local: boosting
#: 14 MiB 2.9 and 3.4, 42 MiB 5.7 and 5.7; k-means 14 MiB 1.5 and 1.8, 42 MiB 2.9 and 2.5; linear 14 MiB 0.8 and 0.8
SMALL_BYTES = 20 << 20
#: of text in a byte of a compressed or Parquet file, about
_DENSE = 4


def chosen(config: EngineConfig, data: DataConfig, files: Sequence[File] = ()) -> tuple[EngineConfig, str]:
    """The configuration with an engine for ``auto``, and why that one; nothing to say of one that was named.

    ``files`` are those of the data where they are known already.
    """
    if config.engine != "auto":
        return config, ""
    name, why = _choose(config, data, files)
    return dataclasses.replace(config, engine=name), why


def _choose(config: EngineConfig, data: DataConfig, files: Sequence[File]) -> tuple[str, str]:
    if config.runner == "hadoop":
        return "resident", "the runner is hadoop"
    if config.workers is not None:
        return "local", "workers are asked for"
    if pin.cores() == 1:
        return "inline", "there is one core"
    paths = (*data.data, *data.valid)
    if any("://" in path and not path.startswith("file:") for path in paths):
        return "local", "the data are not on this machine"
    try:
        files = files or [file for part in (data.data, data.valid) if part for file in discover(part)]
    except InputError:  # told by who reads them
        return "inline", "there is nothing to share"
    n_bytes = sum(f.size * (_DENSE if f.compression or ".parquet" in f.path else 1) for f in files)
    read = size(sum(f.size for f in files))
    if n_bytes * (1 - 1 / pin.cores()) < SMALL_BYTES:
        return "inline", f"{read} are quicker in one process"
    return "local", f"{read} are quicker shared"
