"""Waves of a search: how many candidates train on how much, and what TPE makes of scores."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.config.sections import SearchConfig
from mrml.runs.search.spaces import Space
from mrml.runs.search.wave import Done, Wave
from mrml.runs.search.waves import brackets_of, first_wave, levels_of, rungs_of, wave_after

SPACES = [Space("x", "log", (1e-4, 10.0)), Space("k", "int", (1, 8), True), Space("how", "of", ([3, 3], None, True))]


def judged(wave: Wave, loss: Any) -> Done:
    found = [{"trial": t, "state": "done", "score": loss(p), "judged_by": "log_loss"}
             for t, p in zip(wave.trials, wave.params, strict=True)]  # fmt: skip
    return Done(wave, sorted(found, key=lambda r: r["score"]))


def loss(params: Any) -> float:
    return abs(math.log10(params["x"]) + 2) + abs(params["k"] - 5) / 8 + (params["how"] is not None)


def waves(config: SearchConfig) -> list[Done]:
    done, wave = [], first_wave(config, SPACES)
    while wave is not None:
        done.append(judged(wave, loss))
        wave = wave_after(config, SPACES, done)
    return done


@given(n=st.integers(1, 200), eta=st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_brackets_take_about_as_many_rounds_each(n: int, eta: float) -> None:
    config = SearchConfig(method="hyperband", trials=n, eta=eta)
    levels, found = levels_of(config, n), brackets_of(config, n)
    assert len(found) == n and list(found) == sorted(found) and set(found) <= set(range(levels + 1))
    parts = [eta**s / (s + 1) for s in range(levels, -1, -1)]
    for bracket, part in enumerate(parts):
        assert abs(found.count(bracket) - n * part / sum(parts)) <= 1
    assert brackets_of(SearchConfig(method="halving", trials=n), n) == (0,) * n


def test_rungs_of_rounds_are_eta_times_further_each() -> None:
    assert rungs_of(SearchConfig(method="halving", eta=3), 27, 270) == (10, 30, 90)
    assert rungs_of(SearchConfig(method="halving", eta=3), 27, 25) == (3, 9)  # none before round 3
    assert rungs_of(SearchConfig(method="halving", eta=3, resource="rows"), 27, 270) == ()
    assert rungs_of(SearchConfig(method="random"), 27, 270) == ()


def test_rungs_of_rows_train_the_better_on_eta_times_as_many() -> None:
    done = waves(SearchConfig(method="halving", resource="rows", trials=27, eta=3))
    assert [len(d.wave.trials) for d in done] == [27, 9, 3, 1]
    assert [d.wave.share for d in done] == pytest.approx([1 / 27, 1 / 9, 1 / 3, 1])
    for before, after in itertools.pairwise(done):
        assert set(after.wave.trials) == {r["trial"] for r in before.results[: len(after.wave.trials)]}
    assert done[-1].wave.share == 1.0


def test_brackets_of_rows_join_at_their_rung() -> None:
    config = SearchConfig(method="hyperband", resource="rows", trials=20, eta=2)
    brackets, done = brackets_of(config, 20), waves(config)
    for level, one in enumerate(done):
        assert {t for t in one.wave.trials if brackets[t] == level} == {t for t in range(20) if brackets[t] == level}
        assert max(brackets[t] for t in one.wave.trials) == level
    assert len(done) == levels_of(config, 20) + 1


def test_tpe_chooses_better_candidates_than_chance_each_once() -> None:
    pytest.importorskip("optuna")
    done = waves(SearchConfig(method="tpe", trials=60, wave=5))
    assert [len(d.wave.trials) for d in done] == [10, *[5] * 10]
    every = [p for d in done for p in d.wave.params]
    assert len({repr(p) for p in every}) == 60 and all(p["how"] in ([3, 3], None, True) for p in every)
    first, last = ([loss(p) for p in part] for part in (every[:10], every[-20:]))
    assert sorted(last)[10] < sorted(first)[2]
    assert all(1e-4 <= p["x"] <= 10 and p["k"] in range(1, 9) for p in every)


def test_tpe_goes_on_from_any_wave_as_it_did() -> None:
    pytest.importorskip("optuna")
    config = SearchConfig(method="tpe", trials=30, wave=4)
    done = waves(config)
    for k in range(1, len(done)):
        assert wave_after(config, SPACES, done[:k]) == done[k].wave
    other = SearchConfig(method="tpe", trials=30, wave=4, seed=1)
    assert first_wave(other, SPACES) != first_wave(config, SPACES)


def test_tpe_ends_where_a_space_has_no_more() -> None:
    pytest.importorskip("optuna")
    config, small = SearchConfig(method="tpe", trials=30, wave=4), [Space("how", "of", ("a", "b", "c"))]
    first = first_wave(config, small)
    assert sorted(p["how"] for p in first.params) == ["a", "b", "c"]
    done = Done(first, [{"trial": t, "state": "failed", "score": None, "judged_by": "auc"} for t in first.trials])
    assert wave_after(config, small, [done]) is None


def test_tpe_keeps_to_models_that_are_small_enough() -> None:
    pytest.importorskip("optuna")
    config = SearchConfig(method="tpe", trials=60, wave=5, max_model_bytes=300)
    done, wave = [], first_wave(config, SPACES)
    while wave is not None:
        one = judged(wave, loss)
        sizes = {t: 100 * p["k"] for t, p in zip(wave.trials, wave.params, strict=True)}
        done.append(Done(wave, [{**r, "bytes": sizes[r["trial"]]} for r in one.results]))
        wave = wave_after(config, SPACES, done)
    last = [p for d in done[-4:] for p in d.wave.params]
    assert sum(p["k"] <= 3 for p in last) > len(last) / 2
