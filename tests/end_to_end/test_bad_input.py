"""Bad input, told by the commands: a place, a finding and a remedy, the exit code, and nothing written anywhere."""

from __future__ import annotations

import random

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
