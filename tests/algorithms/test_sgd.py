"""SGD by local steps and by global batches against plain loops, and against the formulas of what a meeting makes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrml import wire
from mrml.algorithm import State
from mrml.algorithms.sgd.mlp import MLP
from mrml.algorithms.sgd.rows import Cursor, global_batch, kept_buffers
from mrml.algorithms.sgd.statistics import GradientSum, Learned
from mrml.algorithms.sgd.task import Task
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.data.shards import Shard, cut
from mrml.data.store import DirectoryStore
from mrml.errors import ConfigError, Diverged
from mrml.kernels.net.describe import Inputs, Net
from mrml.kernels.net.kernel import NumpyKernel
from mrml.kernels.net.numpy import gradient
from mrml.logs import round_line
from mrml.losses import logistic
from tests.kernels.nets import compute, make_batch, perturbed, whole
from tests.rounds import run, run_round, sources

from .nets import Learner, blocks_of, joined, rows_of, schema_of, weighing

SIZES = (60, 50, 0, 70, 33, 60, 7, 80)
#: of a difference that travels as float32, and is added to float32 parameters of about 1
ROUNDING = 3e-7
PLAIN = {"hidden": (5, 3), "batch_size": 25, "shuffle_rows": 100, "epochs": 3, "learning_rate": 0.01}
FULL = {**PLAIN, "dropout": 0.25, "norm": "batch"}


def blocks(sizes: Sequence[int] = SIZES, seed: int = 0, **more: Any) -> list[Block]:
    return blocks_of(rows_of(sum(sizes), seed), sizes, **more)


def last(algorithm: MLP, some: Sequence[Block]) -> State:
    return run(algorithm, schema_of(some), [some])


def states(algorithm: MLP, some: Sequence[Block]) -> list[State]:
    """The first State and that after every round."""
    found = [algorithm.init(schema_of(some))]
    while found[-1].stop is None:
        found.append(run_round(algorithm, found[-1], [some]))
    return found


def shards_of(some: Sequence[Block], n: int) -> list[list[Block]]:
    train = [b for b in some if b.part == "train"]
    return [train[run] for run in cut([int(b.n_rows > 0) for b in train], n)]


def learned(algorithm: MLP, state: State, some: Sequence[Block]) -> Learned:
    """What the shards send up, merged."""
    total = Learned()
    for source in sources(algorithm.reads(state), [some]):
        if isinstance(source, Shard):
            into = {"learned": Learned()}
            algorithm.map_shard(state, source, into)  # type: ignore[arg-type]
            total.merge(into["learned"])
    return total


def same(one: Any, other: Any) -> bool:
    return bool(np.asarray(one).tobytes() == np.asarray(other).tobytes())


# ---- one shard


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw", "adagrad"])
def test_one_shard_is_a_plain_loop_over_buffers_and_batches(optimizer: str) -> None:
    """To the byte, but that at every meeting the difference is rounded to float32."""
    some = blocks()
    algorithm = MLP(**FULL, optimizer=optimizer, weight_decay=0.01, clip_norm=0.5)
    found = last(algorithm, some)
    plain = Learner.of(algorithm, schema_of(some))
    for epoch in range(3):
        before = plain.steps.params.copy()
        plain.epoch(algorithm, some, epoch, first_t=plain.taken)
        moved = (plain.steps.params.astype(np.float64) - before).astype(np.float32)
        assert np.abs(before + moved.astype(np.float64) - plain.steps.params).max() <= ROUNDING
        plain.steps.params[:] = before.astype(np.float64) + moved
    assert same(found["params"], plain.steps.params)
    assert same(found["inner"], plain.steps.inner)
    assert np.allclose(found["buffers"], plain.steps.buffers, rtol=1e-14)
    assert found["shards"]["0"]["cursor"][3] == plain.taken == 3 * 16


@pytest.mark.parametrize("inner_state", ["average", "keep"])
@pytest.mark.parametrize("every", ["1000", "48", "29", "16", "7", "2"])
def test_the_meetings_of_one_shard_change_nothing_but_float32_rounding(inner_state: str, every: str) -> None:
    """45 nominal steps, 15 an epoch of 360 rows; an epoch's own are 16, of which some are short."""
    some = blocks()
    algorithm = MLP(**FULL, sync_every=every, inner_state=inner_state)
    assert algorithm.init(schema_of(some))["steps"] == 15
    found = last(algorithm, some)
    one = last(replace(algorithm, sync_every="45"), some)
    assert one.round == 1 and found.round == math.ceil(45 / int(every))
    assert np.abs(found["params"] - one["params"]).max() <= ROUNDING * found.round
    assert np.allclose(found["buffers"], one["buffers"], rtol=1e-5)
    assert found["shards"]["0"]["cursor"][3] == 45, "the steps of all epochs, however long it is to a meeting"


