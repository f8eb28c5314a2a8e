"""What tasks keep for the jobs after theirs: the same State, and rows are read only until their bins are kept."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrml import wire
from mrml.algorithm import Algorithm, State
from mrml.config.sections import DataConfig, RunConfig
from mrml.data.dataset import Dataset
from mrml.data.kept import KeptBlocks
from mrml.engines.task import blocks
from mrml.fs.folder import Folder
from mrml.runs import setup
from tests.identity import KINDS, MIXED, SPARSE, make_data
from tests.rounds import run_round

CASES = {"numbers": ("logistic", MIXED), "classes": ("softmax", KINDS), "sparse": ("logistic", SPARSE)}
SPLIT_BYTES = 60_000


def opened(folder: Path, case: str) -> tuple[Dataset, Algorithm]:
    objective, data = CASES[case]
    make_data(folder)
    params = {"objective": objective, "rounds": 2, "max_depth": 2}
    named = {**data, "data": (str(folder / data["data"]),)}
    config = RunConfig("boosting", params, DataConfig(window_bytes=6000, **named), output="unused")
    return setup.open_training(config, setup.algorithm_of(config))


def trained(folder: Path, case: str, tasks: Callable[[Dataset, Algorithm, State], Any]) -> bytes:
    dataset, algorithm = opened(folder, case)
    state = algorithm.init(dataset.schema)
    while state.stop is None:
        state = run_round(algorithm, state, tasks(dataset, algorithm, state))
    return wire.dumps(state.to_wire())


def read_anew(dataset: Dataset, algorithm: Algorithm, state: State) -> Any:
    """Tasks that keep nothing."""
    return [blocks(dataset, split, None) for split in dataset.splits(SPLIT_BYTES)]


def kept_tasks(folder: Path, reads: list[int]) -> Callable[[Dataset, Algorithm, State], Any]:
    """Every task of every round in a directory of its own, as containers are; ``reads`` gets blocks read a round."""

    class Counting(Dataset):
        def read(self, part: Any) -> Any:
            for block in super().read(part):
                reads[-1] += 1
                yield block

    def tasks(dataset: Dataset, algorithm: Algorithm, state: State) -> Any:
        reads.append(0)
        counting = Counting(**{f.name: getattr(dataset, f.name) for f in dataclasses.fields(dataset)})
        for number, split in enumerate(dataset.splits(SPLIT_BYTES)):
            names = algorithm.keeps(state)
            if not names:
                yield counting_blocks(counting, split)
            else:
                scratch = folder / f"task-{state.round}-{number}"
                yield KeptBlocks(Folder(folder / "kept"), number, scratch, names).blocks(counting, split)

    def counting_blocks(dataset: Dataset, split: Any) -> Any:
        return blocks(dataset, split, None)

    return tasks


@pytest.mark.parametrize("case", CASES)
def test_rows_are_read_until_their_bins_are_kept_and_the_state_is_the_same(tmp_path: Path, case: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    reads: list[int] = []
    found = trained(tmp_path / "a", case, kept_tasks(tmp_path, reads))
    plain = trained(tmp_path / "b", case, read_anew)
    assert found == plain
    assert reads[0] > 3 and reads[:2] == [reads[0]] * 2 and not any(reads[2:]), "the summary and the binning read rows"


def test_packs_that_are_damaged_or_gone_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reads: list[int] = []
    inner = kept_tasks(tmp_path, reads)

    def tasks(dataset: Dataset, algorithm: Algorithm, state: State) -> Any:
        packs = sorted((tmp_path / "kept").glob("*.zip")) if state.round > 2 else []
        step = max(state.round, 1)
        for pack in packs[::step]:
            content = bytearray(pack.read_bytes())
            content[len(content) // 3] ^= 1
            pack.write_bytes(content)
        for pack in packs[1::step]:
            pack.unlink()
        return inner(dataset, algorithm, state)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with caplog.at_level(logging.WARNING):
        found = trained(tmp_path / "a", "numbers", tasks)
    plain = trained(tmp_path / "b", "numbers", read_anew)
    assert found == plain
    assert "cannot be read" in caplog.text and any(reads[3:])


def test_at_most_two_versions_of_a_memo_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    trained(tmp_path / "a", "numbers", kept_tasks(tmp_path, []))
    versions = [p.name.split(".")[-2] for p in (tmp_path / "kept").glob("000000.raw*.zip")]
    assert sorted(versions) == ["00000000", "00000001"]
