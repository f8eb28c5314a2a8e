"""A map-only Streaming job of a shell script, submitted by Hadoop's client alone: the probe of `mrml doctor`, and a
driver that is sent to the cluster.  Rounds go through mrjob (:mod:`mrml.engines.hadoop.engine`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mrml.engines.hadoop.environment import LINK
from mrml.fs.folder import Folder


def command(
    hadoop: str, jar: str, conf: Mapping[str, str], files: Sequence[Path], archive: str | None, lines: str, out: Folder
) -> list[str]:
    """The client's words.

    Parameters
    ----------
    files : the script that is the mapper, and what lies beside it where it runs.
    archive : a Python environment on HDFS, which is unpacked there.
    lines : a file on HDFS, each line of which is a task.
    """
    own = {"mapreduce.job.reduces": "0", "mapreduce.map.speculative": "false"}
    words = [word for k, v in sorted({**conf, **own}.items()) for word in ("-D", f"{k}={v}")]
    generic = [*words, "-files", ",".join(f"file://{path}" for path in files)]
    generic += ["-archives", f"{archive}#{LINK}"] if archive else []
    form = ["-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat"]
    ends = ["-input", lines, "-output", out.path, "-mapper", f"sh {files[0].name}"]
    return [hadoop, "jar", jar, *generic, *form, *ends]


def complaints(said: str) -> list[str]:
    """The lines of a client's words that tell of an error."""
    return [line for line in said.splitlines() if "rror" in line or "xception" in line]