def test_a_single_shard_has_the_same_mean_state_as_the_one_that_it_keeps() -> None:
    some = blocks()
    average, keep = (last(MLP(**FULL, sync_every="7", inner_state=s), some) for s in ("average", "keep"))
    assert same(average["params"], keep["params"])
    assert same(average["inner"], keep["shards"]["0"]["inner"])
    assert keep["inner"].size == 0


def test_an_optimizer_that_restarts_begins_every_meeting_without_memory_and_at_step_1() -> None:
    some = blocks()
    algorithm = MLP(**PLAIN, inner_state="restart")
    plain = Learner.of(algorithm, schema_of(some))
    for epoch in range(3):
        plain.steps.inner[:] = 0.0
        before = plain.steps.params.copy()
        plain.epoch(algorithm, some, epoch, first_t=0)
        moved = (plain.steps.params.astype(np.float64) - before).astype(np.float32)
        plain.steps.params[:] = before.astype(np.float64) + moved
    found = last(algorithm, some)
    assert same(found["params"], plain.steps.params)
    assert found["inner"].size == 0
    assert not same(found["params"], last(replace(algorithm, inner_state="average"), some)["params"])


# ---- several shards


def apart(algorithm: MLP, some: Sequence[Block], n: int) -> tuple[list[Learner], list[float]]:
    """An epoch of every shard by itself, from the same beginning; and the weights of their rows."""
    begun = Learner.of(algorithm, schema_of(some))
    learners = [begun.copy() for _ in range(n)]
    return learners, [one.epoch(algorithm, part, 0) for one, part in zip(learners, shards_of(some, n), strict=True)]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_shards_meet_in_the_mean_of_what_they_learned_weighted_by_their_rows(n: int) -> None:
    some = blocks()
    algorithm = MLP(**{**FULL, "epochs": 1}, shards=n)
    learners, weights = apart(algorithm, some, n)
    found = last(algorithm, some)
    assert sum(weights) == pytest.approx(sum(float(b.weight.sum()) for b in some if b.weight is not None))
    for name, tolerance in (("params", 2e-7), ("inner", 2e-7), ("buffers", 1e-12)):
        mean = np.average([getattr(one.steps, name) for one in learners], axis=0, weights=weights)
        np.testing.assert_allclose(found[name], mean, rtol=1e-6, atol=tolerance, err_msg=name)


def test_a_shard_of_few_rows_has_little_say_and_goes_through_them_more_often() -> None:
    """File 1 is the second of two shards, with 9 rows beside 200; with a number of steps both take as many."""
    rows = rows_of(209, seed=4)
    large, small = ({k: v[part] for k, v in rows.items()} for part in (slice(200), slice(200, None)))
    some = blocks_of(large, (100, 100)) + blocks_of(small, (4, 5), file=1)
    algorithm = MLP(**{**PLAIN, "epochs": 1}, shards=2)
    learners, weights = apart(algorithm, some, 2)
    assert weights[1] < 0.1 * weights[0]
    mean = np.average([one.steps.params for one in learners], axis=0, weights=weights)
    np.testing.assert_allclose(last(algorithm, some)["params"], mean, atol=2e-7)
    by_steps = last(replace(algorithm, sync_every="3", epochs=2), some)
    cursors = [Cursor(*by_steps["shards"][k]["cursor"]) for k in ("0", "1")]
    assert cursors[0].step == cursors[1].step == 2 * 5
    assert cursors[1].epoch >= 9 > cursors[0].epoch


def test_a_shard_without_rows_has_no_say() -> None:
    some = blocks((60, 40)) + weighing(blocks((30, 0, 20), seed=1, file=1), 0.0)
    algorithm = MLP(**{**PLAIN, "epochs": 4}, shards=2)
    alone = [b for b in some if b.file == 0]
    schema = schema_of(some)  # one design, so that both begin alike
    for every, most in (("epoch", 4), ("4", 3)):
        found = run(replace(algorithm, sync_every=every), schema, [some], most)
        assert found["shards"]["1"]["cursor"] == [0, 0, 0, 0]
        one = run(replace(algorithm, sync_every=every, shards=1), schema, [alone], most)
        assert same(found["params"], one["params"])


