"""joblib's calls by resident tasks: scikit-learn's searches are what they are here, whatever dies meanwhile."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
import cloudpickle  # type: ignore[import-untyped]  # noqa: E402
import pandas as pd  # noqa: E402
from joblib import Parallel, delayed, parallel_backend, parallel_config  # type: ignore[import-untyped]  # noqa: E402
from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402
from sklearn.exceptions import FitFailedWarning  # noqa: E402
from sklearn.feature_selection import SelectKBest  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

import mrml.sklearn as ours  # noqa: E402
from mrml.engines.resident import arrays, caller, sealed  # noqa: E402
from mrml.errors import ConfigError, EngineError  # noqa: E402
from mrml.sklearn.backend import Backend, close_all  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tasks need not import all that this module does
RNG = np.random.default_rng(5)
X = RNG.normal(size=(120, 4))
Y = np.where(X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=120) > 0, "yes", "no")
#: more than goes with a call
LARGE = RNG.normal(size=(70_000, 8))


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    yield Backend(workers=2)
    close_all()


@pytest.fixture
def tasks(backend: Backend) -> Iterator[Backend]:
    with parallel_config(backend, n_jobs=-1):
        yield backend


class Faulty(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the most frequent class; ``fit`` does what it is told, once where ``flag`` is a file to be made."""

    def __init__(self, does: str = "", flag: str = "") -> None:
        self.does, self.flag = does, flag

    def fit(self, x: Any, y: Any) -> Any:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        if self.does and not (self.flag and Path(self.flag).exists()):
            if self.flag:
                Path(self.flag).touch()
            getattr(self, self.does)()
        return self

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_task(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)

    def take_all(self) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), most))
        try:
            np.ones(1 << 30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def predict(self, x: Any) -> Any:
        return np.full(len(x), self.most_)


def same(found: Any, expected: Any) -> None:
    """Everything of ``cv_results_`` but the times."""
    assert found.cv_results_["params"] == expected.cv_results_["params"]
    for name, values in expected.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_array_equal(found.cv_results_[name], values, err_msg=name)
    assert found.best_params_ == expected.best_params_ and found.n_splits_ == expected.n_splits_


# ---- scikit-learn's own code


def test_scores_by_the_name_of_the_backend_are_those_of_this_process(backend: Backend) -> None:
    with parallel_backend("mrml", engine="resident", workers=2):
        found = cross_val_score(SVC(), X, Y, cv=4)
    assert found.tolist() == cross_val_score(SVC(), X, Y, cv=4).tolist()


GRID = {"C": np.logspace(-3, 3, 10), "gamma": np.logspace(-4, 1, 20)}
SEARCHES = {
    "grid": lambda: GridSearchCV(SVC(), {"C": [0.1, 1.0], "kernel": ["linear", "rbf"]}, cv=3),
    "several scores": lambda: GridSearchCV(
        SVC(), {"C": [0.1, 1.0]}, scoring=["accuracy", "roc_auc"], refit="roc_auc", return_train_score=True
    ),
    "random": lambda: RandomizedSearchCV(SVC(), GRID, n_iter=5, random_state=0),
    "pipeline": lambda: GridSearchCV(make_pipeline(SelectKBest(), SVC()), {"selectkbest__k": [1, 2, 4]}, cv=3),
    "own score": lambda: GridSearchCV(SVC(), {"C": [0.1, 1.0]}, scoring=lambda e, x, y: -float(e.C)),
    "list of grids": lambda: GridSearchCV(SVC(), [{"C": [0.1]}, {"kernel": ["linear"]}]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_find_what_they_find_in_this_process(tasks: Backend, name: str) -> None:
    found = SEARCHES[name]().fit(X, Y)
    with parallel_config("sequential"):
        expected = SEARCHES[name]().fit(X, Y)
    same(found, expected)
    assert (found.predict(X) == expected.predict(X)).all()


def test_frames_and_groups_travel(tasks: Backend) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"), index=[f"r{k}" for k in range(120)])
    groups = np.arange(120) // 10
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=GroupKFold(4)).fit(frame, Y, groups=groups)
    assert search.n_splits_ == 4 and search.best_estimator_.feature_names_in_.tolist() == list("abcd")


def test_a_candidate_that_cannot_be_fitted_has_no_score(tasks: Backend) -> None:
    with pytest.warns(FitFailedWarning, match="3 fits failed"):
        search = GridSearchCV(SVC(), {"C": [-1.0, 1.0]}, cv=3).fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.cv_results_["rank_test_score"].tolist() == [2, 1]


def test_the_search_of_ours_takes_any_estimator(backend: Backend) -> None:
    grid = {"C": [0.1, 1.0, 10.0]}
    found = ours.GridSearchCV(SVC(), grid, cv=3, engine="resident", workers=2).fit(X, Y)
    same(found, GridSearchCV(SVC(), grid, cv=3).fit(X, Y))
    assert isinstance(found.best_estimator_, SVC) and found.score(X, Y) == found.best_estimator_.score(X, Y)
    assert sklearn.base.clone(found).get_params()["workers"] == 2


# ---- what dies


def lose_nothing(folder: Path) -> None:
    """Search 200 candidates, of which one ends its process and one its task, and compare with the search here."""
    flags = {does: str(folder / does) for does in ("kill", "kill_task")}
    one = sklearn.pipeline.Pipeline([("svc", SVC())])
    grid: list[dict[str, Any]] = [{"svc": [Faulty(does, flag)]} for does, flag in flags.items()]
    grid += [{"svc": [SVC()], "svc__C": [c], "svc__gamma": GRID["gamma"]} for c in GRID["C"][1:]]
    grid += [{"svc": [SVC()], "svc__C": [2.0], "svc__gamma": np.logspace(-3, 0, 18)}]
    found = GridSearchCV(one, grid, cv=2).fit(X, Y)
    assert len(found.cv_results_["params"]) == 200 and all(Path(flag).exists() for flag in flags.values())
    with parallel_config("sequential"):
        expected = GridSearchCV(one, grid, cv=2).fit(X, Y)
    for name in ("split0_test_score", "split1_test_score", "rank_test_score"):
        assert found.cv_results_[name].tolist() == expected.cv_results_[name].tolist()


def test_two_hundred_candidates_lose_nothing_when_tasks_are_killed(
    tasks: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        lose_nothing(tmp_path)
    assert "exit code -9" in caplog.text and "is made again: its task ended" in caplog.text


def test_a_candidate_that_takes_all_memory_is_named(tasks: Backend) -> None:
    search = GridSearchCV(Faulty(), {"does": ["", "take_all"]}, cv=2, error_score="raise")
    finding = r"on split \d of 2: ran out of memory: Unable to allocate 8.00 GiB .*; take fewer workers"
    with pytest.raises(EngineError, match=rf"candidate Faulty\(does='take_all'\) {finding}"):
        search.fit(X, Y)


def test_a_call_that_processes_end_on_is_given_up_after_four(tasks: Backend) -> None:
    def killed(k: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    finding = "4 processes ended on it: its process ended with exit code -9; -9 usually means out of memory"
    with pytest.raises(EngineError, match=rf"killed\(7\): {finding}"):
        Parallel()([delayed(killed)(7)])
    assert Parallel()([delayed(abs)(-7)]) == [7]  # and the tasks are there for the next one


# ---- joblib's contract


def test_answers_come_in_order_and_calls_are_made_elsewhere(tasks: Backend) -> None:
    found = Parallel()(delayed(lambda k: (k * k, os.getpid()))(k) for k in range(300))
    assert [value for value, _ in found] == [k * k for k in range(300)]
    assert {pid for _, pid in found}.isdisjoint({os.getpid()})


def test_what_a_call_raises_is_raised_here_with_its_traceback(tasks: Backend) -> None:
    def fails(k: int) -> float:
        return 1 / (k - 3)

    with pytest.raises(ZeroDivisionError) as caught:
        Parallel()(delayed(fails)(k) for k in range(6))
    assert "return 1 / (k - 3)" in str(caught.value.__cause__) or "in fails" in str(caught.value.__cause__)


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no")


@pytest.mark.parametrize(("call", "finding"), [
    (delayed(abs)(threading.Lock()), "a call or its answer: cannot be pickled: .*lock"),
    (delayed(lambda: threading.Lock())(), "a call or its answer: cannot be pickled: .*lock"),
    (delayed(lambda: (_ for _ in ()).throw(Stubborn("mine")))(), "Stubborn: mine"),
])  # fmt: skip
def test_what_cannot_be_pickled_is_an_error_and_not_a_wait(tasks: Backend, call: Any, finding: str) -> None:
    with pytest.raises(EngineError, match=finding):
        Parallel()([call] * 3)


def test_a_call_that_is_given_up_ends_and_its_task_comes_back(tasks: Backend, tmp_path: Path) -> None:
    def long(path: str) -> None:
        Path(path).write_text(str(os.getpid()))
        time.sleep(600)

    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=1.0)(delayed(long)(str(tmp_path / str(k))) for k in range(2))
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert Parallel()(delayed(abs)(k) for k in (-1, 2)) == [1, 2]


def test_tasks_that_nobody_calls_end_and_others_come_for_the_next_call() -> None:
    with parallel_config(Backend(workers=1, idle_release_s=0.5), n_jobs=-1):
        (first,) = Parallel()([delayed(os.getppid)()])
        until = time.monotonic() + 20
        while Path(f"/proc/{first}").exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not Path(f"/proc/{first}").exists()
        assert Parallel()([delayed(os.getppid)()]) != [first]


def test_inside_of_a_call_calls_are_made_one_after_the_other(tasks: Backend) -> None:
    def inner() -> Any:
        return os.getpid(), Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(3))

    (mine, theirs), _ = Parallel()(delayed(inner)() for _ in range(2))
    assert set(theirs) == {mine}


def test_paths_are_for_estimators_of_ours() -> None:
    with pytest.raises(ValueError, match=r"paths are for estimators of mrml\.sklearn"):
        ours.GridSearchCV(SVC(), {"C": [1.0]}).fit("rows/", "y")


def test_a_backend_without_tasks_that_stay_is_refused() -> None:
    with pytest.raises(ConfigError, match="streaming has no tasks that could stay"):
        Backend(engine="streaming")
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        Backend(worker=2)


# ---- arrays, and who may be believed


def where(x: Any) -> Any:
    """Sum and flags of an array, the process, and the file that it is mapped from."""
    time.sleep(0.2)
    at = x.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, _, last = line.split()[0].partition("-")
        if int(first, 16) <= at < int(last, 16):
            return float(x.sum()), x.flags.writeable, os.getpid(), line.split()[-1]
    return None


@pytest.mark.parametrize("x", [LARGE, np.asfortranarray(LARGE), LARGE[:, ::2]], ids=["C", "Fortran", "a view"])
def test_a_large_array_lies_once_on_a_node_and_is_read_only(tasks: Backend, x: Any) -> None:
    found = Parallel()(delayed(where)(x) for _ in range(6))
    sums, writeable, pids, files = (set(column) for column in zip(*found, strict=True))
    assert len(pids) == 2 and len(files) == 1 and writeable == {False} and sums == {float(x.sum())}
    assert "/mrml-shared/" in files.pop()


def test_arrays_that_no_call_asks_for_leave_the_node(tasks: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "UNUSED_BYTES", LARGE.nbytes)
    (*_, first), _ = (Parallel()(delayed(where)(LARGE + k) for _ in range(2))[0] for k in (1, 2))
    assert Path(first).exists()
    Parallel()(delayed(where)(LARGE + 3) for _ in range(2))
    until = time.monotonic() + 10
    while Path(first).exists() and time.monotonic() < until:
        Parallel()(delayed(abs)(1) for _ in range(2))
    assert not Path(first).exists()


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("change", [
    lambda m: sealed.signed(b"guessed", "call 7", m),
    lambda m: sealed.signed(b"secret", "call 8", m),
    lambda m: sealed.signed(b"secret", "answer 7", m),
    lambda m: {**sealed.signed(b"secret", "call 7", m), "arrays": ["0" * 64]},
    lambda m: {**sealed.signed(b"secret", "call 7", m), "body": m["body"][:-1]},
], ids=["another secret", "another call", "an answer", "other arrays", "other bytes"])  # fmt: skip
def test_what_is_not_signed_for_this_very_call_is_not_unpickled(tmp_path: Path, change: Any) -> None:
    flag = tmp_path / "opened"
    message = {"tasks": [7], **change(sealed.packed(Bomb(str(flag))))}
    answer = caller.answer(b"secret", message, caller._Maps(tmp_path))
    good, (error, _) = sealed.opened(b"secret", "answer 7", answer)
    assert not good and "is not signed with the secret of this run" in str(error) and not flag.exists()
    caller.answer(b"secret", {"tasks": [7], **sealed.signed(b"secret", "call 7", sealed.packed(Bomb(str(flag))))},
                  caller._Maps(tmp_path))  # fmt: skip
    assert flag.exists()
