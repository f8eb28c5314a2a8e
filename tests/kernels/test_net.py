"""The description of a network: slots, first parameters, buffers."""

from __future__ import annotations

import numpy as np

from mrml.kernels.net import Net


def test_a_description_survives_json() -> None:
    net = Net(n_numeric=3, tables=((5, 2), (4, 3)), n_sparse=9, hidden=(8, 4), norm="batch", wide=True)
    assert Net.from_json(net.to_json()) == net


def test_the_slots_cover_the_parameters_once_and_dense_ones_lie_first() -> None:
    net = Net(n_numeric=3, tables=((5, 2), (4, 3)), n_sparse=9, hidden=(8, 4), norm="layer", wide=True, factors=2)
    covered = np.zeros(net.n_params, int)
    for slot in net.slots:
        covered[slot.offset : slot.offset + slot.size] += 1
        assert (slot.offset >= net.n_dense) == slot.sparse
    assert (covered == 1).all()
