"""What is wrong on HDFS or with the cluster is said in a line, with its exit code, and nothing is written."""

from __future__ import annotations

import gzip
import io
import random
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.cli.main import main
from mrml.cluster import Cluster
from mrml.engines.hadoop.yarn import ResourceManager
from mrml.fs.folder import Folder

pytestmark = pytest.mark.hadoop
GOOD = b"a,b,y\n" + b"".join(b"%d,%d,%d\n" % (i, i * 7 % 5, i % 2) for i in range(40))


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


TABLE = parquet(a=[1.0, 2.0] * 9, y=[0, 1] * 9)
#: the footer's length stands before the last four bytes
_FOOTER = int.from_bytes(TABLE[-8:-4], "little") + 8
TORN = TABLE[:-_FOOTER] + b"\xff" * (_FOOTER - 8) + TABLE[-8:]


class Trap(NamedTuple):
    name: str
    files: dict[str, bytes]
    said: str


TRAPS = (
    Trap("a missing path", {}, r"hdfs://.*/rows: there is no such file or directory; check the path"),
    Trap("an empty directory", {"part.csv": b""}, r"part.csv: .*empty|has no"),
    Trap("no Parquet at all", {"a.parquet": TABLE, "b.parquet": b"PAR1 and no footer"},
         r"b.parquet: cannot be read as Parquet"),
    Trap("a corrupt Parquet footer", {"a.parquet": TABLE, "b.parquet": TORN}, r"b.parquet: cannot be read as Parquet"),
    Trap("a column that one Parquet part lacks", {"a.parquet": TABLE, "b.parquet": parquet(y=[0, 1])},
         r"b.parquet, column 'a': is missing"),
    Trap("a column of another type in one part", {"a.parquet": TABLE, "b.parquet": parquet(a=["x", "z"], y=[0, 1])},
         r"b.parquet, column 'a'"),
    Trap("a column that one CSV part lacks, which a task finds", {"a.csv": GOOD, "b.csv": b"a,y\n1,0\n"},
         r"b.csv, column 'b': is missing; known: a, y"),
)  # fmt: skip


@pytest.fixture
def place(client: Cluster) -> Folder:
    """An empty folder on HDFS."""
    folder = Folder(f"{client.namenode_uri}/bad-input")
    folder.remove()
    folder.make()
    return folder


def train(place: Folder, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Exit code and the error of a training on the cluster; nothing may have been written."""
    before = [i.name for i in place.fs.find(place.path)] if not more else []
    words = ["--data", place.join("rows"), "--target", "y", "--output", place.join("model"), "--engine", "streaming"]
    code = main(["train", "logistic", *words, "-r", "hadoop", "-q", *more])
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err, said
    if not more:
        assert [i.name for i in place.fs.find(place.path)] == before
    return code, said.err


@pytest.mark.parametrize("trap", TRAPS, ids=[t.name for t in TRAPS])
def test_bad_rows_are_3_and_named(place: Folder, capsys: pytest.CaptureFixture[str], trap: Trap) -> None:
    rows = place / "rows"
    for name, content in trap.files.items():
        rows.make()
        rows.write(name, content)
    code, said = train(place, capsys)
    assert code == 3 and re.search(trap.said, said), said


def test_a_file_one_may_not_read_is_3(
    place: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = place / "rows"
    rows.make()
    rows.write("part-0.csv", GOOD)
    from .test_fs_hdfs import Place, forbid

    forbid(Place(rows.fs, rows.path), rows.join("part-0.csv"))
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    code, said = train(place, capsys)
    assert code == 3 and re.search(r"part-0.csv.*cannot be read.*stranger", said), said


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("core-site.xml", "fs.defaultFS", "hdfs://127.0.0.1:1", "NameNode 127.0.0.1:1: cannot be reached"),
        (
            *("yarn-site.xml", "yarn.resourcemanager.webapp.address", "127.0.0.1:1"),
            "ResourceManager http://127.0.0.1:1: cannot be reached",
        ),
        (
            *("yarn-site.xml", "yarn.resourcemanager.address", "127.0.0.1:1"),
            "ResourceManager 127.0.0.1:1: cannot be reached",
        ),
    ],
)
def test_a_master_that_is_not_there_is_5_within_ten_seconds(
    place: Folder, client: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, file: str, key: str, value: str, said: str,
) -> None:  # fmt: skip
    conf = tmp_path / "conf"
    shutil.copytree(client.conf, conf)
    text, n = re.subn(f"(<name>{key}</name><value>)[^<]*", rf"\g<1>{value}", (conf / file).read_text())
    assert n == 1
    (conf / file).write_text(text)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(conf))
    began = time.monotonic()
    code, error = train(place, capsys)
    assert code == 5 and said in error and time.monotonic() - began < 10


def n_jobs(cluster: Cluster) -> int:
    return int(ResourceManager(cluster.resourcemanager_url).metrics()["appsSubmitted"])


def rows_and_words(place: Folder) -> list[str]:
    """A training that would work, but for what is said after it."""
    rows = place / "rows"
    rows.make()
    rows.write("part-0.csv", GOOD)
    return [
        "train",
        "logistic",
        "--data",
        rows.path,
        "--target",
        "y",
        "--output",
        place.join("m"),
        "-r",
        "hadoop",
        "-q",
    ]


@pytest.mark.parametrize("engine", ["resident", "streaming"])
@pytest.mark.parametrize(("more", "said"), [
    (("--memory-mb", "6145"), "engine, memory_mb: asks for a container of 6145 MB, and YARN gives at most 6144"),
    (("--vcores", "5"), "engine, vcores: asks for a container of 5 cores, and YARN gives at most 4"),
    (("--gpus-per-task", "1"), "no node has yarn.io/gpu"),
    (("--queue", "nowhere"), "engine, queue: YARN has no queue 'nowhere' for jobs; take one of: default"),
])  # fmt: skip
def test_what_yarn_can_never_give_is_2_and_no_job_is_submitted(
    place: Folder, client: Cluster, capsys: pytest.CaptureFixture[str], engine: str, more: tuple[str, ...], said: str
) -> None:
    before = n_jobs(client)
    assert main([*rows_and_words(place), "--engine", engine, *more]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and n_jobs(client) == before
    assert not place.exists("m")


def test_an_archive_that_is_torn_costs_one_job_and_names_its_remedy(
    place: Folder, client: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    words = rows_and_words(place)
    for name, content in (
        ("text.tar.gz", b"no archive"),
        ("torn.tar.gz", gzip.compress(random.Random(1).randbytes(1 << 16))[:-20]),
    ):
        place.write(name, content)
        before = n_jobs(client)
        code = main([*words, "--environment", place.join(name)])
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "with `mrml pack --upload`" in error and place.join(name) in error, error
        assert (code, n_jobs(client) - before) == ((2, 0) if name == "text.tar.gz" else (5, 1))
