"""The pictures of a model, its predictions and its rounds; :mod:`mrml.runs.report.drawing` makes files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrml.arrays import Array
from mrml.export import svg, text
from mrml.runs.report.drawing import Colours, Picture

if TYPE_CHECKING:
    from mrml.export.ensemble import Ensemble

MOST_BARS = 20
#: matplotlib multiplies what it draws, so that larger numbers overflow in it
_LARGEST = 1e100
_SIZE = (4, 3.4)
#: classes of a table whose counts can be read
_MOST_COUNTS = 6


def _drawable(*series: Any) -> bool:
    """Whether all numbers are finite and none is too large to be drawn."""
    return all(np.all(np.abs(np.asarray(values, np.float64)) < _LARGEST) for values in series)


def curves(told: Mapping[str, Any]) -> dict[str, Picture]:
    """The pictures of a model's predictions by title: see :mod:`mrml.algorithms.evaluation.curves`."""
    found = _two(told) if told.get("kind") == "two" else _numbers(told) if told.get("kind") == "numbers" else {}
    return found | ({"Confusion": _confusion(told)} if told.get("confusion") else {})


def _two(told: Mapping[str, Any]) -> dict[str, Picture]:
    weight, positive = (np.array(told[name])[::-1] for name in ("weight", "true"))
    hits, alarms = np.cumsum(positive), np.cumsum(weight - positive)
    if not hits[-1] or not alarms[-1]:
        return {}

    def roc(axes: Any, c: Colours) -> None:
        axes.plot([0, 1], [0, 1], color=c.line, linestyle="--")
        axes.plot([0, *alarms / alarms[-1]], [0, *hits / hits[-1]], color=c.one)
        axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")

    def precision(axes: Any, c: Colours) -> None:
        some = hits + alarms > 0
        axes.axhline(hits[-1] / (hits[-1] + alarms[-1]), color=c.line, linestyle="--")
        axes.plot(hits[some] / hits[-1], (hits / np.maximum(hits + alarms, 1e-300))[some], color=c.one)
        axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))

    pictures = {"ROC": Picture("roc", _SIZE, roc), "Precision and recall": Picture("pr", _SIZE, precision)}
    x, y = _means(told, _tenths(np.array(told["weight"])))
    label = str(told["classes"][1])

    def calibration(axes: Any, c: Colours) -> None:
        axes.plot([0, 1], [0, 1], color=c.line, linestyle="--")
        axes.plot(x, y, color=c.one, marker="o", markersize=4)
        axes.set(title="Calibration", xlabel=f"predicted probability of {label}", ylabel=f"share of {label}")

    if x.min() >= 0 and x.max() <= 1:  # raw predictions are no probabilities
        pictures["Calibration"] = Picture("calibration", _SIZE, calibration)
    return pictures


def _numbers(told: Mapping[str, Any]) -> dict[str, Picture]:
    x, y = _means(told, _tenths(np.array(told["weight"]), 20))
    edges, errors = np.array(told["edges"]), np.array(told["errors"])
    if not _drawable(x, y, edges, errors):
        return {}

    def means(axes: Any, c: Colours) -> None:
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=c.line, linestyle="--")
        axes.plot(x, y, color=c.one, marker="o", markersize=4)
        axes.set(title="Truth by prediction", xlabel="mean prediction", ylabel="mean truth")

    def residuals(axes: Any, c: Colours) -> None:
        axes.bar(edges[:-1], errors[1:-1], np.diff(edges), align="edge", color=c.one)
        axes.axvline(0, color=c.faint)
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))  # long numbers would lie over each other
        axes.set(title="Errors", xlabel="truth less prediction", ylabel="rows")

    pictures = {"Truth by prediction": Picture("means", _SIZE, means)}
    if len(edges) > 1:
        pictures["Errors"] = Picture("errors", _SIZE, residuals)
    return pictures


def _means(told: Mapping[str, Any], cuts: Array) -> tuple[Array, Array]:
    """Means of what is predicted and of what is true, in runs of bins that have rows."""
    weight, said, true = (
        np.array([part.sum() for part in np.split(np.array(told[name]), cuts)]) for name in ("weight", "said", "true")
    )
    keep = weight > 0
    return said[keep] / weight[keep], true[keep] / weight[keep]


