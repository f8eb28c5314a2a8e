"""Bad input, told by the commands: a place, a finding and a remedy, the exit code, and nothing written anywhere."""

from __future__ import annotations

import itertools
import random

import pytest

from .conftest import Place

TRAIN = ("train", "logistic", "--data", "d", "--target", "y", "--output", "m", "--engine", "inline")


def rows(n: int = 40, header: str = "a,b,y\n", seed: int = 1) -> str:
    """Lines ``number,category,label`` that a line does not separate."""
    rng = random.Random(seed)
    lines = (f"{rng.gauss(0, 1):.3f},{'uvw'[i % 3]},{rng.choice(['no', 'yes'])}\n" for i in range(n))
    return header + "".join(lines)


# ---- what a run that fails leaves


def test_a_run_that_fails_before_its_second_round_leaves_nothing_and_can_be_said_again(place: Place) -> None:
    place.put({"d/a.csv": rows() + "x1,u,no\n"})
    message = f"a.csv, byte {len(rows())}, column 'a': 'x1' is not a number; add na: [\"x1\"] under data"
    place.refused(3, message, *TRAIN[:7], "deep/er/m", *TRAIN[8:])
    assert place(*TRAIN, "--bad-rows", "skip").code == 0


def test_a_run_that_fails_leaves_the_model_it_was_to_replace(place: Place) -> None:
    place.put({"d/a.csv": rows(), "e/a.csv": rows().replace("yes", "no")})
    assert place(*TRAIN).code == 0
    before = place.model()
    done = place("train", "logistic", "--data", "e", *TRAIN[4:], "--overwrite", "-q")
    assert done == (3, "", "error: column 'y': holds only one class, 'no'; there is nothing to tell apart\n")
    assert place.model() == before and place("evaluate", "m", "--data", "d", "--engine", "inline").code == 0


def test_an_output_that_cannot_be_made_is_2(place: Place) -> None:
    place.put({"d/a.csv": rows(), "f": "a file"})
    message = "output f/m: cannot be made: Not a directory; name another --output"
    place.refused(2, message, *TRAIN[:7], "f/m", *TRAIN[8:])


# ---- outputs that are there


PREDICT = ("predict", "m", "--data", "d", "--engine", "inline", "--output")


def test_predictions_replace_predictions_and_nothing_else(place: Place) -> None:
    place.put({"d/part-0.csv": rows(), "d/_SUCCESS": "", "home/thesis.tex": "years", "f": "a file", "bare/part-0": ""})
    assert place(*TRAIN).code == place(*PREDICT, "p").code == 0
    there = "is there already; say --overwrite to replace it"
    for taken in ("p", "d", "home"):
        place.refused(4, f"{taken}: {there}", *PREDICT, taken)
    place.refused(4, "f: is no directory; name a directory that does not exist", *PREDICT, "f", "--overwrite")
    for taken, first in (("home", "thesis.tex"), ("m", "model.json")):
        message = f"{taken}: holds '{first}', which is no part file; remove the directory yourself"
        place.refused(4, message, *PREDICT, taken, "--overwrite")
    message = "bare: holds no _SUCCESS, so it is no output of mrml; remove the directory yourself"
    place.refused(4, message, *PREDICT, "bare", "--overwrite")
    here = str(place.here / "d" / "part-0.csv")
    place.refused(2, f"output d: holds the input file {here}; name another --output", *PREDICT, "d", "--overwrite")
    assert place(*PREDICT, "p", "--overwrite", "--format", "csv").code == 0
    assert sorted(f.name for f in (place.here / "p").iterdir()) == ["_SUCCESS", "part-00000.csv"]


def test_a_model_is_not_written_among_its_data(place: Place) -> None:
    place.put({"d/part-0.csv": rows()})
    message = f"output d: holds the input file {place.here / 'd' / 'part-0.csv'}; name another --output"
    place.refused(2, message, *TRAIN[:7], "d", *TRAIN[8:], "--overwrite")


