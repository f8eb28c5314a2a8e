"""``--driver cluster``: what a container could not see is refused, the run file is the run, and its end is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mrml.cli.main import main
from mrml.cli.parser import load_algorithm
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.tools.away import inside
from mrml.tools.away.send import run_file

FAR = ("--data", "hdfs:///rows", "--target", "y", "-r", "hadoop", "--driver", "cluster")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "rows", "--output", "hdfs:///m", "-r", "hadoop", "--driver", "cluster"), "does not see rows"),
        ((*FAR, "--output", "m"), "does not see m; put it on HDFS"),
        ((*FAR, "--output", "hdfs:///m", "--keytab", "k", "--principal", "a@B"), "keytab is of this machine"),
        ((*FAR, "--output", "hdfs:///m", "--json"), "leave --json out"),
        (("--data", "hdfs:///rows", "--output", "hdfs:///m", "--driver", "cluster"), "use -r hadoop"),
    ],
)
def test_what_a_container_would_not_find_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "linear", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err + found.out


def test_the_run_file_makes_the_same_run(tmp_path: Path) -> None:
    data = DataConfig(data=("hdfs:///a", "hdfs:///b"), target="y", exclude=("u",), bins=7, na=("?",))
    engine = EngineConfig(runner="hadoop", workers=3, environment="env.tgz", jobconf=("a=b", "c=d,e"))
    config = RunConfig("linear", {"l2": 0.25}, data, engine, "hdfs:///m", max_rounds=9, overwrite=True)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_file(config, "hdfs:///env.tgz")))
    known = conf.run_options(load_algorithm("linear"))
    found = conf.run_config(conf.resolve(known, {}, {}, conf.read_file(str(path)), str(path)))
    assert found.params["l2"] == 0.25 and found.data == data
    assert found.engine == dataclasses.replace(engine, environment="hdfs:///env.tgz")
    assert (found.output, found.max_rounds, found.overwrite) == ("hdfs:///m", 9, True)


def test_how_a_run_ended_is_kept_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{i},{2 * i}\n" for i in range(50)))
    data = DataConfig(data=(str(tmp_path / "rows.csv"),), target="y")
    place = tmp_path / "m.driver"
    place.mkdir()
    for output, code, said in (("m", 0, "model"), ("m", 4, "already")):
        config = RunConfig("linear", {}, data, EngineConfig(engine="inline"), str(tmp_path / output))
        (tmp_path / "run.json").write_text(json.dumps(run_file(config, None)))
        assert inside.main([str(tmp_path / "run.json"), str(place)]) == 0
        assert json.loads((place / inside.ENDED).read_text()) == {"exit_code": code}
        assert said in (place / inside.LOG).read_text()
    assert (tmp_path / "m" / "model.json").exists()
