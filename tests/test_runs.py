"""``mrml runs`` without a cluster: directories, leases and a ResourceManager that is a list."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrml.cli.main import main
from mrml.cluster.settings import xml
from mrml.config.sections import DataConfig, EngineConfig, RunConfig
from mrml.engines.hadoop.yarn import Application, job_name
from mrml.engines.inline import InlineEngine
from mrml.errors import ConfigError, EngineError
from mrml.fs.folder import Folder
from mrml.runs import manage as runs
from mrml.runs import train as run
from mrml.runs.fit import Checkpoint
from mrml.runs.lease import fence, holder, lease_on

ID = "0123456789ab"
OLD_S = 10 * 86400
DRIVE = """
import signal, sys, time
from mrml.runs.lease import lease_on
from mrml.fs.folder import Folder
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
lease = lease_on(Folder(sys.argv[1]))
print("drives", flush=True)
time.sleep(600)
"""


def app(
    number: int, state: str, final: str = "UNDEFINED", run: str = ID, round_: str = "3", output: str = ""
) -> Application:
    """A job as the engine names and tags it; of tasks that stay with ``round_`` resident."""
    sign = "." if round_ == "resident" else "-"
    tags = (f"mrml-{run}-{round_}{sign}cafe.12", f"mrml-{run}", f"mrml-{run}-{round_}{sign}cafe")
    found = Application(f"application_1_{number:04d}", state, final, "", "default", number, "http://page", tags, "")
    return found._replace(name=job_name(round_, f"mrml-{run}", output))


class Manager:
    """A ResourceManager that knows some applications and notes whom it was told to kill; they die at once, or never."""

    def __init__(self, *apps: Application, stubborn: bool = False) -> None:
        self.apps, self.killed, self.stubborn = apps, list[str](), stubborn

    def by_tag(self, tag: str) -> list[Application]:
        return [a for a in reversed(self.apps) if tag in a.tags]

    def of_user(self, user: str) -> list[Application]:
        return list(reversed(self.apps))

    def kill(self, name: str) -> None:
        self.killed.append(name)
        if not self.stubborn:
            self.apps = tuple(a._replace(state="KILLED") if a.id == name else a for a in self.apps)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The directory of a run that came to round 5."""
    own = tmp_path / "models" / "a" / "_run"
    (own / "checkpoint").mkdir(parents=True)
    (own / "run_id.json").write_text(json.dumps({"run": ID}))
    (own / "identity.json").write_text(json.dumps({"algorithm": {"class": "mrml.logistic/1"}}))
    (own / "checkpoint" / "000005.state").write_bytes(b"")
    assert Checkpoint(own / "checkpoint").rounds() == [5]
    return own.parent