def test_a_model_does_not_depend_on_the_number_of_training_blocks_without_rows() -> None:
    with_, without = blocks(), blocks([n for n in SIZES if n])
    keys = [b.row_key for b in without]
    kept = [b for b in with_ if b.n_rows]
    assert not all(np.array_equal(b.row_key, k) for b, k in zip(kept, keys, strict=True)), "keys tell blocks apart"
    for every in ("epoch", "7", "1"):
        algorithm = MLP(**PLAIN, sync_every=every)
        assert same(last(algorithm, with_)["params"], last(algorithm, kept)["params"])


# ---- the outer step


def meetings(algorithm: MLP, some: Sequence[Block]) -> list[tuple[Array, Array, Array]]:
    """Parameters before and after every meeting, and between them the mean difference of the shards."""
    found = states(algorithm, some)
    means = [learned(algorithm, state, some).mean()["params"] for state in found[:-1]]
    return [(a["params"], d, b["params"]) for a, d, b in zip(found[:-1], means, found[1:], strict=True)]


OUTER = {**PLAIN, "shards": 3, "epochs": 3}


@pytest.mark.parametrize("rate", [None, 0.5])
def test_the_outer_average_moves_by_the_mean_difference(rate: float | None) -> None:
    for before, mean, after in meetings(MLP(**OUTER, outer_rate=rate), blocks()):
        np.testing.assert_allclose(after, before + (rate or 1.0) * mean, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("rate", "mu"), [(None, 0.9), (0.4, 0.5)])
def test_the_outer_nesterov_is_that_of_diloco(rate: float | None, mu: float) -> None:
    """m = mu m + g, p -= rate (g + mu m) with g the mean difference the other way round: torch's SGD with nesterov."""
    momentum = np.zeros(1)
    for before, mean, after in meetings(MLP(**OUTER, outer="nesterov", outer_rate=rate, outer_momentum=mu), blocks()):
        gradient_ = -mean
        momentum = mu * momentum + gradient_
        expected = before - (rate or 0.7) * (gradient_ + mu * momentum)
        np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rate", [None, 0.003])
def test_the_outer_adam_is_that_of_adaptive_federated_optimization(rate: float | None) -> None:
    first, second = np.zeros(1), np.full(1, 1e-3**2)
    for before, mean, after in meetings(MLP(**OUTER, outer="adam", outer_rate=rate), blocks()):
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean**2
        expected = before + (rate or 0.01) * first / (np.sqrt(second) + 1e-3)
        np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("outer", ["nesterov", "adam"])
def test_the_outer_step_of_nothing_learned_is_nothing(outer: str) -> None:
    some = blocks()
    algorithm = MLP(**{**OUTER, "learning_rate": 0.0}, outer=outer)
    assert same(last(algorithm, some)["params"], algorithm.init(schema_of(some))["params"])


# ---- global batches


GLOBAL = {**PLAIN, "sync_every": "1", "epochs": 2}


def batches_of(some: Sequence[Block], epoch: int, n: int, seed: int = 0) -> list[list[Array]]:
    """Of every batch the rows of each block."""
    return [[global_batch(b, seed, epoch, number, n) for b in some] for number in range(n)]


def test_the_batches_of_an_epoch_hold_every_row_once_and_those_of_the_next_others() -> None:
    some = blocks()
    drawn = [batches_of(some, epoch, 15) for epoch in (0, 1)]
    for batches in drawn:
        for number, block in enumerate(some):
            rows = np.concatenate([batch[number] for batch in batches])
            assert sorted(rows.tolist()) == list(range(block.n_rows))
        assert all(5 <= sum(map(len, batch)) <= 50 for batch in batches), "24 are expected"
    assert any(not np.array_equal(a, b) for a, b in zip(drawn[0][0], drawn[1][0], strict=True))


