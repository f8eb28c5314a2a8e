"""One model to the byte: over engines, numbers of workers, cuts into splits, kills and resumes.

``MRML_IDENTITY_DRAWS`` says how many ways are drawn (200, `make identity` 2,000).  The first draws cover every pair of
case and engine and of engine and kill.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrml.engines.base import Engine
from mrml.engines.streaming.engine import StreamingEngine
from tests.identity import (
    CASES,
    ENGINES,
    KILLS,
    Case,
    Killing,
    Run,
    engine_for,
    kill_a_task_of,
    make_data,
    model_bytes,
    prepare,
)

DRAWS = int(os.environ.get("MRML_IDENTITY_DRAWS", "200"))
SEED = int(os.environ.get("MRML_IDENTITY_SEED", "1"))
CHUNKS = 8
ROOT = Path(__file__).parents[2]

Draw = tuple[int, str, str, int, int, int]


def draws() -> list[Draw]:
    """(case, engine, kill, split bytes, round, split): every pair first, then at random, streaming 1 in 8."""
    rng = random.Random(SEED)

    def more(case: int, engine: str, kill: str) -> Draw:
        at = rng.randrange(1, CASES[case].rounds)
        return (case, engine, kill, rng.choice([3000, 7000, 20_000, 90_000, 1 << 20]), at, rng.randrange(3))

    plan = [more(c, e, "none") for c, e in itertools.product(range(len(CASES)), ENGINES)]
    plan += [more(rng.randrange(len(CASES)), e, k) for e, k in itertools.product(ENGINES, KILLS)]
    while len(plan) < DRAWS:
        engine = rng.choice(ENGINES[5:]) if rng.random() < 1 / 8 else rng.choice(ENGINES[:5])
        plan.append(more(rng.randrange(len(CASES)), engine, rng.choice(KILLS)))
    return plan[:DRAWS] if len(plan) > DRAWS else plan


class Laboratory:
    """Data, the engines that are used again and again, and the bytes every draw must give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_data(folder)
        self.engines: dict[str, Engine] = {}
        self.expected: dict[str, bytes] = {}
        self.count = 0

    def engine(self, name: str, split_bytes: int) -> Engine:
        engine = self.engines.setdefault(name, engine_for(name, split_bytes))
        engine.split_bytes = split_bytes  # type: ignore[attr-defined]
        return engine

    def fresh(self) -> Path:
        self.count += 1
        path = self.folder / f"run-{self.count}"
        path.mkdir()
        return path

    def reference(self, case: Case) -> bytes:
        if case.name not in self.expected:
            run = Run(case, self.engine("inline", 1 << 30), self.folder, checkpoint=self.fresh() / "checkpoint")
            self.expected[case.name] = model_bytes(run.train(case.rounds), run.checkpoint.parent / "model")
        return self.expected[case.name]

    def bytes(self, case: Case, engine: Engine, at: Path, rounds: int | None = None) -> bytes:
        run = Run(case, engine, self.folder, checkpoint=at / "checkpoint", every_s=3600.0)
        model = run.train(rounds or case.rounds)
        shutil.rmtree(at / "model", ignore_errors=True)
        return model_bytes(model, at / "model")

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    laboratory = Laboratory(tmp_path_factory.mktemp("identity"))
    yield laboratory
    laboratory.close()


def killed(lab: Laboratory, draw: Draw, at: Path) -> bytes:
    """Train while something is killed with SIGKILL; whatever died, the run is brought to its end."""
    case_number, name, _, split_bytes, round_number, split = draw
    case, engine = CASES[case_number], lab.engine(name, split_bytes)
    if isinstance(engine, Killing):
        run = Run(case, engine, lab.folder, checkpoint=at / "checkpoint")
        run.on_round = lambda state: setattr(engine, "victim", split if state.round == round_number else None)
        model = run.train(case.rounds)
        return model_bytes(model, at / "model")
    if isinstance(engine, StreamingEngine) and engine.runner == "local":
        stop = threading.Event()
        hunter = threading.Thread(target=kill_a_task_of, args=(engine._folder, stop))
        hunter.start()
        try:
            return lab.bytes(case, engine, at)
        finally:
            stop.set()
            hunter.join()
    arguments = {"case": case.name, "engine": name, "split_bytes": split_bytes, "round": round_number}
    told = json.dumps({**arguments, "folder": str(lab.folder), "checkpoint": str(at / "checkpoint")})
    done = subprocess.run([sys.executable, "-m", "tests.identity", told], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    return lab.bytes(case, engine, at)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_model_is_the_same_bytes_on_every_engine_cut_kill_and_resume(laboratory: Laboratory, chunk: int) -> None:
    for draw in draws()[chunk::CHUNKS]:
        case_number, name, kill, split_bytes, round_number, _ = draw
        case, at = CASES[case_number], laboratory.fresh()
        expected = laboratory.reference(case)
        if kill == "kill":
            found = killed(laboratory, draw, at)
        else:
            engine = laboratory.engine(name, split_bytes)
            if kill == "resume" and not case.evaluate and round_number > 1:
                laboratory.bytes(case, engine, at, round_number)
            found = laboratory.bytes(case, engine, at)
        assert found == expected, (case.name, *draw[1:])
        shutil.rmtree(at)


def test_the_draws_are_over_at_least_24_blocks_and_cover_every_pair(laboratory: Laboratory) -> None:
    for case in CASES:
        dataset, _ = prepare(case, laboratory.folder)
        split = tuple(r for s in dataset.splits(1 << 30) for r in s)
        assert sum(1 for r in split for _ in dataset.read(r)) >= 24, case.name
    plan = draws()
    if len(plan) >= 300:
        assert {(d[0], d[1]) for d in plan} == set(itertools.product(range(len(CASES)), ENGINES))
        assert {(d[1], d[2]) for d in plan} == set(itertools.product(ENGINES, KILLS))
