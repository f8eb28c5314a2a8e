"""Networks by the commands: trained, told of, scored elsewhere, killed and resumed; and bad input."""

from __future__ import annotations

import csv
import json
import math
import random
import re
import signal
import time
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from mrml.runs import directory

from .conftest import Place

TRAIN = ("train", "mlp", "--data", "d", "--target", "y", "--output", "m", "--engine", "inline", "--window-bytes", "600")
SMALL = ("--hidden", "6,3", "--epochs", "3", "--batch-size", "20", "--exclude", "k")


def rows(n: int = 240, seed: int = 1) -> str:
    """Numbers a and b, a category c, a label y of two words, a count k."""
    r = random.Random(seed)
    lines = []
    for _ in range(n):
        a, b, c = r.gauss(0, 1), r.gauss(50, 9), r.choice("uvw")
        likely = a + (1 if c == "u" else -1) + r.gauss(0, 0.5) > 0
        lines.append(
            f"{a:.3f},{b:.2f},{c if r.random() > 0.05 else ''},{'yes' if likely else 'no'},{int(abs(a) * 3)}\n"
        )
    return "a,b,c,y,k\n" + "".join(lines)


R = rows()


def told(place: Place, *argv: str) -> Any:
    done = place(*argv, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


# ---- what a run tells


def test_a_run_tells_epochs_loss_learning_rate_and_metrics(place: Place) -> None:
    place.put({"d/a.csv": R, "v/a.csv": rows(80, 2)})
    done = place(*TRAIN, *SMALL, "--shards", "3", "--valid", "v", "--learning-rate", "0.02")
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if line.startswith("round ")]
    assert len(lines) == 5 and all(re.match(rf"round {k}/5 ", line) for k, line in enumerate(lines, 1))
    assert [line.rsplit("epoch ")[1] for line in lines] == ["0", "1", "2", "3", "3"]
    assert all(" loss 0." in line and " valid_loss 0." in line and " learning_rate 0.02" in line for line in lines[1:])
    assert "240 rows, 80 rows to validate with, 5 rounds" in done.out
    assert re.search(r"; all 3 epochs are done; the best State is that after epoch \d\n", done.out)
    assert re.search(r"\n  auc +0\.\d+\n", done.out) and "mrml predict m --data v" in done.out


def test_the_summary_as_json_is_that_of_every_algorithm(place: Place) -> None:
    place.put({"d/a.csv": R})
    found = told(place, *TRAIN, *SMALL, "--shards", "3", "-q")
    assert (found["rounds"], found["n_rows"], found["stop"]) == (4, 240, "all 3 epochs are done")
    assert found["metrics"]["n_rows"] == 240 and 0 < found["metrics"]["log_loss"] < 1
    run = json.loads((place.here / "m" / "run.json").read_text())
    assert run["rounds"] == 4 and run["bytes_up"] == found["bytes_up"] > 0


def test_narrow_wires_send_up_less(place: Place) -> None:
    place.put({"d/a.csv": R})
    wide = ("--hidden", "200,50", "--epochs", "2", "--exclude", "k", "--inner-state", "restart")
    sent = {form: told(place, *TRAIN, *wide, "--wire", form, "--overwrite", "-q")["bytes_up"]
            for form in ("float32", "bf16", "int8")}  # fmt: skip
    assert sent["float32"] > 1.7 * sent["bf16"] > 1.7 * 1.5 * sent["int8"]