def test_a_global_batch_is_one_step_by_the_gradient_of_its_rows_together() -> None:
    some = blocks()
    algorithm = MLP(**GLOBAL, clip_norm=0.3, weight_decay=0.01)
    found = states(algorithm, some)
    plain = Learner.of(algorithm, schema_of(some)).steps
    for step in range(30):
        epoch, number = divmod(step, 15)
        rows = [global_batch(b, 0, epoch, number, 15) for b in some]
        taken = [[a[r] for a in joined([b])] for b, r in zip(some, rows, strict=True)]
        x, y, weight, offset, _ = (np.concatenate(parts) for parts in zip(*taken, strict=True))
        inputs = Inputs(x, np.empty((len(x), 0), np.int32))
        plain.step(inputs, y, weight, offset, None, step + 1, 0.01)
        np.testing.assert_allclose(found[step + 1]["params"], plain.params, atol=2e-5)
    assert found[-1].stop == "all 2 epochs are done" and len(found) == 31


def test_gradients_of_parts_add_up_to_that_of_the_whole() -> None:
    algorithm = MLP(**GLOBAL)
    some = blocks((40, 30, 0, 50))
    plain = Learner.of(algorithm, schema_of(some)).steps
    total = GradientSum()
    x, y, weight, offset, _ = joined(some)
    at = 0
    for block in some:
        part, one = slice(at, at + block.n_rows), GradientSum()
        inputs = Inputs(x[part], np.empty((block.n_rows, 0), np.int32))
        one.put(gradient(plain.net, plain.params, plain.buffers, inputs, y[part], weight[part], offset[part], logistic))
        total.merge(one)
        at += block.n_rows
    whole = gradient(plain.net, plain.params, plain.buffers, Inputs(x, np.empty((at, 0), np.int32)), y, weight, offset,
                     logistic)  # fmt: skip
    assert total.n_rows == 120 and total.weight == pytest.approx(weight.sum())
    assert total.loss == pytest.approx(whole.loss)
    np.testing.assert_allclose(total.dense, whole.dense, rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 9))
def test_gradients_of_tables_hold_the_rows_that_any_part_touched_once(cuts: list[int], seed: int) -> None:
    """Embeddings, wide and factors of coded and CSR columns; parts may be empty."""
    net = Net(2, tables=((9, 3), (4, 2)), n_sparse=12, hidden=(4,), wide=True, factors=2)
    batch, params = make_batch(net, 40, seed=seed), perturbed(net, seed)
    total = GradientSum()
    for start, stop in itertools.pairwise([0, *sorted(cuts), 40]):
        one = GradientSum()
        if stop > start:
            one.put(compute(net, params, batch.rows(np.arange(start, stop))))
        total.merge(GradientSum.from_wire(wire.loads(wire.dumps(one.to_wire()))))
    slots = {slot.name: slot for slot in net.slots if slot.sparse}
    found, whole_ = total.gradient(slots), compute(net, params, batch)
    assert (found.n_rows, found.weight) == (40, pytest.approx(whole_.weight))
    for mine, theirs in zip(found.sparse, whole_.sparse, strict=True):
        assert mine.slot == theirs.slot and np.array_equal(mine.rows, theirs.rows)
    np.testing.assert_allclose(whole(net, found), whole(net, whole_), rtol=1e-5, atol=1e-5)


# ---- weights


@pytest.mark.parametrize(
    "more", [{"shards": 3, "sync_every": "4"}, {"shards": 2, "outer": "adam"}, {"sync_every": "1"}]
)
def test_twice_the_weights_change_nothing(more: dict[str, Any]) -> None:
    some = blocks()
    algorithm = MLP(**{**PLAIN, **more}, clip_norm=0.5, weight_decay=0.01)
    one, two = last(algorithm, some), last(algorithm, weighing(some, 2.0))
    assert same(one["params"], two["params"])
    assert one["loss"] == two["loss"]


# ---- validation


