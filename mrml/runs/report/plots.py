"""The pictures of a report, as inline SVG by matplotlib: colours are CSS variables, so that the page may be dark.

matplotlib writes colours as numbers only; a number that stands for a variable is replaced in its text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mrml.arrays import Array
from mrml.errors import ConfigError

#: the stand-in of each variable of the page's style
_COLOURS = {"ink": "#010203", "faint": "#010204", "line": "#010205", "one": "#010206", "two": "#010207"}
INK, FAINT, LINE, ONE, TWO = _COLOURS.values()
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "mrml", "font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": LINE, "axes.labelcolor": FAINT,
    "axes.titlecolor": INK, "text.color": INK, "xtick.color": FAINT, "ytick.color": FAINT, "grid.color": LINE,
    "axes.grid": True, "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.8, "legend.frameon": False,
    "text.parse_math": False,
}  # fmt: skip
_REMEDY = "install it with: pip install 'mrml[report]'"
MOST_BARS = 20
#: matplotlib multiplies what it draws, so that larger numbers overflow in it
_LARGEST = 1e100


def require() -> None:
    """ConfigError where what draws and lays out a page is not installed."""
    try:
        import jinja2
        import matplotlib
    except ImportError as error:
        raise ConfigError("report", f"needs {error.name}", _REMEDY) from None
    assert jinja2 and matplotlib


def _drawn(name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """The SVG element that ``draw`` makes of empty axes; ``name`` tells it from others of the page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.BytesIO()
        FigureCanvasSVG(figure)
        with warnings.catch_warnings():  # of letters that matplotlib's font has not: the reader's browser draws them
            warnings.filterwarnings("ignore", "Glyph ", UserWarning)
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    text = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + body  # the page says how wide, the view box how high
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for variable, colour in _COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text).strip()


def _drawable(*series: Any) -> bool:
    """Whether all numbers are finite and none is too large to be drawn."""
    return all(np.all(np.abs(np.asarray(values, np.float64)) < _LARGEST) for values in series)


def curves(told: Mapping[str, Any]) -> dict[str, str]:
    """The pictures of a model's predictions by name: see :mod:`mrml.algorithms.evaluation.curves`."""
    if told.get("kind") == "two":
        return _two(told)
    if told.get("kind") == "numbers":
        return _numbers(told)
    return {"Confusion": _confusion(told)} if told.get("confusion") else {}


def _two(told: Mapping[str, Any]) -> dict[str, str]:
    weight, said, true = (np.array(told[name]) for name in ("weight", "said", "true"))
    weight, positive = weight[::-1], true[::-1]
    hits, alarms = np.cumsum(positive), np.cumsum(weight - positive)
    if not hits[-1] or not alarms[-1]:
        return {}

    def roc(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linestyle="--")
        axes.plot([0, *alarms / alarms[-1]], [0, *hits / hits[-1]], color=ONE)
        axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")

    def precision(axes: Any) -> None:
        some = hits + alarms > 0
        axes.axhline(hits[-1] / (hits[-1] + alarms[-1]), color=LINE, linestyle="--")
        axes.plot(hits[some] / hits[-1], (hits / np.maximum(hits + alarms, 1e-300))[some], color=ONE)
        axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))

    pictures = {"ROC": _drawn("roc", (4, 3.4), roc), "Precision and recall": _drawn("pr", (4, 3.4), precision)}
    groups = _tenths(np.array(told["weight"]))
    of = [np.array([part.sum() for part in np.split(a, groups)]) for a in (np.array(told["weight"]), said, true)]
    keep = of[0] > 0
    x, y = of[1][keep] / of[0][keep], of[2][keep] / of[0][keep]
    label = str(told["classes"][1])

    def calibration(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linestyle="--")
        axes.plot(x, y, color=ONE, marker="o", markersize=4)
        axes.set(title="Calibration", xlabel=f"predicted probability of {label}", ylabel=f"share of {label}")

    if x.min() >= 0 and x.max() <= 1:  # raw predictions are no probabilities
        pictures["Calibration"] = _drawn("calibration", (4, 3.4), calibration)
    return pictures


