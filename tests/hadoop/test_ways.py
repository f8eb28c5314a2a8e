"""Rows on HDFS, whichever way they reach the tasks and wherever those run, give the bytes of the inline engine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mrml.cluster import Cluster
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.errors import ConfigError, EngineError
from mrml.fs.folder import Folder
from mrml.model import load
from mrml.runs import setup
from mrml.runs import train as run
from mrml.runs.fit import Checkpoint, fit

pytestmark = pytest.mark.hadoop
INLINE = EngineConfig(engine="inline")
YARN = EngineConfig(engine="streaming", runner="hadoop", workers=3, uber="never")
#: what lies on HDFS, and how a round reads it: uber mode takes half of the time, so most of them run in it
WAYS = {
    "csv-direct": ("csv", dataclasses.replace(YARN, uber="auto")),
    "csv-stream": ("csv", dataclasses.replace(YARN, feed="stream")),
    "csv-stream-uber": ("csv", dataclasses.replace(YARN, feed="stream", uber="always")),
    "parquet-direct": ("parquet", dataclasses.replace(YARN, uber="auto")),
    "parquet-containers": ("parquet", YARN),
}
N_ROWS = (900, 500, 40)


def row(file: int, i: int) -> tuple[str, float, float, int, str]:
    a, b = (i * 7919 % 1000) / 500 - 1 + file / 9, (i * 104729 % 997) / 500 - 1
    return f"{file}-{i}", a, b, int(a - b + (i * 13 % 7) / 4 > 1), "uvw"[(i * 31 + int(a > 0)) % 3]


def as_csv(file: int) -> bytes:
    """A file each with LF, CRLF and CR; the last of the first two lacks its line end, the third has a mark before."""
    end = ("\n", "\r\n", "\r")[file]
    lines = ["key,a,b,y,c", *(",".join(map(str, row(file, i))) for i in range(N_ROWS[file]))]
    return b"\xef\xbb\xbf" * (file == 2) + (end.join(lines) + end * (file == 2)).encode()


def as_parquet(file: int) -> bytes:
    columns = zip(*(row(file, i) for i in range(N_ROWS[file])), strict=True)
    sink = pa.BufferOutputStream()
    names = ("key", "a", "b", "y", "c")
    pa.parquet.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), sink, 300)
    return bytes(sink.getvalue())


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Folder:
    """A folder of CSV and one of Parquet on HDFS, the same rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HADOOP_CONF_DIR", str(cluster.conf))
        folder = Folder(f"{cluster.namenode_uri}/ways")
        folder.remove()
        for kind, made in (("csv", as_csv), ("parquet", as_parquet)):
            (folder / kind).make()
            for file in range(len(N_ROWS)):
                (folder / kind).write(f"part-{file}.{kind}", made(file))
    return folder


def data_of(place: Folder, kind: str, **more: Any) -> DataConfig:
    return DataConfig(data=(place.join(kind),), id="key", window_bytes=4096, **more)


def trained(place: Folder, kind: str, algorithm: str, engine: EngineConfig, rounds: int, folder: Path) -> Path:
    """The directory of a model; its metrics are another test's."""
    given = {"logistic": {"target": "y"}, "softmax": {"target": "c"}, "kmeans": {"exclude": ("y", "c")}}[algorithm]
    params = {"k": 3} if algorithm == "kmeans" else {}
    config = RunConfig(algorithm, params, data_of(place, kind, **given), engine, max_rounds=rounds)
    dataset, pipeline = setup.open_training(config, setup.algorithm_of(config))
    with setup.engine_of(engine, config.data.split_bytes) as running:
        model, _ = fit(pipeline, dataset, running, Checkpoint(folder / "rounds"), max_rounds=rounds)
        assert running.report.n_rows == sum(N_ROWS)
    (folder / "model").mkdir()
    model.save(folder / "model")
    return folder / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(("_", "."))}


@pytest.mark.parametrize(
    ("way", "algorithm", "rounds"),
    [
        ("csv-direct", "logistic", 3),
        ("csv-stream", "logistic", 2),
        ("parquet-direct", "logistic", 2),
        ("csv-direct", "softmax", 2),
        ("csv-stream-uber", "softmax", 2),
        ("parquet-direct", "softmax", 2),
        ("csv-direct", "kmeans", 2),
        ("csv-stream-uber", "kmeans", 3),
        ("parquet-direct", "kmeans", 2),
    ],
)
def test_a_model_is_that_of_the_inline_engine(
    client: Cluster, place: Folder, tmp_path: Path, way: str, algorithm: str, rounds: int
) -> None:
    kind, engine = WAYS[way]
    here = trained(place, kind, algorithm, INLINE, rounds, tmp_path / "here")
    there = trained(place, kind, algorithm, engine, rounds, tmp_path / "there")
    assert contents(there) == contents(here)


@pytest.mark.parametrize("way", ["csv-stream-uber", "parquet-containers"])
def test_metrics_and_predictions_are_those_of_the_inline_engine(
    client: Cluster, place: Folder, tmp_path: Path, way: str
) -> None:
    kind, engine = WAYS[way]
    model = str(trained(place, kind, "logistic", INLINE, 3, tmp_path / "here"))
    data = data_of(place, kind)
    assert run.evaluate(model, data, engine) == run.evaluate(model, data, INLINE)
    for name, running in (("there", engine), ("inline", INLINE)):
        run.predict(model, data, running, str(tmp_path / name), "csv")
    assert contents(tmp_path / "there") == contents(tmp_path / "inline")
    assert load(model).output == "classes"


def test_what_hadoop_cannot_feed_is_refused_before_a_job(client: Cluster, place: Folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Parquet is read by columns; use --feed direct"):
        trained(place, "parquet", "logistic", WAYS["csv-stream"][1], 1, tmp_path)


def test_a_task_that_fails_in_uber_mode_is_told_with_its_own_words_and_in_auto_mode_tried_in_containers(
    client: Cluster, place: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that ends in the application master, and in a container after its first attempt works."""
    python = tmp_path / "python"
    root = Path(run.__file__).parents[1]
    python.write_text(
        "#!/bin/sh\n"
        'case "$mapreduce_job_ubertask_enable$*" in true*--mapper*) echo "KeyError: \'no way\'" >&2; exit 3;; esac\n'
        f'PYTHONPATH={root} exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    always = dataclasses.replace(YARN, uber="always", task_python=str(python))
    with pytest.raises(EngineError, match=r"(task 0|application master).* on .*container_.*its last words: KeyError"):
        trained(place, "csv", "logistic", always, 1, tmp_path / "always")
    auto = dataclasses.replace(always, uber="auto")
    there = trained(place, "csv", "logistic", auto, 1, tmp_path / "auto")
    assert contents(there) == contents(trained(place, "csv", "logistic", INLINE, 1, tmp_path / "here"))
