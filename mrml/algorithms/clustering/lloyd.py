"""One run of k-means: Lloyd's rounds after k-means|| seeding.

Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982); Bahmani, Moseley, Vattani, Kumar and
Vassilvitskii, "Scalable k-means++", VLDB 2012.  The phases, one pass of the data each::

    sample   k different rows at random, the mean and the scatter of the columns
    seed     (seeding_rounds times) l = oversampling * k more candidates, in proportion to weight * d^2
    weigh    the weight of the rows nearest to each candidate; the driver clusters the weighted candidates
    lloyd    (until the centres stand still) weight and sum of the rows nearest to each centre

Where it differs from the paper: its rounds keep a row with chance l d^2 / phi, and phi, the sum of d^2 to the
candidates so far, takes a pass of its own.  Here a round takes exactly l rows by least ``e / (weight d^2)``, e
exponential: the same proportions without phi (Efraimidis and Spirakis, Inf. Process. Lett. 97, 2006), in one pass.

Where it differs from scikit-learn: the mean variance that scales ``tol`` honours weights; a centre that lost its
rows stays for one round, in which the rows farthest from their centres are found, and then moves to one of those.

All draws are ``rng(seed, step, row_key)``.  Distances to dense float32 columns that are not standardised are float32,
about an origin amid the data; everything that is summed is float64.  Candidates are dense: with many sparse columns
they take ``(1 + l * seeding_rounds) * n_features * 8`` bytes, and ``seeding = random`` spares them.
"""

from __future__ import annotations

import importlib.util
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrml.algorithm import Algorithm, State, Value
from mrml.algorithms.clustering.model import KMeansModel
from mrml.algorithms.clustering.rows import Draw, Rows
from mrml.algorithms.clustering.warm_start import starting_point
from mrml.algorithms.moments import Moments
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.kernels import kmeans as kernel
from mrml.kernels.random import rng
from mrml.params import param
from mrml.schema import Design, Schema
from mrml.statistic import Into, Statistic, Sums

#: step of the driver's draws; those of the passes are 0 (sample) and 1, 2, ... (seed)
CLUSTER_STEP = 1 << 32
RESTARTS = 8


