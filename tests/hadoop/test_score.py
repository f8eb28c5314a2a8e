"""Models, checkpoints and predictions on HDFS, scored on YARN by the Python of a packed environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mrml.cluster import Cluster
from mrml.fs.folder import Folder
from mrml.tools import pack

from .conftest import Run

pytestmark = pytest.mark.hadoop
N_ROWS = 3000
HADOOP = ("--engine", "streaming", "-r", "hadoop", "--workers", "2")
INLINE = ("--engine", "inline")
Mrml = Callable[..., str]


def rows() -> bytes:
    """Two numbers, a category, and a label that mostly follows them."""
    lines = ["key,a,b,c,y"]
    for i in range(N_ROWS):
        a, b, c = (i * 7919 % 1000) / 500 - 1, (i * 104729 % 997) / 500 - 1, "uvw"[i * 31 % 3]
        lines.append(f"k{i},{a},{b},{c},{int(a - b + (c == 'v') + (i * 13 % 7) / 4 > 1)}")
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def place(client: Cluster) -> Folder:
    """An empty folder on HDFS."""
    folder = Folder(f"{client.namenode_uri}/score")
    folder.remove()
    folder.make()
    folder.write("rows.csv", rows())
    return folder


@pytest.fixture
def mrml(run: Run) -> Mrml:
    return lambda *argv: run(sys.executable, "-m", "mrml", *argv, "-q")


def parts(folder: Folder) -> dict[str, bytes]:
    assert folder.exists("_SUCCESS") and not [n for n in folder.names() if n.startswith(".")]
    return {name: folder.read(name) for name in folder.names() if name.startswith("part-")}


def kept(place: Folder) -> set[str]:
    """What runs left in their users' folders."""
    users = place.parent / "user"
    return {name for user in users.names() for name in (users / user / "mrml").names()}


def test_a_model_trained_scored_and_measured_on_hdfs_is_the_one_made_here(
    place: Folder, mrml: Mrml, archive: str, tmp_path: Path
) -> None:
    data, there, here = place.join("rows.csv"), place.join("model"), str(tmp_path / "model")
    before = kept(place)
    train = ("train", "logistic", "--data", data, "--target", "y", "--id", "key", "--window-bytes", "20000")
    mrml(*train, *INLINE, "--max-rounds", "3", "--output", here)
    mrml(*train, *INLINE, "--max-rounds", "2", "--output", there)
    # another edge node, another engine; its metrics are two jobs more
    mrml(*train, *HADOOP, "--environment", archive, "--max-rounds", "3", "--output", there, "--resume")
    for name in ("model.json", "model.npz"):
        assert Folder(there).read(name) == Folder(here).read(name)
    assert json.loads(mrml("inspect", there, "--json"))["target"] == "y"
    ran = json.loads(Folder(there).read("run.json"))
    assert ran["n_rows"] == N_ROWS and ran["bad_rows"] == 0 and ran["n_bytes"] == len(rows()) and ran["bytes_up"] > 0
    assert (
        set(ran["seconds_in"]) == {"launch", "read", "map", "reduce", "driver"} and min(ran["seconds_in"].values()) >= 0
    )
    assert ran["seconds_in"]["launch"] > 0 and sum(ran["seconds_in"].values()) == pytest.approx(
        ran["seconds"], abs=0.01
    )
    assert kept(place) - before <= {"environments"}, "a run leaves nothing but the environment it came with"

    score = ("--data", data, "--id", "key", "--split-bytes", "40000")
    mrml("predict", here, *score, *INLINE, "--output", str(tmp_path / "inline"))
    expected = parts(Folder(tmp_path / "inline"))
    assert len(expected) > 2
    mrml("predict", there, *score, *HADOOP, "--output", place.join("scores"))
    assert parts(place / "scores") == expected
    # to a local directory, which the nodes do not see; attempts that fail after they wrote their parts double nothing
    fetched = ("--task-python", failing(tmp_path), "--output", str(tmp_path / "fetched"), "--json")
    assert json.loads(mrml("predict", there, *score, *HADOOP, *fetched))["n_rows"] == N_ROWS
    assert parts(Folder(tmp_path / "fetched")) == expected
    assert place.names() == ["model", "rows.csv", "scores"]


def test_scoring_again_replaces_all_or_nothing(place: Folder, mrml: Mrml, tmp_path: Path) -> None:
    data, model = place.join("rows.csv"), str(tmp_path / "model")
    train = ("train", "logistic", "--data", data, "--target", "y", "--exclude", "key", "--window-bytes", "20000")
    mrml(*train, *INLINE, "--output", model)
    scores = place / "scores"
    predict = ("predict", model, "--data", data, *INLINE, "--output", scores.path)
    mrml(*predict, "--format", "csv", "--split-bytes", "20000")
    assert len(parts(scores)) > 2
    with pytest.raises(AssertionError, match="already exists; use --overwrite"):
        mrml(*predict)
    assert len(parts(scores)) > 2
    mrml(*predict, "--overwrite")
    assert list(parts(scores)) == ["part-00000.parquet"] and place.names() == ["rows.csv", "scores"]


def failing(folder: Path) -> str:
    """A Python whose first attempt of every task works and then fails."""
    python = folder / "python"
    lines = (
        f'PYTHONPATH={Path(pack.__file__).parents[1]} {sys.executable} "$@" || exit 2',
        'case "$mapreduce_task_attempt_id" in *_0) exit 3;; esac',
    )
    python.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    python.chmod(0o755)
    return str(python)