def _confusion(told: Mapping[str, Any]) -> Picture:
    rows, names = np.array(told["confusion"]), [str(c)[:16] for c in told["classes"]]
    share = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300)

    def draw(axes: Any, c: Colours) -> None:
        axes.grid(False)
        side = max(0.0, len(names) - 1.0)
        x, y = (g.ravel() for g in np.meshgrid(np.arange(len(names)), np.arange(len(names))))
        axes.scatter(x, y, s=share.ravel() * 9000 / len(names) ** 1.7, color=c.one, marker="s")
        axes.set(title="Confusion: share of each true class", xlabel="taken for", ylabel="true class",
                 xlim=(-0.6, side + 0.6), ylim=(side + 0.6, -0.6))  # fmt: skip
        many = len(names) > 4
        axes.set_xticks(range(len(names)), names, rotation=45 * many, ha="right" if many else "center")
        axes.set_yticks(range(len(names)), names)
        for at, n in zip(zip(x, y, strict=True), rows.ravel() if len(names) <= _MOST_COUNTS else (), strict=False):
            axes.annotate(f"{n:,.0f}", at, (0, -72 / len(names) ** 0.8), textcoords="offset points", ha="center",
                          va="center", fontsize=9, color=c.faint)  # fmt: skip

    return Picture("confusion", (4.6, 4.2), draw)


def losses(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Picture | None:
    """Lines of (step, loss) by name; None where there is nothing that can be drawn."""

    def draw(axes: Any, c: Colours) -> None:
        for colour, (name, (x, y)) in zip((c.one, c.two), series.items(), strict=False):
            axes.plot(x, y, color=colour, label=name, marker="o" if len(x) < 3 else None)
        axes.set(title="Loss", xlabel="round")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(series) > 1:
            axes.legend(labelcolor=c.faint)

    some = any(len(x) for x, _ in series.values()) and _drawable(*(y for _, y in series.values()))
    return Picture("loss", _SIZE, draw) if some else None


def bars(name: str, title: str, values: Mapping[str, float]) -> Picture | None:
    """A bar for each name, the longest first, MOST_BARS at most; to the left for what is below 0."""
    top = sorted(values.items(), key=lambda item: -abs(item[1]))[:MOST_BARS][::-1]

    def draw(axes: Any, c: Colours) -> None:
        axes.grid(axis="y", visible=False)
        axes.barh([n[:40] for n, _ in top], [v for _, v in top], color=[c.one if v >= 0 else c.two for _, v in top])
        if len(axes.figure.axes) > 1:
            axes.set_title(title)
        else:
            axes.figure.suptitle(title, x=0.01, ha="left", fontsize=11)  # long names leave the axes little room

    return Picture(name, (6.4, 0.8 + 0.24 * len(top)), draw) if top and _drawable([v for _, v in top]) else None


def tree(ensemble: Ensemble, number: int) -> Picture:
    """A tree from the left to the right; what answers yes goes up.  ConfigError for a number that it has not."""
    shape = ensemble.tree(text.checked_number(ensemble, number))
    places = svg.places(shape)
    deepest, leaves = max(x for x, _ in places.values()), int(shape.leaf.sum())

    def draw(axes: Any, c: Colours) -> None:
        axes.set_axis_off()
        axes.set(xlim=(-0.05, deepest + 0.6), ylim=(leaves - 0.4, -0.6))
        axes.set_title(f"{text.title(ensemble, number)}\n{svg.HOW_TO_READ}")
        for node, (column, row) in places.items():
            if shape.leaf[node]:
                value = float(shape.value[node])
                axes.plot(column, row, "o", color=c.one if value > 0 else c.two, markersize=5)
                axes.text(column + 0.06, row, f"{value:+.4g}", va="center", color=c.ink)
                continue
            left = int(shape.left[node])
            for child in (left, left + 1):
                x, y = places[child]
                axes.plot([column, column, x], [row, y, y], color=c.line, linewidth=1, zorder=0)
            told = text.condition(ensemble, shape, node)
            short = told if len(told) <= 36 else told[:35] + "…"
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # lines end at the text
            axes.text(column + 0.03, row, short, va="center", color=c.ink, fontsize=9, bbox=ground)

    return Picture("tree", (2.6 + 2.4 * deepest, 0.8 + 0.3 * leaves), draw)


def _tenths(weight: Array, n: int = 10) -> Array:
    """Where to cut bins so that the parts weigh about the same."""
    share = np.cumsum(weight) / max(float(weight.sum()), 1e-300)
    return np.unique(np.searchsorted(share, np.arange(1, n) / n) + 1)
