"""A store of models: whoever is killed, and however many come at once, it names one whole version."""

from __future__ import annotations

import functools
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrml
from mrml.cli.main import main
from mrml.config.gate import Clause, Gate
from mrml.errors import ConfigError, InputError, OutputExists
from mrml.fs.folder import Folder
from mrml.model import load
from mrml.runs.store import Store
from tests.killed import die_at


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, x = tmp_path_factory.mktemp("models"), np.random.default_rng(1).normal(size=(30, 2))
    for k in range(3):
        mrml.Linear(l2=float(k)).fit(x, x[:, 0], output=folder / f"m{k}", engine="inline")
    return [str(folder / f"m{k}") for k in range(3)]


def check(store: Store) -> None:
    """What must hold at any instant."""
    digests = [about["digest"] for about in store.versions()]
    assert len(set(digests)) == len(digests)
    switches = store.switches()
    assert [s.number for s in switches] == list(range(1, len(switches) + 1))
    for number in {s.version for s in switches}:
        load(store.directory(number))
    told = Path(store.folder.path, "CURRENT")
    if told.exists():
        load(Path(store.folder.path, "versions", told.read_text().strip()))


def test_versions_come_go_and_come_back(models: list[str], tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    assert [store.promote(m).version for m in (*models, models[0])] == [1, 2, 3, 1]
    assert store.promote(models[0]).number == 4 and len(store.versions()) == 3  # in service already
    assert [store.rollback().version, store.rollback().version, store.rollback(2).version] == [3, 1, 2]
    assert (tmp_path / "s" / "CURRENT").read_text() == "000002\n"
    for name in ("model.json", "model.npz", "run.json"):
        assert Path(store.directory(2), name).read_bytes() == Path(models[1], name).read_bytes()
    check(store)
    with pytest.raises(InputError, match=r"has no version 9; there are: 1, 2, 3"):
        store.rollback(9)


def test_a_version_tells_what_it_came_of(models: list[str], tmp_path: Path, capsys: Any) -> None:
    store = Store(str(tmp_path / "s"))
    for model in models[:2]:
        store.promote(model, {"run": "abc", "inputs": [["rows.csv", 2048, 0.0]]})
    lineage = store.version(2)["lineage"]
    record = Folder(models[1]).read_json("run.json")
    assert lineage["parent"] == 1 and lineage["config"] == record["config"] and lineage["config"]["params"]["l2"] == 1.0
    assert {"mrml", "python", "numpy", "pyarrow"} <= set(lineage["versions"]) and lineage["run"] == "abc"
    assert lineage["versions"]["numpy"] == np.__version__
    assert main(["models", "show", f"--store={tmp_path / 's'}"]) == 0
    told = capsys.readouterr().out
    assert "1 file, 2.0 KiB" in told and f"numpy {np.__version__}" in told and "l2 1.0" in told and "{" not in told


def test_an_empty_store_says_what_to_do(tmp_path: Path, models: list[str]) -> None:
    store = Store(str(tmp_path / "s"))
    with pytest.raises(InputError, match="nothing is in service; promote a model first"):
        store.rollback()
    store.promote(models[0])
    with pytest.raises(InputError, match="no other version was in service before 1; name one with --to"):
        store.rollback()
    with pytest.raises(InputError):
        store.promote(str(tmp_path))
    check(store)


@pytest.mark.parametrize("action", ["the first", "a second", "one that was there", "rollback"])
def test_who_is_killed_at_any_instant_leaves_the_store_as_it_was_or_as_it_was_to_be(
    models: list[str], tmp_path: Path, action: str
) -> None:
    for call in range(1, 200):
        store = Store(str(tmp_path / f"s{call}"))
        for model in {"the first": [], "a second": models[:1]}.get(action, models[:2]):
            store.promote(model)
        before = store.current()
        model = models[0] if action == "one that was there" else models[2]
        work = store.rollback if action == "rollback" else functools.partial(store.promote, model)
        code = die_at(call, lambda work=work: bool(work()) and 0)
        check(store)
        now = store.current()
        assert now == before or (now is not None and now.number == (before.number if before else 0) + 1)
        if action != "rollback":  # and the same again ends as if nothing had been
            done = store.promote(model)
            assert store.current() == done and store.version(done.version)["source"] == model
            check(store)
        if code == 0:
            assert call > 3
            return
    raise AssertionError("it never came to its end")


def _promote(path: str, model: str, go: Any, told: Any) -> None:
    go.wait()
    try:
        told.put(("done", Store(path).promote(model).number))
    except OutputExists as error:
        told.put(("told", str(error)))


def test_of_those_who_promote_at_once_one_does_and_the_others_are_told(models: list[str], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        path = str(tmp_path / f"s{attempt}")
        go, told = context.Event(), context.Queue()
        workers = [context.Process(target=_promote, args=(path, models[k % 3], go, told)) for k in range(6)]
        for worker in workers:
            worker.start()
        go.set()
        found = [told.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
        done = [number for word, number in found if word == "done"]
        assert done and all("went into service at the same moment" in text for word, text in found if word == "told")
        check_switches(Store(path))


def check_switches(store: Store) -> None:
    """Versions may be added twice by those who did not see each other; what is in service is one, and whole."""
    switches = store.switches()
    assert [s.number for s in switches] == list(range(1, len(switches) + 1))
    load(store.directory(switches[-1].version))
    assert int(Path(store.folder.path, "CURRENT").read_text()) == switches[-1].version


def test_the_command_and_a_store_in_the_place_of_a_model(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, rows = str(tmp_path / "s"), tmp_path / "rows.csv"
    rows.write_text("x0,x1\n1,2\n3,4\n")
    for model in models[:2]:
        assert main(["models", "promote", model, "--store", store]) == 0
    assert main(["models", "list", "--store", store]) == 0
    assert main(["models", "show", "--store", store]) == 0
    said = capsys.readouterr().out
    assert f"version 2 is in service: {store}/versions/000002" in said and "in service" in said and models[1] in said
    assert main(["predict", store, "--data", str(rows), "--output", str(tmp_path / "p"), "--engine", "inline"]) == 0
    assert mrml.load(store).predict(rows)["prediction"].to_pylist() == pytest.approx(
        mrml.load(models[1]).predict(rows)["prediction"].to_pylist()
    )
    assert main(["models", "rollback", "--store", store, "--json"]) == 0
    for words, code in ((["list"], 2), (["promote", "--store", store], 2), (["lst", "--store", store], 2),
                        (["show", "7", "--store", store], 3), (["promote", str(tmp_path), "--store", store], 3),
                        (["show", "x", "--store", store], 2)):  # fmt: skip
        assert main(["models", *words]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--json"]], ids=str)
def test_a_store_that_holds_nothing_is_told(words: list[str], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").mkdir()
    for name, finding in (("empty", "has no version of a model"), ("typo", "there is no such store")):
        assert main(["models", "list", f"--store={tmp_path / name}", *words]) == 3
        assert f"{finding}; `mrml models promote MODEL" in capsys.readouterr().err


def test_a_model_with_the_profile_of_other_rows_is_another_version(models: list[str], tmp_path: Path) -> None:
    store, model = Store(str(tmp_path / "s")), tmp_path / "m"
    shutil.copytree(models[0], model)
    assert store.promote(str(model)).version == 1
    for rows, version in ((1, 2), (2, 3), (1, 2)):
        (model / "profile.json").write_text(f'{{"n_rows": {rows}}}')
        assert store.promote(str(model)).version == version
        assert Folder(store.directory(version)).read_json("profile.json") == {"n_rows": rows}
    check(store)


@pytest.mark.parametrize("name", ["switches/000001", "versions/000001/version.json"])
def test_a_record_of_a_store_with_other_keys_is_told_by_its_path(
    name: str, models: list[str], tmp_path: Path, capsys: Any
) -> None:
    Store(str(tmp_path / "s")).promote(models[0])
    record = tmp_path / "s" / name
    record.write_text('{"number": 1, "strange": 2}')
    assert main(["models", "list", f"--store={tmp_path / 's'}"]) == 3
    told = capsys.readouterr().err
    assert str(record) in told and "is not a record of a store: it has no" in told and "Traceback" not in told


# ---- gates


def test_a_gate_promotes_what_is_good_enough_and_refuses_with_7(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 2))
    y = np.where(x[:, 0] + 0.5 * rng.normal(size=400) > 0, "yes", "no")
    rows = tmp_path / "rows.csv"
    rows.write_text("x0,x1,target\n" + "".join(f"{a},{b},{c}\n" for (a, b), c in zip(x.tolist(), y, strict=True)))
    mrml.Logistic().fit(x, y, output=tmp_path / "good", engine="inline")
    mrml.Logistic().fit(np.column_stack([x[:, 1], x[:, 1]]), y, output=tmp_path / "bad", engine="inline")
    store, gate = str(tmp_path / "s"), "auc >= champion.auc - 0.002 and auc > 0.9"
    promote = ["models", "promote", "--store", store, "--gate", gate]
    assert main([*promote, str(tmp_path / "good")]) == 0
    assert "auc >= champion.auc - 0.002 holds: there is no champion" in capsys.readouterr().err
    for data in ([], ["--data", str(rows)]):
        assert main([*promote, str(tmp_path / "bad"), *data]) == 7
        said = capsys.readouterr().err
        assert "gate: auc > 0.9 does not hold (auc 0." in said and "version 1 stays in service" in said
        assert main([*promote, str(tmp_path / "good"), *data]) == 0
    found = Store(store)
    assert len(found.versions()) == len(found.switches()) == 1
    assert main(["models", "promote", str(tmp_path / "bad"), "--store", store, "--gate", "recall > 0.5"]) == 2
    assert "the challenger has no metric 'recall'" in capsys.readouterr().err


METRICS = {"auc": 0.8, "log_loss": 0.4, "n_rows": 100, "r2": None}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("auc >= 0.8", [True]),
        ("auc >= champion.auc - 0.002 and log_loss < 0.4", [True, False]),
        ("0.5 < auc <= 0.9 and n_rows > 1e2 / 2", [True, True]),
        ("auc > 0.9 or log_loss < 0.5", [True]),
        ("not (auc > 0.9)", [True]),
        ("auc * 2 - 1 == 0.6", [abs(0.8 * 2 - 1 - 0.6) == 0]),
        ("auc / (log_loss - log_loss) > 0", [False]),
        ("-auc < 0 and champion.log_loss != 1", [True, True]),
    ],
)
def test_a_gate_is_arithmetic(text: str, holds: list[bool]) -> None:
    assert [clause.holds for clause in Gate(text).judged(METRICS, {"auc": 0.801, "log_loss": 0.3})] == holds


@pytest.mark.parametrize(
    "text",
    ["", "auc", "auc >", "1", "__import__('os').system('true') == 0", "auc.real > 0", "other.auc > 0", "auc > 'a'",
     "auc > True", "[auc][0] > 0", "(lambda: 1)() > 0", "auc > champion", "auc if 1 else 2", "auc > 2**9", "x := 1",
     "champion.auc.real > 0", "auc > 0 and log_loss", "a" * 3000, "(" * 900 + "auc > 0" + ")" * 900, "auc\0 > 0"],
)  # fmt: skip
def test_what_is_no_comparison_of_metrics_is_refused_and_nothing_of_it_is_run(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gate(text).judged(METRICS, METRICS)
    assert caught.value.place == "--gate" and caught.value.remedy


def test_a_metric_of_the_champion_is_known_before_there_is_one() -> None:
    with pytest.raises(ConfigError, match="the challenger has no metric 'foo'; known: "):
        Gate("auc > champion.foo").judged(METRICS, None)
    assert Gate("auc > champion.auc").judged(METRICS, None) == [Clause("auc > champion.auc", {}, None)]


def test_a_division_by_zero_is_told() -> None:
    (clause,) = Gate("auc / (n_rows - 100) > 1").judged(METRICS, None)
    assert str(clause).startswith("auc / (n_rows - 100) > 1 (auc / (n_rows - 100) divides by 0) does not hold (auc 0.8")


def test_a_metric_that_is_null_is_not_there() -> None:
    with pytest.raises(ConfigError, match="the champion has no metric 'r2'"):
        Gate("auc > champion.r2").judged(METRICS, METRICS)