def noise(n_train: int = 60) -> list[Block]:
    """Labels that nothing tells: what is learned by heart is wrong elsewhere."""
    train, valid = rows_of(n_train, 1, 0.0, False), rows_of(300, 2, 0.0, False)
    for rows, seed in ((train, 3), (valid, 4)):
        rows["y"] = np.random.default_rng(seed).integers(0, 2, len(rows["y"])).astype(float)
    return blocks_of(train, (n_train // 2, n_train // 2)) + blocks_of(valid, (200, 100), file=1, part="valid")


OVERFIT = {"hidden": (30,), "batch_size": 10, "learning_rate": 0.03, "epochs": 12}


def loss_of(algorithm: MLP, state: State, some: Sequence[Block]) -> float:
    """The loss of a State on the validation rows, by its model."""
    net = algorithm.model(state, schema_of(some))
    valid = [b for b in some if b.part == "valid"]
    raw = np.concatenate([net.raw_prediction(b)[:, 0] for b in valid])
    return float(logistic.value(np.concatenate([np.asarray(b.y) for b in valid]), raw).mean())


@pytest.mark.parametrize("more", [{}, {"shards": 2}, {"sync_every": "1"}, {"sync_every": "4"}])
def test_the_best_state_on_the_validation_rows_is_the_model(more: dict[str, Any]) -> None:
    some, algorithm = noise(), MLP(**{**OVERFIT, **more})
    found = states(algorithm, some)
    seen: dict[int, tuple[float, State]] = {}
    for state in found[:-1]:
        if state["epoch"] not in seen:
            seen[state["epoch"]] = loss_of(algorithm, state, some), state
    best = min(seen, key=lambda epoch: seen[epoch][0])
    assert seen[12][0] > seen[best][0] + 0.05, "the loss rises"
    end = found[-1]
    assert end["epoch"] == best and end["valid_loss"] == pytest.approx(seen[best][0], rel=1e-6)
    assert same(end["params"], seen[best][1]["params"])
    assert end.stop == f"all 12 epochs are done; the best State is that after epoch {best}"


def test_early_stopping_ends_when_so_many_epochs_were_no_better() -> None:
    some, algorithm = noise(), MLP(**{**OVERFIT, "epochs": 50}, early_stopping=3)
    found = states(algorithm, some)
    losses = [loss_of(algorithm, state, some) for state in found[:-1]]
    best = found[-1]["epoch"]
    assert losses[best] == min(losses)
    assert len(losses) == best + 3 + 1, "the epochs that were no better, and no more"
    assert found[-1].stop is not None and found[-1].stop.startswith("the validation loss did not fall for 3 epochs")


def test_epochs_between_two_meetings_do_not_end_a_run_that_gets_better() -> None:
    """A meeting of 40 steps is some 6 epochs; patience is of epochs that were judged."""
    some = blocks_of(rows_of(60, 1), (30, 30)) + blocks_of(rows_of(200, 2), (200,), file=1, part="valid")
    algorithm = MLP(hidden=(8,), batch_size=10, learning_rate=0.005, epochs=40, sync_every="40", early_stopping=3)
    found = states(algorithm, some)
    losses = [loss_of(algorithm, state, some) for state in found[:-1]]
    assert losses[1] < losses[0] and found[-1]["meeting"] > 1


def test_validation_rows_are_read_once_an_epoch_and_never_where_there_are_none() -> None:
    def read(some: Sequence[Block], more: dict[str, Any]) -> list[bool]:
        algorithm = MLP(**{**PLAIN, "batch_size": 30, **more})
        return [algorithm.reads(state).valid for state in states(algorithm, some)[:-1]]

    some = noise()
    train = [b for b in some if b.part == "train"]
    for more in ({}, {"sync_every": "1"}):
        assert read(train, more) == [True] + [False] * (len(read(train, more)) - 1), "to learn that there are none"
    assert read(some, {}) == [True] * 4
    assert read(some, {"sync_every": "1"}) == [True, False, True, False, True, False, True]
    assert MLP(**PLAIN).reads(states(MLP(**PLAIN), some)[-2]).train is False, "a last look at the validation rows alone"


def test_early_stopping_without_validation_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="early_stopping: there are no validation rows; name some with --valid"):
        last(MLP(**PLAIN, early_stopping=2), blocks())


def test_a_number_of_steps_is_as_good_as_its_text_and_layers_are_whole_numbers() -> None:
    every: Any = 10
    assert MLP(sync_every=every) == MLP(sync_every="10")
    wrong: Any
    for wrong in (8, (8.5,), ("8",), (True,), "8"):
        with pytest.raises(ConfigError, match=r"algorithm, hidden: .* no whole numbers, one a layer; use --hidden"):
            MLP(hidden=wrong)


# ---- what diverges


@pytest.mark.parametrize(("every", "place"), [("epoch", "round 2, shard 1, step"), ("1", "round 2, batch 1")])
def test_a_step_after_which_a_parameter_is_no_number_ends_the_run_even_if_it_is_the_last(
    every: str, place: str
) -> None:
    some = blocks((20, 20))
    algorithm = MLP(hidden=(3,), epochs=1, batch_size=100, sync_every=every, shards=2 if every == "epoch" else 1,
                    optimizer="sgd", weight_decay=1e30, learning_rate=1e30)  # fmt: skip
    with pytest.raises(Diverged, match="not a number at a learning rate of 1e\\+30") as caught:
        last(algorithm, some)
    assert caught.value.place.startswith(place.replace("shard 1", "shard 0"))


def test_a_validation_loss_that_is_no_number_ends_the_run() -> None:
    some = noise()
    bad = some[-1]
    x = np.array(bad.X)
    x[3, 1] = np.inf
    with pytest.raises(Diverged, match="round 2, validation rows after epoch 0: the loss is not a number"):
        last(MLP(**PLAIN), [*some[:-1], replace(bad, X=x)])


# ---- the order of batches


def sequence(algorithm: MLP, shard: Shard, state: State, meetings_: Sequence[int | None]) -> list[tuple[int, ...]]:
    """The keys of every batch, met as told: after so many steps, or (None) at the end of the epoch."""
    cursor, found = Cursor(), []
    for steps in meetings_:
        task = Task(replace(algorithm, sync_every="epoch" if steps is None else str(steps)), state)
        for batch, after in task._batches(shard, cursor):
            found.append(tuple(batch.row_key.tolist()))
            assert after.step == cursor.step + 1
            cursor = after
        if steps is None:
            cursor = Cursor(cursor.epoch + 1, 0, 0, cursor.step)
    return found


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=7).filter(any),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    batch=st.integers(1, 30),
    shuffle=st.integers(1, 90),
)
def test_meetings_cut_the_batches_of_epochs_anywhere_and_change_none(
    sizes: list[int], cuts: list[int], batch: int, shuffle: int
) -> None:
    some = blocks_of(rows_of(sum(sizes)), sizes)
    algorithm = MLP(hidden=(2,), batch_size=batch, shuffle_rows=shuffle, epochs=10**6)
    shard = Shard(0, 1, lambda first: iter(some[first:]))
    state = algorithm.init(schema_of([replace(b, y=np.arange(b.n_rows) % 2.0) for b in some]))
    whole = sequence(algorithm, shard, state, [None] * 3)
    epoch = len(whole) // 3
    for number in range(3):
        keys = [key for rows in whole[number * epoch : (number + 1) * epoch] for key in rows]
        assert sorted(keys) == sorted(key for b in some for key in b.row_key.tolist()), "every row once an epoch"
    found = sequence(algorithm, shard, state, cuts)
    assert len(found) == sum(cuts)
    longer = (
        whole if len(found) <= len(whole) else sequence(algorithm, shard, state, [None] * (len(found) // epoch + 1))
    )
    assert found == longer[: len(found)]


def test_two_epochs_and_two_seeds_shuffle_apart() -> None:
    some = blocks()
    shard = Shard(0, 1, lambda first: iter(some[first:]))
    found = []
    for seed in (0, 1):
        algorithm = MLP(**PLAIN, seed=seed)
        keys = sequence(algorithm, shard, algorithm.init(schema_of(some)), [None, None])
        found += [keys[:16], keys[16:]]
    assert len({tuple(k for rows in keys for k in rows) for keys in found}) == 4


def test_buffers_that_are_kept_in_memory_are_the_same_and_belong_to_their_epoch(tmp_path: Any) -> None:
    store = DirectoryStore(tmp_path)
    for block in blocks():
        store.put_block(replace(block, center=None, scale=None))
    shard = Shard(0, 1, lambda first: (store.get_block(0, k) for k in range(first, len(SIZES))))

    def keys(cursor: Cursor) -> list[tuple[int, ...]]:
        return [tuple(b.rows.row_key.tolist()) for b in kept_buffers(shard, cursor, 100, 0, "d")]

    first = keys(Cursor())
    assert keys(Cursor()) == first and keys(Cursor(0, 2)) == first[1:]
    assert keys(Cursor(1)) != first and keys(Cursor()) == first


def test_the_line_of_a_round_tells_the_device_that_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyKernel, "told", lambda self: "NVIDIA H100, at most 1,234 MiB")
    algorithm = MLP(**PLAIN, loss="logistic", shards=2)
    begun, after, *_ = states(algorithm, blocks())
    assert "device" not in algorithm.progress(begun)
    line = round_line({"round": 2, **algorithm.progress(after)})
    assert line.endswith("  on NVIDIA H100, at most 1,234 MiB")
