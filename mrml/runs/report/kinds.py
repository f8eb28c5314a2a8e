"""The pictures of a model by the names that ``model.plot`` and ``--plot`` know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrml.errors import ConfigError, OutputExists, nearest
from mrml.fs.folder import Folder
from mrml.runs.export import ensemble_of
from mrml.runs.report import drawing, facts, plots
from mrml.runs.report.drawing import Picture
from mrml.runs.store import resolved
from mrml.runs.train import load_model

#: of predictions, which need rows: their titles
OF_ROWS = {
    "roc": "ROC", "pr": "Precision and recall", "calibration": "Calibration", "confusion": "Confusion",
    "truth": "Truth by prediction", "residuals": "Errors",
}  # fmt: skip
#: of the model and its rounds alone
OF_MODEL = ("importance", "loss", "tree")
KINDS = (*OF_ROWS, *OF_MODEL)


def check(kind: str | None) -> None:
    """ConfigError for what is no kind of picture."""
    if kind is not None and kind not in KINDS:
        raise ConfigError("plot", f"there is no picture {kind!r}", nearest(str(kind), KINDS))


def of_rows(curves: Mapping[str, Any], kind: str | None = None) -> dict[str, Picture]:
    """By kind the pictures of what :class:`~mrml.algorithms.evaluation.curves.Curves` counted, or the one asked for.

    Raises
    ------
    ConfigError
        This model has no such picture.
    """
    found = plots.curves(curves)
    known = {name: found[title] for name, title in OF_ROWS.items() if title in found}
    return _chosen(known, kind, "of the predictions of this model, for these rows,")


def of_model(place: str, kind: str | None = None, tree: int | None = None) -> dict[str, Picture]:
    """By kind the pictures that need no rows, or the one asked for; without ``kind`` a tree only where one is named."""
    folder, known = Folder(resolved(place)), dict[str, Picture | None]()
    model = load_model(folder.path)
    if kind in (None, "importance") and (weights := facts.weights(folder)):
        known["importance"] = plots.bars("weights", weights["title"], weights["values"])
    if kind in (None, "loss") and folder.exists("run.json"):
        known["loss"] = plots.losses(facts.losses(folder.read_json("run.json")))
    if kind == "tree" or tree is not None:
        known["tree"] = plots.tree(ensemble_of(model, place), tree or 0)
    return _chosen({name: picture for name, picture in known.items() if picture}, kind, "of this model")


def _chosen(known: Mapping[str, Picture], kind: str | None, of: str) -> dict[str, Picture]:
    if kind is None:
        return dict(known)
    if kind not in known:
        there = f"there are {', '.join(known)}" if known else ""
        raise ConfigError("plot", f"{of} there is no picture {kind!r}", there)
    return {kind: known[kind]}


def check_place(place: str) -> None:
    """ConfigError where ``--plot`` names another format than SVG; OutputExists where a file is in a folder's place."""
    if place.endswith((".png", ".pdf", ".jpg", ".jpeg")):
        raise ConfigError(f"--plot {place}", "pictures are SVG", "end it in .svg, or name a folder")
    if not place.endswith(".svg") and (there := Folder(place)).exists() and not there.isdir():
        raise OutputExists(f"--plot {place}", "is a file", "name a folder, or end it in .svg for one picture")


def write(pictures: Mapping[str, Picture], place: str) -> list[str]:
    """Files of SVG: ``place``, where it ends in ``.svg`` and there is one picture, else ``KIND.svg`` in that folder."""
    check_place(place)
    one = place.endswith(".svg")
    if one and len(pictures) != 1:
        finding = f"there are {len(pictures)} pictures: {', '.join(pictures)}"
        raise ConfigError(f"--plot {place}", finding, "name a folder, or one picture as in roc.svg")
    folder = Folder(place).parent if one else Folder(place)
    folder.make()
    paths = []
    for kind, picture in pictures.items():
        target = Folder(place) if one else folder / f"{kind}.svg"
        folder.write(target.name, drawing.file(picture).encode())
        paths.append(target.path)
    return paths