@contextmanager
def driven(output: Path, how: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease."""
    words = [sys.executable, "-c", DRIVE, str(output / "_run"), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "drives\n"
        try:
            yield driver
        finally:
            driver.kill()


def test_a_run_is_stopped_running_or_finished(output: Path) -> None:
    assert runs.look(str(output), None)[:5] == (ID, str(output), "stopped", "logistic", 5)
    with driven(output) as driver:
        run = runs.look(str(output), None)
        assert run.state == "running" and run.driver["pid"] == driver.pid
        driver.kill()
        driver.wait()
        assert runs.look(str(output), None).state == "stopped"
    (output / "_SUCCESS").touch()
    assert runs.look(str(output), None).state == "finished"


@pytest.mark.parametrize(("how", "word"), [("", "ended"), ("stubborn", "killed")])
def test_kill_ends_the_driver_and_the_jobs_that_are_left(
    output: Path, how: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "GRACE_S", 1.0)
    manager: Any = Manager(app(1, "FINISHED", "SUCCEEDED"), app(2, "RUNNING"), app(3, "RUNNING", run="ba9876543210"))
    with driven(output, how) as driver:
        done = runs.end(runs.look(str(output), manager), manager)
        assert done == {"run": ID, "driver": word, "jobs": ["application_1_0002"]} == {**done, "jobs": manager.killed}
        assert driver.wait(10) < 0
    assert runs.look(str(output), manager).state == "stopped"


@pytest.mark.parametrize("more", [{"overwrite": True}, {}], ids=["overwritten", "gone on with"])
def test_a_run_that_goes_on_without_its_jobs_ends_them_first(
    output: Path, more: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local engine takes the place of a driver on YARN that was killed while its job ran."""
    left = Manager(app(1, "FINISHED", "SUCCEEDED"), app(2, "RUNNING"), app(3, "RUNNING", run="ba9876543210"))
    config = killed(output, monkeypatch)
    monkeypatch.setattr(runs, "manager", lambda: left)
    monkeypatch.setattr(runs, "configuration", lambda: {"fs.defaultFS": "hdfs://nowhere"})
    monkeypatch.setattr(runs, "home", lambda keys: str(output.parent / "staging"))
    staging = output.parent / "staging" / f"mrml-{ID}"
    staging.mkdir(parents=True)
    run.train(dataclasses.replace(config, **more))
    assert left.killed == ["application_1_0002"] and not staging.exists()
    assert (output / "_SUCCESS").exists() and (runs.look(str(output), None).id == ID) is not bool(more)


def test_a_run_whose_job_does_not_end_is_not_replaced(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = killed(output, monkeypatch)
    monkeypatch.setattr(runs, "GRACE_S", 0.1)
    monkeypatch.setattr(runs, "POLL_S", 0.05)
    monkeypatch.setattr(runs, "manager", lambda: Manager(app(2, "RUNNING"), stubborn=True))
    before = runs.look(str(output), None)
    with pytest.raises(EngineError, match="application_1_0002: a job of the run before this one, did not end within"):
        run.train(dataclasses.replace(config, overwrite=True))
    assert runs.look(str(output), None) == before and before.algorithm == "linear", "its record is still there"


def killed(output: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run that was killed after its first round; how it goes on."""
    shutil.rmtree(output)
    (output.parent / "rows.csv").write_text("x,y\n" + "".join(f"{i * 7 % 11},{i % 3}\n" for i in range(50)))
    data = DataConfig(data=(str(output.parent / "rows.csv"),), target="y")
    config = RunConfig("linear", {}, data, EngineConfig(engine="inline"), str(output))
    with monkeypatch.context() as patch:
        patch.setattr(InlineEngine, "round", dies_in_round_two(InlineEngine.round))
        with pytest.raises(KeyboardInterrupt):
            run.train(config)
    (output / "_run" / "run_id.json").write_text(json.dumps({"run": ID}))
    return config


def dies_in_round_two(round_: Callable[..., Any]) -> Callable[..., Any]:
    def dies(self: InlineEngine, algorithm: Any, state: Any, dataset: Any) -> Any:
        if state.round:
            raise KeyboardInterrupt
        return round_(self, algorithm, state, dataset)

    return dies


def test_a_driver_on_another_host_is_fenced_off_on_hdfs_and_else_named(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = {"pid": 7, "host": "far", "since": "then", "space": "another", "started": "1"}
    (output / "_run" / "lease").write_text(json.dumps(far))
    with pytest.raises(EngineError, match="driven by process 7 on far, which cannot be ended from here; kill it there"):
        runs.end(runs.look(str(output), None), None)
    past = time.time() - 3600
    os.utime(output / "_run" / "lease", (past, past))
    assert runs.look(str(output), None).state == "stopped"  # it renews no more

    monkeypatch.setattr(Folder, "is_local", False)
    own = Folder(output / "_run")
    (output / "_run" / "lease-4").write_text(json.dumps({**far, "renewals": 3}))
    assert runs.look(str(output), None).state == "running"
    assert runs.end(runs.look(str(output), None), None)["driver"] == "fenced"
    assert holder(own) == {}
    with lease_on(own) as lease:
        lease.check()
        assert holder(own)["pid"] == os.getpid()
        fence(own)
        with pytest.raises(EngineError, match="another driver"):
            lease.check()


def test_runs_are_found_below_a_root_and_by_the_jobs_that_are_remembered(output: Path) -> None:
    root = str(output.parents[1])
    manager: Any = Manager(
        app(1, "FINISHED", "SUCCEEDED"), app(2, "RUNNING"), app(4, "FINISHED", "FAILED", "ba9876543210")
    )
    (found,) = runs.find(root, manager)
    assert [a.id for a in found.jobs] == ["application_1_0002", "application_1_0001"]
    assert runs.find(str(output), manager) == [found] and runs.find(str(output / "_run"), manager) == []
    assert [(r.id, r.state, r.round) for r in runs.known(manager)] == [
        ("ba9876543210", "ended", 2),
        (ID, "running", 3),
    ]
    assert runs.named(ID, manager).state == runs.named(f"mrml-{ID}", manager).state == "running"
    with pytest.raises(ConfigError, match="neither the directory of a run nor the id of one"):
        runs.named("elsewhere", manager)


def test_a_run_that_is_known_by_its_jobs_is_told_by_its_directory_where_they_name_one(output: Path) -> None:
    """Its jobs say nothing of who drives it: it is not running because one of them is, nor ended between two."""
    here, nowhere = str(output), "hdfs://nowhere.invalid:1/models/a"
    manager: Any = Manager(app(1, "RUNNING", output=here))
    (left,) = runs.known(manager)
    assert left[:5] == (ID, here, "stopped", "logistic", 5) and left == runs.named(ID, manager)
    manager = Manager(app(1, "FINISHED", "SUCCEEDED", output=here))
    with driven(output) as driver:
        (found,) = runs.known(manager)
        assert found.state == "running" and found.driver["pid"] == driver.pid
    for elsewhere in (str(output.parent), nowhere, ""):
        (found,) = runs.known(Manager(app(1, "RUNNING", output=elsewhere)))  # type: ignore[arg-type]
        assert found[:5] == (ID, elsewhere, "running", "", 2)
    (output / "_run" / "run_id.json").write_text(json.dumps({"run": "ba9876543210"}))
    assert runs.known(manager)[0].state == "ended", "another run has its place now"
    (stay,) = runs.known(Manager(app(1, "RUNNING", round_="resident")))  # type: ignore[arg-type]
    assert stay.round is None and stay.jobs[0].round == "resident"


@pytest.mark.parametrize("words", [["list"], ["show", ID], ["kill", ID]], ids=" ".join)
def test_without_the_resourcemanager_what_only_it_knows_is_an_error_that_names_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["runs", *words]) == ConfigError.exit_code
    assert "export HADOOP_CONF_DIR" in capsys.readouterr().err
    values = {"yarn.resourcemanager.webapp.address": "127.0.0.1:1", "fs.defaultFS": "hdfs://127.0.0.1:1"}
    (tmp_path / "yarn-site.xml").write_text(xml(values))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert main(["runs", *words]) == EngineError.exit_code
    said = capsys.readouterr().err
    assert said.startswith("error: ResourceManager http://127.0.0.1:1: cannot be reached") and said.count("\n") == 1


def test_a_directory_is_told_without_the_resourcemanager(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "yarn-site.xml").write_text(xml({"yarn.resourcemanager.webapp.address": "127.0.0.1:1"}))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert main(["runs", "show", str(output)]) == 0
    said = capsys.readouterr()
    assert "the jobs of runs are not known" in said.err and "stopped" in said.out


def test_workers_that_stay_are_told_while_the_run_is_driven(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(output)
    (output.parent / "rows.csv").write_text("x,y\n" + "".join(f"{i * 7 % 11},{i % 3}\n" for i in range(50)))
    data = DataConfig(data=(str(output.parent / "rows.csv"),), target="y")
    run.train(RunConfig("linear", {}, data, EngineConfig(engine="resident", workers=1), str(output)))
    assert runs.look(str(output), None).workers == {}, "the run is over"
    with driven(output):
        (worker,) = runs.look(str(output), None).workers["members"]
        assert worker["host"] == platform.node() and worker["rows"] == 50
        assert main(["runs", "show", str(output)]) == 0
        assert re.search(r"workers, as of 20.*Z\n +worker +host +pid +container +splits +rows", capsys.readouterr().out)


def test_attach_tells_rounds_until_nobody_drives(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "POLL_S", 0.05)
    told: list[str] = []
    with driven(output) as driver:

        def tell(line: str) -> None:
            told.append(line)
            if line == "round 5 is done":
                (output / "_run" / "checkpoint" / "000006.state").write_bytes(b"")
            if line == "round 6 is done":
                driver.kill()
                driver.wait()

        manager: Any = Manager(app(1, "FINISHED", "SUCCEEDED"), app(2, "RUNNING", round_="evaluate"))
        run = runs.follow(str(output), manager, tell)
    assert told == ["round 5 is done", "application_1_0002, evaluate: RUNNING", "round 6 is done"]
    assert (run.state, run.round) == ("stopped", 6)


def aged(path: Path) -> Path:
    past = time.time() - OLD_S
    os.utime(path, (past, past))
    return path


def test_clean_removes_what_was_written_aside_and_only_when_told(output: Path, capsys: Callable[..., Any]) -> None:
    root = output.parents[1]
    scores = root / "_scores.0123456789ab.tmp"
    scores.mkdir()
    (scores / "part-0").touch()
    for path in (scores / "part-0", scores):
        aged(path)
    young = output / ".model.json.0123456789ab.tmp"
    young.touch()
    (root / "_mine.tmp").touch()
    aged(root / "_mine.tmp")
    assert [left.path for left in runs.leftovers(str(root), 7 * 86400, None)] == [str(scores)]
    assert main(["runs", "clean", str(root)]) == 0 and scores.exists()
    assert main(["runs", "clean", str(root), "--delete"]) == 0 and not scores.exists()
    assert young.exists() and (root / "_mine.tmp").exists() and output.exists()
    assert main(["runs", "clean", str(root), "--keep", "0m", "--delete"]) == 0 and not young.exists()
    with pytest.raises(ConfigError, match="'soon' is not a time"):
        runs.seconds_of("soon")


def test_the_command_tells_a_run_in_words_and_in_json(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", str(output.parents[1]), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert found["id"] == ID and found["round"] == 5 and found["driver"] is None
    assert main(["runs", "show", str(output)]) == 0 and "logistic" in capsys.readouterr().out
    assert main(["runs", "attach", str(output)]) == EngineError.exit_code
    assert "it came to round 5; give its command again" in capsys.readouterr().err
    for wrong in (["shwo"], ["show"], ["show", "nowhere"]):
        assert main(["runs", *wrong]) == ConfigError.exit_code