def test_predictions_that_fail_leave_those_that_were_there(place: Place) -> None:
    place.put({"d/a.csv": rows(), "e/a.csv": "a,b\n1,u\nx,v\n"})
    assert place(*TRAIN).code == place(*PREDICT, "p").code == 0
    message = "a.csv, byte 8, column 'a': 'x' is not a number; add na: [\"x\"] under data"
    place.refused(3, message, *PREDICT[:3], "e", *PREDICT[4:], "p", "--overwrite")
    place.refused(3, message, *PREDICT[:3], "e", *PREDICT[4:], "new/er/p")


def test_resuming_with_something_else_names_what_differs(place: Place) -> None:
    place.put({"d/a.csv": rows(), "d/b.csv": rows(20, seed=2)})
    assert place(*TRAIN, "--max-rounds", "3").code == 0
    rest = "; give what it began with, or another --output"
    began = "m: is not the run that began there; "
    resume = (*TRAIN, "--resume")
    place.refused(2, f"{began}algorithm: l2: 0.0001 then, 3.0 now{rest}", *resume, "--l2", "3")
    message = f'{began}schema: columns: \'b\' role: "feature" then, "ignore" now{rest}'
    place.refused(2, message, *resume, "--features", "a")
    place.put({"d/b.csv": rows(19, seed=2)})
    sizes = [len(rows(n, seed=2)) for n in (20, 19)]
    place.refused(2, f"{began}inputs: 'b.csv' {sizes[0]} then, {sizes[1]} now{rest}", *resume)
    (place.here / "d/b.csv").unlink()
    place.refused(2, f"{began}inputs: 'b.csv' not there now{rest}", *resume)
    place.put({"d/b.csv": rows(20, seed=2), "d/c.csv": rows()})
    place.refused(2, f"{began}inputs: 'c.csv' not there then{rest}", *resume)
    (place.here / "d/c.csv").unlink()
    assert place(*resume).code == 0


def test_resuming_where_there_is_nothing_is_2(place: Place) -> None:
    place.put({"d/a.csv": rows(), "m/notes.txt": "mine"})
    place.refused(2, "q: holds no run to resume; leave out --resume", *TRAIN[:7], "q", *TRAIN[8:], "--resume")
    place.refused(2, "m: holds no run to resume; leave out --resume", *TRAIN, "--resume")


def test_an_output_that_is_there_is_4_and_says_what_it_is(place: Place) -> None:
    place.put({"d/a.csv": rows(), "m/notes.txt": "mine", "f": "a file"})
    remedy = "name a directory that does not exist, or say --overwrite to write a model beside them"
    place.refused(4, f"m: holds other files; {remedy}", *TRAIN)
    there = "is there already; say --overwrite to replace it"
    assert place(*TRAIN[:7], "done", *TRAIN[8:]).code == 0
    place.refused(4, f"done: {there}", *TRAIN[:7], "done", *TRAIN[8:])
    place.refused(4, "f: is a file; name a directory that does not exist", *TRAIN[:7], "f", *TRAIN[8:], "--overwrite")
    (place.here / "done/_SUCCESS").unlink()
    remedy = "say --overwrite to replace it, or --resume to go on"
    place.refused(4, f"done: holds a run that did not finish; {remedy}", *TRAIN[:7], "done", *TRAIN[8:])
    both = "mrml train: --resume and --overwrite exclude each other; give one of them"
    place.refused(2, both, *TRAIN, "--resume", "--overwrite")


# ---- models that are none

