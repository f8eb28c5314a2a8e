"""A picture as the element of a page, as a file of SVG, or as a figure of matplotlib.

matplotlib writes colours as numbers only; for a page, which may be light or dark, numbers that stand for the variables
of its style are replaced in the text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mrml.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Colours(NamedTuple):
    """What is drawn with which colour: text, axes, lines behind the data, and two series."""

    ink: str
    faint: str
    line: str
    one: str
    two: str


#: the stand-in of each variable of the page's style
VARIABLES = Colours("#010203", "#010204", "#010205", "#010206", "#010207")
#: those of the light page
LIGHT = Colours("#1c2630", "#5d6b78", "#d5dbe1", "#1f6f9f", "#b3552e")
#: of a figure in a notebook: dots per inch, and how many pixels of the page stand for them
_DPI, _PIXELS = 120, 84
_COLUMNS = 3


class Picture(NamedTuple):
    """What is drawn on empty axes; ``name`` tells its parts from those of others on a page, ``size`` is in inches."""

    name: str
    size: tuple[float, float]
    draw: Callable[[Any, Colours], None]


def _style(colours: Colours) -> dict[str, Any]:
    return {
        "svg.fonttype": "none", "svg.hashsalt": "mrml", "font.size": 10, "axes.titlesize": 11,
        "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": colours.line, "axes.labelcolor": colours.faint, "axes.titlecolor": colours.ink,
        "text.color": colours.ink, "xtick.color": colours.faint, "ytick.color": colours.faint,
        "grid.color": colours.line, "axes.grid": True, "grid.linewidth": 0.6, "axes.axisbelow": True,
        "lines.linewidth": 1.8, "legend.frameon": False, "text.parse_math": False,
    }  # fmt: skip


def require(*packages: str) -> None:
    """ConfigError where what draws, and lays out a page, is not installed."""
    import importlib

    for name in packages or ("matplotlib",):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError("report", f"needs {error.name}", "install it with: pip install 'mrml[report]'") from None


def figure(pictures: Mapping[str, Picture]) -> Figure:
    """All pictures side by side, as a figure that a notebook shows; ConfigError where there are none."""
    require()
    if not pictures:
        raise ConfigError("plot", "of this model nothing is drawn without rows", "give some: plot(data=...)")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    class Shown(Figure):
        """Shows itself also where the notebook has not been told of matplotlib."""

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=_DPI)
            wide, high = (int(inches * _PIXELS) for inches in self.get_size_inches())
            return out.getvalue(), {"width": wide, "height": high}

    across = min(len(pictures), _COLUMNS)
    down = -(-len(pictures) // across)
    wide, high = (max(p.size[k] for p in pictures.values()) for k in (0, 1))
    with rc_context(_style(LIGHT)):  # type: ignore[arg-type]
        made = Shown(figsize=(wide * across, high * down), layout="constrained")
        places = made.subplots(down, across, squeeze=False).ravel()
        for axes, picture in zip(places, pictures.values(), strict=False):
            picture.draw(axes, LIGHT)
        for axes in places[len(pictures) :]:
            axes.remove()
    return made


def file(picture: Picture) -> str:
    """A file of SVG, on a white ground."""
    text = _svg(picture, LIGHT, "white")
    return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{text}\n'


def element(picture: Picture) -> str:
    """The element of a page: as wide as the page says, in the page's font and colours."""
    head, body = _svg(picture, VARIABLES, "none").split(">", 1)
    text = re.sub(r' (width|height)="[^"]*"', "", head) + ">" + body  # the view box says how high
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{picture.name}-", text)
    for variable, colour in VARIABLES._asdict().items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text).strip()


def _svg(picture: Picture, colours: Colours, ground: str) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_style(colours)):  # type: ignore[arg-type]
        made = Figure(figsize=picture.size, layout="constrained", facecolor=ground)
        axes = made.subplots()
        axes.patch.set_alpha(0)
        picture.draw(axes, colours)
        out = io.BytesIO()
        FigureCanvasSVG(made)
        with warnings.catch_warnings():  # of letters that matplotlib's font has not: the reader's browser draws them
            warnings.filterwarnings("ignore", "Glyph ", UserWarning)
            made.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL).strip()
