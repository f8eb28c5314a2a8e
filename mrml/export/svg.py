"""The importance of columns, and a tree, as SVG: a few shapes and texts, for browsers and reports."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from mrml.export import text
from mrml.export.ensemble import Ensemble, Tree

INK, FAINT, BAR, UP, DOWN = "#1f2933", "#7b8794", "#2a6f97", "#2a6f97", "#b5533c"
#: bars of the importance; pixels of a bar, of a row, of a level of a tree
MOST_BARS, WIDEST, ROW, LEVEL = 30, 420, 24, 250
#: of a tree
HOW_TO_READ = "the upper branch is yes, the lower one no; a leaf adds its number"
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
    'font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#ffffff"/>'
)


def importance(told: Mapping[str, Mapping[str, float]], subject: str) -> str:
    """Bars of the gain of the columns that gain most, with how often each splits."""
    gains = list(told["gain"].items())[:MOST_BARS]
    total = sum(told["gain"].values()) or 1.0
    names = max([len(name) for name, _ in gains] + [6]) * 7.5 + 16
    width, height = int(names + WIDEST + 170), 64 + ROW * len(gains) + 12
    parts = [_HEAD.format(w=width, h=height), _text(16, 26, f"What {subject} is predicted from", INK, size=16)]
    parts.append(_text(16, 46, "share of the gain of all splits, and how many they are", FAINT))
    for k, (name, gain) in enumerate(gains):
        y = 64 + ROW * k
        long = WIDEST * gain / (gains[0][1] or 1.0)
        parts.append(_text(names - 8, y + 14, name, INK, "end"))
        parts.append(f'<rect x="{names:.0f}" y="{y + 2}" width="{long:.1f}" height="{ROW - 8}" rx="2" fill="{BAR}"/>')
        parts.append(_text(names + long + 8, y + 14, f"{gain / total:.1%} · {told['count'][name]:,.0f}", FAINT))
    return "\n".join([*parts, "</svg>\n"])


def tree(ensemble: Ensemble, number: int) -> str:
    """A tree from the left to the right; what answers yes goes up."""
    shape = ensemble.tree(text.checked_number(ensemble, number))
    at = places(shape)
    deepest, leaves = max(x for x, _ in at.values()), int(shape.leaf.sum())
    width, height = int(LEVEL * deepest + 200), ROW * leaves + 72
    parts = [_HEAD.format(w=width, h=height), _text(16, 26, text.title(ensemble, number), INK, size=16)]
    parts.append(_text(16, 44, HOW_TO_READ, FAINT))
    largest = max(float(abs(shape.value[shape.leaf]).max()), 1e-300)
    for node, (column, row) in at.items():
        x, y = 16 + LEVEL * column, 64 + ROW * row
        if shape.leaf[node]:
            value = float(shape.value[node])
            parts.append(
                f'<circle cx="{x + 5}" cy="{y}" r="5" fill="{UP if value > 0 else DOWN}" '
                f'fill-opacity="{0.25 + 0.75 * abs(value) / largest:.2f}"/>'
            )
            parts.append(_text(x + 16, y + 4, f"{value:+.4g}", INK))
            continue
        left = int(shape.left[node])
        for child in (left, left + 1):
            to_x, to_y = 16 + LEVEL * at[child][0], 64 + ROW * at[child][1]
            parts.append(f'<path d="M{x + 2} {y} V{to_y:.1f} H{to_x - 4}" fill="none" stroke="#cbd2d9"/>')
        told = text.condition(ensemble, shape, node)
        short = told if len(told) <= 36 else told[:35] + "…"
        parts.append(f"<g><title>{escape(told)}, {int(shape.rows[node]):,} rows</title>"
                     f"{_text(x + 8, y + 4, short, INK, halo=True)}</g>")  # fmt: skip
    return "\n".join([*parts, "</svg>\n"])


def places(shape: Tree) -> dict[int, tuple[int, float]]:
    """Column and row of every node: leaves one under the other, the others in the middle of theirs."""
    order, depth, todo = [], {0: 0}, [0]
    while todo:
        node = todo.pop()
        order.append(node)
        if not shape.leaf[node]:
            left = int(shape.left[node])
            depth[left] = depth[left + 1] = depth[node] + 1
            todo += [left + 1, left]
    rows: dict[int, float] = {}
    for node in order:
        if shape.leaf[node]:
            rows[node] = float(len(rows))
    for node in reversed(order):
        if not shape.leaf[node]:
            left = int(shape.left[node])
            rows[node] = (rows[left] + rows[left + 1]) / 2
    return {node: (depth[node], rows[node]) for node in order}


def _text(x: float, y: float, words: str, fill: str, anchor: str = "start", size: int = 13, halo: bool = False) -> str:
    around = ' paint-order="stroke" stroke="#ffffff" stroke-width="4"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-size="{size}"{around}>'
        f"{escape(words)}</text>"
    )