NOT_MODELS = [
    ("nowhere", {}, "nowhere: is no directory; give what `mrml train --output` wrote"),
    ("f", {"f": "a file"}, "f: is no directory; give what `mrml train --output` wrote"),
    ("d", {}, "d: holds no model.json; give what `mrml train --output` wrote"),
    ("m", {"m/model.npz": b""}, "m: cannot be read as a model: model.npz is no array file; copy it again"),
    ("m", {"m/model.npz": b"hello"}, "m: cannot be read as a model: model.npz is no array file; copy it again"),
    ("m", {"m/model.json": "{"}, "m: cannot be read as a model: Expecting property name enclosed in double quotes: "
                                 "line 1 column 2 (char 1); copy it again"),
    ("m", {"m/model.json": "[]"}, "m: is of model format None, this mrml reads 1; use the mrml that wrote it"),
    ("m", {"m/model.json": '{"format": 9}'}, "m: is of model format 9, this mrml reads 1; use the mrml that wrote it"),
    ("m", {"m/model.json": '{"format": 1}'}, "m: is no whole model: KeyError: 'class'; copy it again"),
    ("m", {"m/model.json": '{"format": 1, "class": "no.such:Thing"}'},
     "model: no.such:Thing cannot be imported; install its package"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "files", "message"), NOT_MODELS, ids=range(len(NOT_MODELS)))
def test_a_directory_that_is_no_whole_model_is_told(
    place: Place, model: str, files: dict[str, str | bytes], message: str
) -> None:
    place.put({"d/a.csv": rows()})
    assert place(*TRAIN).code == 0
    place.put(files)
    code = 2 if "cannot be imported" in message else 3
    place.refused(code, message, "predict", model, "--data", "d", "--output", "p", "--engine", "inline")
    place.refused(code, message, "evaluate", model, "--data", "d", "--engine", "inline")
    place.refused(code, message, "inspect", model)


