"""An algorithm that exercises everything an engine does, and data for it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrml.data.dataset import Dataset
from mrml.data.open import open_dataset
from mrml.engines import task
from mrml.errors import InputError
from mrml.extend import Algorithm, Block, Counts, Into, Model, Prediction, Schema, State, Sums, param, rng
from mrml.schema import Column, Format
from mrml.statistic import Statistic

#: keys that a line, a file name, a protocol or an engine's own words might trip over
ODD_KEYS = (
    "", " ", "a b", "tab\there", "new\nline", "carriage\rreturn", "nul\0", "quote\"'`\\", "!error", "!report",
    "../../etc", "~", "ключ", "☃", "🎈", "\u2028", "\x85", "é", "e\u0301", "1", "[1]", "null", "key=value", "%41",
)  # fmt: skip
#: float64 entries of a statistic that is larger than what goes through a pipe
LARGE = 40_000


@dataclass(frozen=True)
class Exercise(Algorithm):
    """``rounds`` rounds of sums that depend on the order of adding, exact counts, odd, rare, many and large keys."""

    n_rounds: int = param(2, "rounds", low=1)
    n_keys: int = param(0, "more keys", low=0)
    large: bool = param(False, "statistics above the limit of a pipe")
    noisy: bool = param(False, "print in map and in reduce")
    fail: str = param("", "what goes wrong in block 3 of file 1, or where the word says so")
    flag: str = param("", "a file that says it went wrong already, with the modules that were loaded")
    slow_s: float = param(0.0, "seconds that a block takes", low=0.0)

    def init(self, schema: Schema) -> State:
        return State({"total": np.zeros(3), "seen": []})

    def statistic(self, state: State, key: str) -> Statistic:
        if key.startswith("exact"):
            return Counts(n=np.zeros(LARGE if self.large else 1))
        return Sums(x=np.zeros(LARGE if self.large and key == "sum" else 3))

    def map(self, state: State, block: Block, into: Into) -> None:
        time.sleep(self.slow_s)
        self._go_wrong(block)
        if self.noisy:
            print("printed in map", "\t".join("ab"))
            os.write(1, b'"written in map"\tx\n')
        draws = rng(1, state.round, block.row_key)
        # an older memo is a start and no more: the sums of the rounds before, each a different shuffle of rounding
        kept = block.memo(
            "draws", state.round, lambda old: {"x": draws, "older": np.array(-1 if old is None else old[0])}
        )
        x = np.array([kept["x"].sum(), (draws * 1e9).sum(), float(block.n_rows)])
        for key in ("sum", *ODD_KEYS):
            statistic = into[key]
            statistic.add(x=np.resize(x, statistic["x"].shape))  # type: ignore[attr-defined]
        into["exact"].add(n=block.n_rows)  # type: ignore[attr-defined]
        if block.index % 5 == 3:
            into["rare"].add(x=x * 0.1)  # type: ignore[attr-defined]
        for k in range(self.n_keys):
            if (k + block.index) % 7 == 0:
                into[f"many {k:05d}"].add(x=x / (k + 1))  # type: ignore[attr-defined]

    def _go_wrong(self, block: Block) -> None:
        here = (block.file, block.index) == (1, 3)
        if not self.fail or not here:
            return
        if self.flag and Path(self.flag).exists():
            return
        if self.flag:
            Path(self.flag).write_text("\n".join(sorted(sys.modules)))
        if self.fail == "ours":
            raise InputError("part-1.csv, byte 48213, column 'age'", "'n/a' is not a number ☃", "add na")
        if self.fail == "unexpected":
            raise ZeroDivisionError("a value\nover two lines")
        if self.fail == "exit":
            raise SystemExit(0)
        if self.fail == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def reduce(self, state: State, key: str, statistic: Statistic) -> Any:
        if self.noisy:
            print("printed in reduce")
            os.write(1, b'"written in reduce"\tx\n')
        if self.fail == "reduce" and key == "rare":
            raise ZeroDivisionError("in reduce")
        if self.fail == "reduce ours" and key == "rare":
            raise InputError("key rare", "cannot be reduced", "leave it")
        if key == "rare":
            return {"x": statistic["x"], "nested": [1, None, "☃", {"deep": 0.1}]}
        return statistic

    def update(self, state: State, values: Mapping[str, Any]) -> State:
        total = values["sum"]["x"][:3] + values.get("rare", {"x": np.zeros(3)})["x"]
        seen = [*state["seen"], list(values)]
        stop = "done" if state.round + 1 >= self.n_rounds else None
        return state.next(stop, total=np.append(state["total"], total), seen=seen)

    def model(self, state: State, schema: Schema) -> Model:
        return Totals(np.asarray(state["total"]))


class Totals(Model):
    """Predicts the number of the row's class from a total; refuses or dies where it is told to."""

    output = "classes"
    classes = ("no", "yes")

    def __init__(self, total: Any, fail: str = "", flag: str = "") -> None:
        self.total, self.fail, self.flag = total, fail, flag

    def predict(self, block: Block) -> Prediction:
        if self.fail and (block.file, block.index) == (1, 3) and not (self.flag and Path(self.flag).exists()):
            if self.flag:
                Path(self.flag).touch()
            if self.fail == "ours":
                raise InputError("part-1.csv", "cannot be scored", "leave it")
            if self.fail == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("in predict")
        p = rng(2, 0, block.row_key) * 0.5 + np.asarray(block.X)[:, 0] % 0.5
        return Prediction((p > 0.5).astype(float), np.stack([1 - p, p], axis=1))

    def header(self) -> dict[str, Any]:
        return {"fail": self.fail, "flag": self.flag}

    def arrays(self) -> dict[str, Any]:
        return {"total": self.total}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Totals:
        return cls(arrays["total"], header["fail"], header["flag"])


@dataclass(frozen=True)
class Sparing(Exercise):
    """Fills a key in one block of all."""

    def map(self, state: State, block: Block, into: Into) -> None:
        if (block.file, block.index) == (1, 3):
            into["sum"].add(x=float(block.n_rows))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Impostor(Exercise):
    """Its worker tells of other kernels from its second split on."""

    def map(self, state: State, block: Block, into: Into) -> None:
        super().map(state, block, into)
        task.fingerprint = lambda: "impostor"  # type: ignore[assignment, attr-defined]


def make_dataset(folder: Path, rows: tuple[int, ...] = (300, 400, 30), bad: int = 0, window: int = 512) -> Dataset:
    """Files of uneven size, some 20 blocks; the first ``bad`` records of file 0 are malformed."""
    files = []
    for number, n_rows in enumerate(rows):
        x = np.random.default_rng(number).normal(size=n_rows)
        lines = [f"{number}-{i},{'oops' if number == 0 and i < bad else format(v, '.6g')}" for i, v in enumerate(x)]
        path = folder / f"p{number}.csv"
        path.write_text("\n".join(["name,x", *lines]) + "\n")
        files.append(str(path))
    from mrml.config.sections import DataConfig

    columns = (Column("name", "categorical", "id", "string"), Column("x"))
    schema = Schema(columns, Format(), window)
    config = DataConfig(data=tuple(files), bad_rows="skip", window_bytes=window)
    return open_dataset(config, schema, ("feature", "id"))