def _numbers(told: Mapping[str, Any]) -> dict[str, str]:
    weight, said, true = (np.array(told[name]) for name in ("weight", "said", "true"))
    groups = _tenths(weight, 20)
    of = [np.array([part.sum() for part in np.split(a, groups)]) for a in (weight, said, true)]
    keep = of[0] > 0
    x, y = of[1][keep] / of[0][keep], of[2][keep] / of[0][keep]
    edges, errors = np.array(told["edges"]), np.array(told["errors"])
    if not _drawable(x, y, edges, errors):
        return {}

    def means(axes: Any) -> None:
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=LINE, linestyle="--")
        axes.plot(x, y, color=ONE, marker="o", markersize=4)
        axes.set(title="Truth by prediction", xlabel="mean prediction", ylabel="mean truth")

    def residuals(axes: Any) -> None:
        axes.bar(edges[:-1], errors[1:-1], np.diff(edges), align="edge", color=ONE)
        axes.axvline(0, color=FAINT)
        axes.ticklabel_format(axis="x", scilimits=(-3, 4))  # long numbers would lie over each other
        axes.set(title="Errors", xlabel="truth less prediction", ylabel="rows")

    pictures = {"Truth by prediction": _drawn("means", (4, 3.4), means)}
    if len(edges) > 1:
        pictures["Errors"] = _drawn("errors", (4, 3.4), residuals)
    return pictures


def _confusion(told: Mapping[str, Any]) -> str:
    rows, names = np.array(told["confusion"]), [str(c)[:16] for c in told["classes"]]
    share = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300)

    def draw(axes: Any) -> None:
        axes.grid(False)
        side = max(0.0, len(names) - 1.0)
        x, y = (g.ravel() for g in np.meshgrid(np.arange(len(names)), np.arange(len(names))))
        axes.scatter(x, y, s=share.ravel() * 9000 / len(names) ** 1.7, color=ONE, marker="s")
        axes.set(title="Confusion: share of each true class", xlabel="taken for", ylabel="true class",
                 xlim=(-0.6, side + 0.6), ylim=(side + 0.6, -0.6))  # fmt: skip
        many = len(names) > 4
        axes.set_xticks(range(len(names)), names, rotation=45 * many, ha="right" if many else "center")
        axes.set_yticks(range(len(names)), names)

    return _drawn("confusion", (4.6, 4.2), draw)


def losses(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Lines of (step, loss) by name."""

    def draw(axes: Any) -> None:
        for colour, (name, (x, y)) in zip((ONE, TWO), series.items(), strict=False):
            axes.plot(x, y, color=colour, label=name, marker="o" if len(x) < 3 else None)
        axes.set(title="Loss", xlabel="round")
        if len(series) > 1:
            axes.legend(labelcolor=FAINT)

    some = any(len(x) for x, _ in series.values()) and _drawable(*(y for _, y in series.values()))
    return _drawn("loss", (4, 3.4), draw) if some else ""


def bars(name: str, title: str, values: Mapping[str, float]) -> str:
    """A bar for each name, the longest first, MOST_BARS at most; to the left for what is below 0."""
    top = sorted(values.items(), key=lambda item: -abs(item[1]))[:MOST_BARS][::-1]

    def draw(axes: Any) -> None:
        axes.grid(axis="y", visible=False)
        axes.barh([n[:40] for n, _ in top], [v for _, v in top], color=[ONE if v >= 0 else TWO for _, v in top])
        axes.figure.suptitle(title, x=0.01, ha="left", fontsize=11)  # long names leave the axes little room

    return _drawn(name, (6.4, 0.8 + 0.24 * len(top)), draw) if top and _drawable([v for _, v in top]) else ""


def _tenths(weight: Array, n: int = 10) -> Array:
    """Where to cut bins so that the parts weigh about the same."""
    share = np.cumsum(weight) / max(float(weight.sum()), 1e-300)
    return np.unique(np.searchsorted(share, np.arange(1, n) / n) + 1)