def test_a_model_that_was_cut_or_whose_bytes_changed_is_told(place: Place) -> None:
    place.put({"d/a.csv": rows()})
    assert place(*TRAIN).code == 0
    whole = (place.here / "m/model.npz").read_bytes()
    place.put({"m/model.npz": whole[: len(whole) // 2]})
    place.refused(3, "m: cannot be read as a model: model.npz is no array file; copy it again", "inspect", "m")
    at = len(whole) // 2
    place.put({"m/model.npz": whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]})
    done = place("inspect", "m")
    assert done.code == 3 and done.err.startswith(
        "error: m: cannot be read as a model: Bad CRC-32 for file 'transforms."
    )
    (place.here / "m/model.npz").unlink()
    place.refused(3, "m: holds no model.npz; give what `mrml train --output` wrote", "inspect", "m")


# ---- algorithms of the user's own

OWN = """
from dataclasses import dataclass
from mrml.extend import *

@dataclass(frozen=True)
class Raises(Algorithm):
    where: str = param("nowhere", "which method raises")

    def _reach(self, where):
        if self.where == where:
            raise ZeroDivisionError(f"in {where}")

    def init(self, schema):
        self._reach("init")
        return State({"n": 0.0})

    def statistic(self, state, key):
        return Sums(n=0.0)

    def map(self, state, block, into):
        self._reach("map")
        into["rows"].add(n=float(block.n_rows))

    def reduce(self, state, key, statistic):
        self._reach("reduce")
        return statistic

    def update(self, state, values):
        self._reach("update")
        return state.next(stop="counted", n=float(values["rows"]["n"]))

    def model(self, state, schema):
        self._reach("model")
        return Counted(state["n"], self.where)


class Counted(Model):
    def __init__(self, n, where):
        self.n, self.where = n, where

    def predict(self, block):
        if self.where == "predict":
            raise ZeroDivisionError("in predict")
        import numpy as np
        return Prediction(np.full(block.n_rows, self.n))

    def header(self):
        return {"n": self.n, "where": self.where}

    def arrays(self):
        return {}

    @classmethod
    def from_parts(cls, header, arrays):
        return cls(header["n"], header["where"])
"""
LINE = 1 + next(i for i, line in enumerate(OWN.splitlines()) if "raise ZeroDivisionError" in line)
AT = {
    "init": "round 1, update",
    "map": "split 0",
    "reduce": "key 'rows'",
    "update": "round 2, update",
    "model": "model",
}
ENGINES = {
    "inline": ("inline",),
    "local": ("local", "--workers", "1"),
    "streaming": ("streaming", "-r", "inline"),
    "tasks": ("streaming", "-r", "local", "--workers", "1"),
}


def own(where: str, engine: str, *more: str) -> tuple[str, ...]:
    command = ("train", "own:Raises", "--where", where, "--data", "d", "--output", "m")
    return (*command, *more, "--engine", *ENGINES[engine])


@pytest.mark.parametrize(
    ("engine", "where"),
    [*itertools.product(("inline", "streaming"), ("init", "map", "reduce", "update", "model")), ("local", "map"),
     ("local", "reduce"), ("tasks", "map")],
)  # fmt: skip
def test_what_an_algorithm_raises_is_5_at_its_line_and_its_traceback_is_shown_with_v(
    place: Place, engine: str, where: str
) -> None:
    place.put({"d/a.csv": rows(), "own.py": OWN})
    before = place.tree()
    done = place(*own(where, engine), "-q")
    message = (
        f"error: {AT[where]}: ZeroDivisionError: in {where}, at own.py line {LINE} (traceback in {place.tmp}/mrml-"
    )
    assert (done.code, done.out) == (5, "") and done.err.startswith(message)
    assert done.err.endswith(".log; -v prints it)\n") and done.err.count("\n") == 1
    (log,) = place.tmp.glob("mrml-*.log")
    assert f'own.py", line {LINE}, in _reach' in log.read_text()
    assert where == "model" or place.tree() == before  # what was counted is worth a --resume
    if engine != "tasks":
        again = place(*own(where, engine), "-v", "--overwrite")
        assert again.code == 5 and f'own.py", line {LINE}, in _reach' in again.err and "traceback in" not in again.err


@pytest.mark.parametrize("engine", ["inline", "local", "streaming"])
def test_what_a_model_raises_is_5_and_no_predictions_are_left(place: Place, engine: str) -> None:
    place.put({"d/a.csv": rows(), "own.py": OWN})
    assert place(*own("predict", "inline")).code == 0
    before = place.tree()
    done = place("predict", "m", "--data", "d", "--output", "p", "--engine", *ENGINES[engine], "-q")
    assert (
        done.code == 5
        and done.err.startswith("error: split 0: ZeroDivisionError: in predict, at")
        and place.tree() == before
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("owm:Raises", "", "owm:Raises: cannot be imported: No module named 'owm'; give it as package.module:Class"),
        ("own:Rises", "x = 1", "own:Rises: cannot be imported: module 'own' has no attribute 'Rises'; "
                               "give it as package.module:Class"),
        ("own:Raises", "def f(:", "own:Raises: cannot be imported: SyntaxError: invalid syntax (own.py, line 1); "
                                  "mend the module"),
        ("own:Raises", "1 / 0", "own:Raises: cannot be imported: ZeroDivisionError: division by zero; mend the module"),
        ("own:Path", "from pathlib import Path", "own:Path: is not a subclass of mrml.algorithm.Algorithm"),
        ("logstic", "", "algorithm: 'logstic' is unknown; did you mean 'logistic'? (your own is package.module:Class)"),
    ],
)  # fmt: skip
def test_an_algorithm_that_cannot_be_had_is_2(place: Place, name: str, text: str, message: str) -> None:
    place.put({"d/a.csv": rows(), "own.py": text})
    place.refused(2, message, "train", name, *TRAIN[2:])


def test_a_mistake_of_ours_is_told_with_v_by_its_traceback_and_without_by_its_line(place: Place) -> None:
    done = place("evaluate", "nowhere", "--data", "d", "-v")
    assert done.code == 3 and done.err.startswith("error: nowhere: is no directory") and "Traceback" in done.err