def test_inspect_tells_layers_embeddings_and_parameters(place: Place) -> None:
    place.put({"d/a.csv": R})
    assert place(*TRAIN, *SMALL, "--norm", "batch", "--dropout", "0.1", "--wide", "true", "-q").code == 0
    found = told(place, "inspect", "m")
    layers = {layer.pop("layer"): layer for layer in found["layers"]}
    # 2 numbers and the embedding of 5 levels: u, v, w, null and other
    width = round(1.6 * 5**0.56)
    then = "batch norm, relu, dropout 0.1"
    assert layers == {
        "hidden 1": {"reads": 2 + width, "gives": 6, "then": then, "parameters": (2 + width) * 6 + 2 * 6},
        "hidden 2": {"reads": 6, "gives": 3, "then": then, "parameters": 6 * 3 + 2 * 3},
        "wide": {"reads": 2 + 5, "gives": 1, "then": "", "parameters": 7},
        "output": {"reads": 3, "gives": 1, "then": "link of logistic", "parameters": 3 + 1},
    }
    assert found["embeddings"] == [{"column": "c", "levels": 5, "width": width, "parameters": 5 * width}]
    with np.load(place.here / "m" / "model.npz") as arrays:
        assert found["parameters"] == arrays["model.params"].size
    everything = [*layers.values(), *found["embeddings"]]
    assert found["parameters"] == sum(part["parameters"] for part in everything)
    text = place("inspect", "m").out
    assert re.search(r"layers\n  layer +reads +gives +then +parameters\n  hidden 1 +", text)
    assert re.search(r"embeddings\n  column +levels +width +parameters\n  c +5 +4 +20\n", text)
    assert re.search(r"\nobjective +logistic\nparameters +\d+\n", text)


def test_inspect_tells_the_factors_of_a_factorization_machine(place: Place) -> None:
    place.put({"d/a.csv": R})
    argv = ("train", "factorization-machine", *TRAIN[2:], "--exclude", "k", "--factors", "4", "--epochs", "2", "-q")
    assert place(*argv).code == 0
    found = told(place, "inspect", "m")
    told_of = {layer["layer"]: layer["parameters"] for layer in found["layers"]}
    assert told_of == {"factors": 7 * 4, "wide": 7, "output": 1} and found["embeddings"] == []


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_plan_says_how_many_jobs_global_batches_cost_on_hadoop(place: Place, format: str) -> None:
    """240 rows are 12 batches an epoch; of text the rows are an estimate by the first block."""
    place.put({"d/a.csv": R})
    if format == "parquet":
        pq.write_table(pa_csv.read_csv(place.here / "d" / "a.csv"), place.here / "d" / "a.parquet")
        (place.here / "d" / "a.csv").unlink()
    hadoop = ("--runner", "hadoop", "--engine", "streaming", "--dry-run")
    argv = [word for word in TRAIN if word not in ("--engine", "inline")]
    found = told(place, *argv, *SMALL, *hadoop, "--sync-every", "1")
    least, most = (38, 38) if format == "parquet" else (34, 42)
    assert least <= found["rounds_expected"] <= most  # 1 for the transforms, 36 steps, a last look at validation rows
    word = "at most" if format == "parquet" else "about"
    assert found["jobs"].startswith(f"{word} {found['rounds_expected']} jobs at about 6.7 s each")
    long = told(place, *argv, *SMALL[2:], *hadoop, "--sync-every", "1", "--epochs", "30")
    assert "--sync-every epoch: a job an epoch" in long["fewer_jobs"]
    assert told(place, *argv, *SMALL, *hadoop)["rounds_expected"] == 5
    assert not (place.here / "m").exists()


# ---- elsewhere and again


