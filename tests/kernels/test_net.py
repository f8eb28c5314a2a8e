"""The description of a network: slots, first parameters, buffers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mrml.errors import ConfigError
from mrml.kernels.net.describe import EMBEDDING_SCALE, FACTOR_SCALE, MOMENTUM, Net, update_buffers
from mrml.kernels.random import rng

NETS = st.builds(
    Net,
    n_numeric=st.integers(0, 5),
    tables=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=3).map(tuple),
    n_sparse=st.integers(0, 9),
    sparse_dim=st.integers(0, 3),
    hidden=st.lists(st.integers(1, 7), max_size=3).map(tuple),
    norm=st.sampled_from(["none", "layer", "batch"]),
    activation=st.sampled_from(["relu", "gelu", "tanh"]),
    dropout=st.sampled_from([0.0, 0.25]),
    wide=st.just(True),
    factors=st.integers(0, 3),
)
BIG = Net(n_numeric=200, tables=((400, 50),), hidden=(300, 100), wide=True, factors=20)


@given(NETS)
def test_a_description_survives_json(net: Net) -> None:
    assert Net.from_json(json.loads(json.dumps(net.to_json()))) == net


@given(NETS)
def test_the_slots_cover_the_parameters_once_and_dense_ones_lie_first(net: Net) -> None:
    at = 0
    for slot in net.slots:
        assert slot.offset == at
        assert slot.sparse == (at >= net.n_dense and slot.size > 0)
        at += slot.size
    assert at == net.n_params
    views = net.views(np.arange(net.n_params))
    assert list(views) == [slot.name for slot in net.slots]
    assert np.array_equal(np.concatenate([view.ravel() for view in views.values()]), np.arange(net.n_params))
    assert set(net.views(np.zeros(net.n_dense))) == {slot.name for slot in net.slots if not slot.sparse}


def test_the_slots_of_a_net_of_every_part() -> None:
    net = Net(n_numeric=3, tables=((5, 2), (4, 3)), n_sparse=9, hidden=(8, 4), norm="layer", wide=True, factors=6)
    assert {slot.name: slot.shape for slot in net.slots} == {
        "hidden.0.weight": (8, 8), "hidden.0.bias": (8,), "hidden.0.scale": (8,), "hidden.0.shift": (8,),
        "hidden.1.weight": (8, 4), "hidden.1.bias": (4,), "hidden.1.scale": (4,), "hidden.1.shift": (4,),
        "output.weight": (4, 1), "output.bias": (1,), "wide.numeric": (3, 1), "factors.numeric": (3, 6),
        "table.0": (5, 2), "table.1": (4, 3), "hidden.0.sparse": (9, 8),
        "wide.levels": (9, 1), "wide.sparse": (9, 1), "factors.levels": (9, 6), "factors.sparse": (9, 6),
    }  # fmt: skip
    bag = Net(n_numeric=3, n_sparse=9, sparse_dim=5, hidden=(8,), norm="batch")
    assert {slot.name: slot.shape for slot in bag.slots} == {
        "hidden.0.weight": (8, 8), "hidden.0.scale": (8,), "hidden.0.shift": (8,),
        "output.weight": (8, 1), "output.bias": (1,), "bag": (9, 5),
    }  # fmt: skip


def test_layers_begin_uniform_within_the_bound_of_glorot_and_tables_normal() -> None:
    views = BIG.views(BIG.init(3))
    for name, bound in (("hidden.0", 250 + 300), ("hidden.1", 300 + 100)):
        for half in ("weight", "bias"):
            draws = views[f"{name}.{half}"].ravel() / math.sqrt(6 / bound)
            assert stats.kstest(draws, "uniform", (-1, 2)).pvalue > 1e-3
    for name, scale in (("table.0", EMBEDDING_SCALE), ("factors.levels", FACTOR_SCALE)):
        assert stats.kstest(views[name].ravel() / scale, "norm").pvalue > 1e-3
    assert not any(views[name].any() for name in ("wide.numeric", "wide.levels", "output.bias"))
    scales = Net(n_numeric=2, hidden=(4,), norm="layer")
    assert (scales.views(scales.init(0))["hidden.0.scale"] == 1).all()
    assert not scales.views(scales.init(0))["hidden.0.shift"].any()


def test_a_first_parameter_is_a_function_of_the_seed_and_its_index() -> None:
    params = BIG.init(3)
    assert params.dtype == np.float32 and params.tobytes() == BIG.init(3).tobytes() != BIG.init(4).tobytes()
    at = 77_000  # in the weights of the second layer
    slot = next(slot for slot in BIG.slots if slot.offset <= at < slot.offset + slot.size)
    assert slot.name == "hidden.1.weight"
    draw = 2 * rng(3, -1, np.array([at], np.uint64))[0] - 1
    assert params[at] == np.float32(draw * math.sqrt(6 / 400))


def test_the_output_begins_at_the_bias_it_is_given() -> None:
    net = Net(n_numeric=2, hidden=(4,), n_outputs=3)
    assert net.views(net.init(0, bias=(0.5, -1.0, 2.0)))["output.bias"].tolist() == [0.5, -1.0, 2.0]


def test_running_moments_begin_standard_and_move_to_what_batches_show() -> None:
    net = Net(n_numeric=2, hidden=(3, 2), norm="batch")
    buffers = net.init_buffers()
    assert buffers.dtype == np.float64 and len(buffers) == net.n_buffers == 10
    assert [[half.tolist() for half in layer] for layer in net.moments(buffers)] == [
        [[0] * 3, [1] * 3],
        [[0] * 2, [1] * 2],
    ]
    update_buffers(buffers, np.full(10, 8.0), 4)
    np.testing.assert_allclose(buffers[[0, 3]], [2 * MOMENTUM, 1 + MOMENTUM])
    before = buffers.copy()
    update_buffers(buffers, np.zeros(10), 0)
    assert np.array_equal(buffers, before)
    assert Net(n_numeric=2, hidden=(3,)).init_buffers().shape == (0,)


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ({}, "neither hidden layers"),
        ({"wide": True, "n_numeric": -1}, "negative"),
        ({"hidden": (4, 0)}, "no unit"),
        ({"wide": True, "n_outputs": 0}, "no unit"),
        ({"hidden": (4,), "tables": ((3, 0),)}, "empty table"),
        ({"hidden": (4,), "activation": "selu"}, "'selu'"),
        ({"hidden": (4,), "norm": "group"}, "'group'"),
        ({"hidden": (4,), "dropout": 1.0}, "dropout"),
        ({"factors": 2, "n_outputs": 3}, "one output"),
    ],
)
def test_a_net_that_cannot_be_is_refused(values: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        Net(**values)