@dataclass(frozen=True)
class OneRun(Algorithm):
    """One run from one seeding to centres that stand still."""

    target: ClassVar[str] = "none"
    lazy: ClassVar[bool] = True

    k: int = param(8, "number of clusters", low=1)
    max_iterations: int = param(100, "maximum number of iterations of Lloyd's algorithm", low=1)
    tol: float = param(
        1e-4,
        "stop when all centres together moved, squared, by at most this times the mean variance of a column",
        low=0,
    )
    seed: int = param(0, "random seed")
    seeding: str = param("kmeans||", "how the first centres are chosen", choices=("kmeans||", "random"))
    oversampling: float = param(2.0, "kmeans||: candidates drawn in a seeding round, as a multiple of k", low=0.1)
    seeding_rounds: int = param(5, "kmeans||: number of seeding rounds", low=1)
    standardise: bool = param(False, "standardise the numeric columns")  # type: ignore[misc]
    kernels: str = param("auto", "fast: numba; auto: fast if it is installed", choices=("auto", "numpy", "fast"))
    init_model: str | None = param(None, "start from the centres of this k-means model")
    centres: tuple[tuple[float, ...], ...] = param((), "begin with these, k of them", internal=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centres and len(self.centres) != self.k:
            raise ConfigError("algorithm, centres", f"{len(self.centres)} centres are given, k is {self.k}")

    def init_kernels(self) -> str:
        """``numpy`` or ``fast``, decided once a run, by the driver."""
        there = importlib.util.find_spec("numba") is not None
        if self.kernels == "fast" and not there:
            raise ConfigError("algorithm, kernels", "fast needs numba", "install mrml[fast] or use kernels: numpy")
        return "fast" if there and self.kernels != "numpy" else "numpy"

    def init(self, schema: Schema) -> State:
        kernels = self.init_kernels()
        if kernels == "fast":
            from mrml.kernels import kmeans_numba as kmeans_fast

            kmeans_fast.prewarm()
        given = self._given(schema)
        return State(
            {
                "phase": "sample" if given is None else "lloyd",
                "kernels": kernels,
                "centres": given,
                "origin": None if given is None else _origin(given.mean(axis=0), float(given.var(axis=0).sum())),
                "groups": [],
                "memo": "",
                "mean": None,
                "weight": 0.0,
                "scatter": 0.0,
                "sizes": np.zeros(self.k),
                "iteration": 0,
                "inertia": None,
                "loss": None,
                "step": None,
                "lost": 0,
            }
        )

    def _given(self, schema: Schema) -> Array | None:
        """(k, n_features) centres to begin with, where there are some."""
        if self.init_model:
            return starting_point(self.init_model, self.k, schema.design or Design(), bool(self.standardise))
        return np.array(self.centres, np.float64) if self.centres else None

    @property
    def drawn(self) -> int:
        """Candidates a seeding round draws: l."""
        return math.ceil(self.oversampling * self.k)

    def expected_rounds(self) -> int:
        seeding = 0 if self.centres or self.init_model else 1 if self.seeding == "random" else 2 + self.seeding_rounds
        return seeding + self.max_iterations

    def progress(self, state: State) -> dict[str, float]:
        if state["loss"] is None:
            return {}
        return {"loss": float(state["loss"]), "step": float(state["step"])}

    # ---- up

    def statistic(self, state: State, key: str) -> Statistic:
        if key == "moments":
            return Moments()
        if key == "candidates":
            return Sums(weight=np.zeros(sum(len(g) for g in state["groups"])))
        if key == "clusters":
            return Sums(weight=np.zeros(self.k), sums=np.zeros(state["centres"].shape))
        return Draw({"sample": self.k, "drawn": self.drawn, "farthest": state["lost"]}[key])

    def map(self, state: State, block: Block, into: Into) -> None:
        if block.part != "train" or not block.n_rows:
            return
        rows = Rows(block, state["kernels"])
        {"sample": self._sample, "seed": self._draw, "weigh": self._weigh, "lloyd": self._assign}[state["phase"]](
            state, rows, into
        )

    def _sample(self, state: State, rows: Rows, into: Into) -> None:
        rows.moments(into["moments"])
        self._offer(into["sample"], rows, np.ones(rows.n), 0)

    def _draw(self, state: State, rows: Rows, into: Into) -> None:
        self._offer(into["drawn"], rows, self._candidates(state, rows)["d2"], len(state["groups"]))

    def _weigh(self, state: State, rows: Rows, into: Into) -> None:
        sums = into["candidates"]
        assert isinstance(sums, Sums)
        nearest = self._candidates(state, rows)["nearest"]
        sums.add(weight=np.bincount(nearest, rows.block.weight, minlength=len(sums["weight"])))

    def _assign(self, state: State, rows: Rows, into: Into) -> None:
        centres, origin = state["centres"], state["origin"]
        if state["mean"] is None:
            rows.moments(into["moments"])
        labels, _ = rows.nearest(centres, origin)
        weight, sums = rows.sums(labels, origin, self.k)
        statistic = into["clusters"]
        assert isinstance(statistic, Sums)
        statistic.add(weight=weight, sums=sums)
        if state["lost"]:
            d2 = rows.squared(centres, labels)
            mass = d2 if rows.block.weight is None else np.where(rows.block.weight > 0, d2, 0.0)
            draw = into["farthest"]
            assert isinstance(draw, Draw)
            draw.offer(np.where(mass > 0, -d2, np.inf), rows.block.row_key, rows.pick)

    def _offer(self, draw: Statistic, rows: Rows, mass: Array, step: int) -> None:
        """Offer every row with a chance in proportion to weight * mass."""
        assert isinstance(draw, Draw)
        key = rows.block.row_key
        weighted = mass if rows.block.weight is None else mass * rows.block.weight
        with np.errstate(divide="ignore"):
            priority = -np.log1p(-rng(self.seed, step, key)) / weighted
        draw.offer(np.where(weighted > 0, priority, np.inf), key, rows.pick)

    def _candidates(self, state: State, rows: Rows) -> dict[str, Array]:
        """d2 (n,) float64 and nearest (n,) int64 over all candidates; the memo holds those of the groups before."""
        groups, origin = state["groups"], state["origin"]

        def compute(older: tuple[int, dict[str, Array]] | None) -> dict[str, Array]:
            done = 0 if older is None else older[0]
            d2 = np.full(rows.n, np.inf) if older is None else older[1]["d2"].copy()
            nearest = np.zeros(rows.n, np.int64) if older is None else older[1]["nearest"].copy()
            first = sum(len(g) for g in groups[:done])
            for group in groups[done:]:
                label, other = rows.nearest(group, origin, norms=True)
                closer = other < d2
                d2[closer], nearest[closer] = other[closer], label[closer] + first
                first += len(group)
            return {"d2": d2, "nearest": nearest}

        return rows.block.memo(state["memo"], len(groups), compute)

    # ---- down

    def update(self, state: State, values: Mapping[str, Value]) -> State:
        if not values:
            raise InputError("k-means", "the training data has no rows", "check the input and its filters")
        after = {"sample": self._sampled, "seed": self._seeded, "weigh": self._weighed, "lloyd": self._moved}
        return after[state["phase"]](state, values)

    def _sampled(self, state: State, values: Mapping[str, Value]) -> State:
        sample, moments = values["sample"].rows, _moments(values["moments"])
        if len(sample) < self.k:
            finding = f"k is {self.k}, but the data holds only {len(sample)} different rows of positive weight"
            raise InputError("algorithm, k", finding, f"set k to at most {len(sample)}")
        origin = _origin(moments["mean"], moments["scatter"] / moments["weight"])
        common = {**moments, "origin": origin, "centres": sample}
        if self.seeding == "random":
            return state.next(phase="lloyd", **common)
        first = sample[:1]
        memo = zlib.crc32(json.dumps(self.spec(), sort_keys=True).encode() + first.tobytes())
        return state.next(phase="seed", groups=[first], memo=f"kmeans.{memo:08x}", **common)

    def _seeded(self, state: State, values: Mapping[str, Value]) -> State:
        groups = [*state["groups"], _new(values["drawn"].rows, state["groups"])]
        if not len(groups[-1]):
            groups.pop()
        elif len(groups) <= self.seeding_rounds:
            return state.next(groups=groups)
        if sum(map(len, groups)) < self.k:
            groups.append(_new(state["centres"], groups))
        return state.next(phase="weigh", groups=groups)

    def _weighed(self, state: State, values: Mapping[str, Value]) -> State:
        points = np.concatenate(state["groups"])
        weight = values["candidates"]["weight"]
        centres = kernel.cluster(points, weight, self.k, self.seed, CLUSTER_STEP, RESTARTS)
        return state.next(phase="lloyd", groups=[], centres=centres)

    def _moved(self, state: State, values: Mapping[str, Value]) -> State:
        if state["mean"] is None:
            state = State({**state.params, **_moments(values["moments"])}, state.round)
        weight, sums = values["clusters"]["weight"], values["clusters"]["sums"]
        origin, centres = state["origin"], state["centres"]
        scatter = state["scatter"] + state["weight"] * float(((state["mean"] - origin) ** 2).sum())
        old, filled = centres - origin, weight > 0
        mean = np.where(filled[:, None], sums / np.where(filled, weight, 1.0)[:, None], old)
        before = scatter + float((weight * (old**2).sum(axis=1)).sum() - 2 * (old * sums).sum())
        inertia = scatter - float((weight * (mean**2).sum(axis=1)).sum())
        new, lost = self._relocate(state, mean + origin, ~filled, values.get("farthest"))
        moved = float(((new - centres) ** 2).sum())
        stop, converged = self._stop(state, moved, lost)
        return state.next(
            stop, converged,
            centres=new, sizes=weight, iteration=state["iteration"] + 1, inertia=max(inertia, 0.0),
            loss=max(before, 0.0) / state["weight"], step=math.sqrt(moved), lost=lost,
        )  # fmt: skip

    def _relocate(self, state: State, centres: Array, empty: Array, farthest: Value | None) -> tuple[Array, int]:
        """Move empty centres to the rows farthest from theirs; how many still wait for one."""
        waiting = np.flatnonzero(empty)
        rows = farthest.rows if farthest is not None else centres[:0]
        for j, row in zip(waiting, rows, strict=False):
            centres[j] = row
        if state["lost"] and not len(rows):
            return centres, 0  # every row coincides with a centre
        return centres, max(0, len(waiting) - len(rows))

    def _stop(self, state: State, moved: float, lost: int) -> tuple[str | None, bool]:
        bound = self.tol * state["scatter"] / (state["weight"] * state["centres"].shape[1])
        if moved <= bound and not lost:
            return f"the centres moved by {math.sqrt(moved):.3g}, at most the tolerance", True
        if state["iteration"] + 1 >= self.max_iterations:
            return f"max_iterations ({self.max_iterations}) reached before the centres stood still", False
        return None, True

    def model(self, state: State, schema: Schema) -> KMeansModel:
        if state["centres"] is None:
            raise ConfigError("k-means", "there is no model before the first round", "allow at least one round")
        design = schema.design or Design()
        return KMeansModel(
            np.array(state["centres"]),
            np.array(state["sizes"]),
            state["inertia"],
            state["iteration"],
            _vector(design.center),
            _vector(design.scale),
        )


def _vector(values: tuple[float, ...] | None) -> Array | None:
    return None if values is None else np.array(values, np.float64)


def _origin(mean: Array, spread: float) -> Array:
    """A point amid the data that float32 holds exactly, so that float32 and float64 rows move alike.

    Zero, which costs nothing, where the mean is no farther from it than the rows are from the mean (``spread``, their
    mean squared distance): distances then lose one digit in base two.
    """
    origin: Array = mean.astype(np.float32).astype(np.float64)
    return origin if float(origin @ origin) > spread else np.zeros_like(origin)


def _new(rows: Array, groups: list[Array]) -> Array:
    """The rows that are in no group yet."""
    known = {row.tobytes() for group in groups for row in group}
    fresh: Array = rows[np.array([row.tobytes() not in known for row in rows], bool)]
    return fresh


def _moments(moments: Moments) -> dict[str, Any]:
    """Mean and scatter as parameters; InputError when the columns hold no usable numbers."""
    if not moments.weight > 0:
        raise InputError("k-means", "the weights of the training rows sum to 0", "check the weight column")
    if not (np.isfinite(moments.mean).all() and math.isfinite(moments.scatter)):
        column = int(np.flatnonzero(~np.isfinite(moments.mean))[0]) if not np.isfinite(moments.mean).all() else -1
        finding = "holds NaN or infinity" if column >= 0 else "hold numbers too large to square"
        place = f"column {column} of the matrix" if column >= 0 else "columns of the matrix"
        raise InputError(place, finding, "impute nulls, or exclude or rescale the column")
    return {"mean": moments.mean, "weight": moments.weight, "scatter": moments.scatter}
