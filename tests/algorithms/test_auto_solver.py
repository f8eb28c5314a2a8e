"""``solver auto``: Newton takes over where L-BFGS is slow; scikit-learn as oracle."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mrml import wire
from mrml.algorithm import State, from_spec
from mrml.algorithms.linear.glm import Logistic, Softmax
from mrml.algorithms.linear.iteration import PARAMETERS_A_ROUND
from mrml.algorithms.linear.model import GLMModel
from mrml.algorithms.linear.solver import GLM
from tests.algorithms.test_glm import Rows, blocks_of, bytes_of, map_round, moments, schema_of

N_CLASSES, N_COLUMNS, L2 = 8, 45, 1e-6
N_PARAMETERS = N_CLASSES * (N_COLUMNS + 1)


@cache
def rows() -> Rows:
    """Rare and overlapping columns of eight classes, the rarest of some ten rows: L-BFGS has a long way to go."""
    r = np.random.default_rng(4)
    n = 1500
    x = (r.random((n, N_COLUMNS)) < np.geomspace(0.5, 0.01, N_COLUMNS)).astype(float)
    x[:, :5] = r.normal(size=(n, 5)) @ r.normal(size=(5, 5))
    score = x @ r.normal(size=(N_COLUMNS, N_CLASSES)) * 2 - np.linspace(0, 4, N_CLASSES) + r.gumbel(size=(n, N_CLASSES))
    return Rows(x, score.argmax(axis=1).astype(float), None, None, tuple("abcdefgh"))


def states(algorithm: GLM, sparse: bool = False, resumed: bool = False) -> list[State]:
    data, tasks = rows(), [blocks_of(rows(), size=128, sparse=sparse)]
    found = [algorithm.init(schema_of(data))]
    while found[-1].stop is None:
        state = algorithm.update(found[-1], map_round(algorithm, found[-1], tasks))
        if resumed:
            state = State.from_wire(wire.loads(wire.dumps(state.to_wire())))
            algorithm = from_spec(algorithm.spec())  # type: ignore[assignment]
        found.append(state)
    return found


def model_of(algorithm: GLM, state: State) -> GLMModel:
    return algorithm.model(state, schema_of(rows()))


@pytest.mark.parametrize("sparse", [False, True])
def test_auto_ends_at_scikit_learns_optimum_in_fewer_rounds_than_lbfgs(sparse: bool) -> None:
    auto, alone = Softmax(l2=L2, tol=1e-8), Softmax(l2=L2, tol=1e-8, solver="lbfgs")
    found, other = states(auto, sparse), states(alone, sparse)
    assert found[-1].converged and found[-1]["gradient_max"] <= 1e-8
    assert len(found) < 0.6 * len(other)
    center, scale = moments(rows())
    z = (rows().X - center) / scale
    peer = LogisticRegression(C=1 / (L2 * len(z)), solver="newton-cholesky", tol=1e-10, max_iter=200)
    peer.fit(z, rows().y)
    mine = model_of(auto, found[-1])
    np.testing.assert_allclose(mine.standard_coef, peer.coef_, rtol=1e-3, atol=1e-3)
    told = mine.header()
    assert told["params"]["solver"] == "newton" and told["facts"]["converged"]


def test_it_goes_over_when_the_rounds_have_cost_what_a_few_of_newtons_do() -> None:
    solvers = [state["solver"] for state in states(Softmax(l2=L2, tol=1e-8))]
    at = solvers.index("newton")
    assert solvers == ["lbfgs"] * at + ["newton"] * (len(solvers) - at)
    assert N_PARAMETERS / PARAMETERS_A_ROUND <= at < N_PARAMETERS / PARAMETERS_A_ROUND + 3


def test_a_run_that_goes_over_resumes_to_the_same_bytes() -> None:
    auto = Softmax(l2=L2)
    whole, resumed = states(auto)[-1], states(auto, resumed=True)[-1]
    assert bytes_of(model_of(auto, whole)) == bytes_of(model_of(auto, resumed))


def test_a_solver_that_was_asked_for_stays() -> None:
    assert {s["solver"] for s in states(Softmax(l2=L2, solver="lbfgs", max_iterations=80))} == {"lbfgs"}
    few = replace(rows(), X=rows().X[:, :9], y=(rows().y > 1).astype(float), classes=("a", "b"))
    assert Logistic().init(schema_of(few))["solver"] == "newton"


def test_a_run_whose_rounds_are_over_says_so() -> None:
    last = states(Softmax(l2=L2, max_iterations=30))[-1]
    assert not last.converged and "max_iterations 30 reached: largest gradient entry" in str(last.stop)
    assert model_of(Softmax(l2=L2), last).facts["converged"] is False
