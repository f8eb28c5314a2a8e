"""The page of a run: facts and pictures laid out by Jinja, which escapes every text."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any

from mrml.errors import ConfigError
from mrml.fs.folder import Folder
from mrml.runs.report import drawing, plots
from mrml.runs.report import facts as found
from mrml.runs.report.drawing import Picture
from mrml.version import __version__


def write(
    run: str, output: str, curves: Mapping[str, Any] | None = None, coefficients: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Write the page of a run; its path.

    Parameters
    ----------
    run : directory of a training run or of a run of steps.
    output : the file, local or on HDFS; one that is there is replaced whole.
    curves : what :class:`~mrml.algorithms.evaluation.curves.Curves` counted, where the run does not have it.
    coefficients : what :class:`~mrml.algorithms.evaluation.standard_errors.StandardErrors` found, likewise.
    """
    drawing.require("jinja2", "matplotlib")
    facts = found.of_run(run)
    refuse_directory(output)
    target = Folder(output)
    given = {"curves": curves, "coefficients": found.told(coefficients)}
    text = page(facts | {name: value for name, value in given.items() if value})
    try:
        target.parent.make()
        target.parent.write(target.name, text.encode())
    except OSError as error:
        finding = f"cannot be written: {error.strerror or error}"
        raise ConfigError(f"output {output}", finding, "name another --output") from error
    return target.path


def refuse_directory(output: str) -> None:
    """ConfigError where the file that a page is to be is a directory."""
    if Folder(output).isdir():
        raise ConfigError(f"output {output}", "is a directory", "name the file, such as report.html in it")


def page(facts: Mapping[str, Any]) -> str:
    """The HTML of facts."""
    import jinja2

    source = importlib.resources.files("mrml.runs.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    pictures = {**plots.curves(facts["curves"]), "Loss by round": plots.losses(facts["losses"])}
    weights = facts["weights"]
    wide = {weights["title"]: plots.bars("weights", weights["title"], weights["values"])} if weights else {}
    names = {
        "phase_names": sorted({name for _, by in facts["phases"] for name in by}),
        "round_phases": sorted({name for of in facts["rounds"] for name in of["in"]}),
    }
    return environment.from_string(source).render(
        **facts, **names, pictures=_drawn(pictures), wide=_drawn(wide), made=found.now(), version=__version__
    )


def _drawn(pictures: Mapping[str, Picture | None]) -> dict[str, str]:
    return {title: drawing.element(picture) for title, picture in pictures.items() if picture}