def test_a_model_is_scored_in_another_process_as_in_this_one(place: Place) -> None:
    place.put({"d/a.csv": R, "t/a.csv": rows(90, 7)})
    trained = told(place, *TRAIN, *SMALL, "--norm", "batch", "--dropout", "0.2", "-q")
    here = told(place, "evaluate", "m", "--data", "t", "--engine", "inline", "-q")
    there = place.run("evaluate", "m", "--data", "t", "--json", "-q", "--workers", "2")
    assert there.code == 0 and json.loads(there.out) == here
    again = told(place, "evaluate", "m", "--data", "d", "--engine", "inline", "-q")
    assert again["auc"] == trained["metrics"]["auc"]
    done = place.run("predict", "m", "--data", "t", "--output", "p", "--format", "csv", "-q")
    assert done.code == 0
    with open(next((place.here / "p").glob("part-*")), newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 90
    labels = [line.split(",")[3] for line in rows(90, 7).splitlines()[1:]]
    column = next(name for name in found[0] if {row[name] for row in found} <= {"yes", "no"})
    right = sum(row[column] == label for row, label in zip(found, labels, strict=True))
    assert right / 90 == pytest.approx(here["accuracy"])


@pytest.mark.parametrize("more", [("--shards", "3"), ("--sync-every", "1")])
def test_the_best_epoch_on_validation_rows_is_the_same_on_every_engine(place: Place, more: tuple[str, ...]) -> None:
    """Labels that are drawn: what is learned by heart is wrong elsewhere."""
    r = random.Random(3)
    noise = {name: re.sub(",(yes|no),", lambda _: r.choice([",yes,", ",no,"]), rows(n, n))
             for name, n in (("d/a.csv", 100), ("v/a.csv", 300))}  # fmt: skip
    place.put(noise)
    argv = [word for word in TRAIN if word not in ("--engine", "inline", "--output", "m")]
    argv += [*SMALL, *more, "--valid", "v", "--early-stopping", "4", "--learning-rate", "0.05", "--epochs", "20"]
    for output, engine in (("m1", ("inline",)), ("m2", ("local", "--workers", "2"))):
        found = told(place, *argv, "--output", output, "--engine", *engine, "-q")
        assert found["stop"].startswith("the validation loss did not fall for 4 epochs; the best State is that after")
    assert place.model("m1") == place.model("m2")


#: a network that stops after its first meeting while the file HOLD is there
WAITS = """
import os, time
from dataclasses import dataclass
from mrml.algorithms.sgd.mlp import MLP

@dataclass(frozen=True)
class Waits(MLP):
    def map_shard(self, state, shard, into):
        hold = os.environ.get("HOLD", "")
        while state["meeting"] == 2 and shard.number == 1 and os.path.exists(hold):
            open(hold + ".reached", "w").close()
            time.sleep(0.02)
        super().map_shard(state, shard, into)
"""


@pytest.mark.parametrize("state", ["average", "restart", "keep"])
def test_a_killed_run_goes_on_to_the_same_bytes_whatever_becomes_of_the_optimizers_state(
    place: Place, state: str
) -> None:
    place.put({"d/a.csv": R, "v/a.csv": rows(80, 2), "waits.py": WAITS})
    more = ("--sync-every", "4", "--shards", "3", "--inner-state", state, "--outer", "nesterov", "--norm", "batch",
            "--dropout", "0.2", "--wire", "bf16", "--shuffle-rows", "50", "--valid", "v", "-q")  # fmt: skip
    argv = ("train", "waits:Waits", *TRAIN[2:], *SMALL, *more)
    hold = place.here / "hold"
    hold.touch()
    process = place.start(*argv, HOLD=str(hold))
    while not (place.here / "hold.reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [p.name for p in (place.here / "m").iterdir()] == ["_run"]
    assert place(*argv, "--resume").code == 0
    resumed = place.model()
    assert place(*argv, "--overwrite").code == 0
    assert place.model() == resumed


# ---- bad input

EPOCHS = "algorithm, sync_every: {!r} is neither epoch nor a number of steps; say epoch, 100 or 1"
NO_UNIT = "algorithm, hidden: a layer has no unit; use --hidden 128,64, or train logistic --solver sgd"
LOCAL = "algorithm, {}: {!r} is of local steps, and a global batch a round has none; "
LOCAL += "leave it out, or use --sync-every epoch"
NO_FACTORS = "algorithm, loss: factors have one output; train two classes, or mlp for more"
LOWER = "lower --learning-rate, or use --clip-norm 1; are all features finite?"
FM = ("train", "factorization-machine", *TRAIN[2:])
ONE_CLASS = re.sub(",(yes|no),", ",yes,", R)
NEGATIVE = R.replace(",yes,2\n", ",yes,-2\n", 1)

OPTIONS = [
    *((EPOCHS.format(word), ("--sync-every", word)) for word in ("0", "-1", "x", "1.5", "²", "007", "")),
    (NO_UNIT, ("--hidden", "0")),
    (NO_UNIT, ("--hidden", "8,0")),
    (NO_UNIT, ("--hidden", "-3")),
    (NO_UNIT.replace("a layer has no unit", "there is no hidden layer"), ("--hidden", "")),
    (LOCAL.format("shards", 2), ("--sync-every", "1", "--shards", "2")),
    (LOCAL.format("outer", "adam"), ("--sync-every", "1", "--outer", "adam")),
    (LOCAL.format("wire", "int8"), ("--sync-every", "1", "--wire", "int8")),
    (LOCAL.format("inner_state", "keep"), ("--sync-every", "1", "--inner-state", "keep")),
]


@pytest.mark.parametrize(("message", "argv"), OPTIONS, ids=[" ".join(argv) for _, argv in OPTIONS])
def test_options_that_make_no_sense_are_refused(place: Place, message: str, argv: tuple[str, ...]) -> None:
    place.put({"d/a.csv": R})
    place.refused(2, message, *TRAIN, *argv)


@pytest.mark.parametrize("engine", ["inline", "local"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_more_shards_than_blocks_are_refused_before_any_round(place: Place, engine: str, dry: tuple[str, ...]) -> None:
    place.put({"d/a.csv": R})
    n_blocks = -(-len(R) // 600)
    message = f"algorithm, shards: 99 are asked for, and the training data has {n_blocks} blocks; "
    message += f"use --shards {n_blocks} or fewer, or a smaller --window-bytes"
    argv = [engine if word == "inline" else word for word in TRAIN]
    place.refused(2, message, *argv, *SMALL, "--shards", "99", *dry)
    done = place(*argv, *SMALL, "--shards", "99")
    assert done.code == 2 and "round 1" not in done.err
    assert place(*argv, *SMALL, "--shards", str(n_blocks), "-q").code == 0


@pytest.fixture
def no_checkpoint_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that were written stay, and on a slow machine one may be due before the loss is no number."""
    monkeypatch.setattr(directory, "CHECKPOINT_S", math.inf)


@pytest.mark.usefixtures("no_checkpoint_is_due")
@pytest.mark.parametrize("engine", [("inline",), ("local", "--workers", "2")])
@pytest.mark.parametrize(
    ("more", "where"),
    [(("--shards", "2"), r"round 2, shard [01], step \d+"), (("--sync-every", "1"), r"round \d+, batch \d+")],
)
def test_a_loss_that_is_no_number_tells_where_at_which_rate_and_what_to_try(
    place: Place, engine: tuple[str, ...], more: tuple[str, ...], where: str
) -> None:
    place.put({"d/a.csv": R})
    argv = [word for word in TRAIN if word not in ("--engine", "inline")]
    before = place.tree()
    done = place(*argv, *SMALL, *more, "--optimizer", "sgd", "--learning-rate", "1e30", "-q", "--engine", *engine)
    assert done.code == 6 and done.out == ""
    said = rf"error: {where}: the loss is not a number at a learning rate of 1e\+30; {re.escape(LOWER)}\n"
    assert re.fullmatch(said, done.err), done.err
    assert place.tree() == before


@pytest.mark.usefixtures("no_checkpoint_is_due")
def test_a_network_of_squares_diverges_at_a_learning_rate_that_is_just_too_large(place: Place) -> None:
    place.put({"d/a.csv": R})
    argv = [word if word != "y" else "k" for word in TRAIN]
    done = place(*argv, *SMALL[:-2], "--exclude", "y", "--optimizer", "sgd", "--learning-rate", "1e6", "-q")
    assert done.code == 6 and "Traceback" not in done.err and not (place.here / "m").exists()
    assert re.match(
        r"error: round 2, shard 0, step \d+: the loss is not a number at a learning rate of 1e\+06; ", done.err
    )


@pytest.mark.parametrize(
    ("text", "message", "code", "argv"),
    [
        (ONE_CLASS, "target: holds only one class, 'yes'; at least two are needed", 3, TRAIN),
        (ONE_CLASS, "target: holds only one class, 'yes'; at least two are needed", 3, FM),
        (NEGATIVE, "target: holds -2, and a poisson target is never negative; use squared errors, or fix the data", 3,
         (*TRAIN, "--target", "k", "--loss", "poisson")),
        (R, NO_FACTORS, 2, (*FM, "--loss", "softmax")),
        (R, "algorithm, early_stopping: there are no validation rows; name some with --valid", 2,
         (*TRAIN, *SMALL, "--early-stopping", "2")),
        (R, "column 'y': is categorical, and mlp needs numbers; use --loss logistic for two classes, softmax for more, "
         "or name another --target", 2, (*TRAIN, "--loss", "huber")),
    ],
)  # fmt: skip
def test_data_that_the_loss_cannot_have_is_refused(
    place: Place, text: str, message: str, code: int, argv: tuple[str, ...]
) -> None:
    place.put({"d/a.csv": text})
    place.refused(code, message, *argv)
