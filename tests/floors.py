"""The import graph of mrml: rooms, floors and circles.

A *room* is a package or module directly under ``mrml/``.  Rooms lie on floors; an import goes to the own room or to a
floor below, never to another room of the same floor.  No module takes part in a circle of imports, lazy ones and
those for type checkers included.

    python -m tests.floors             # the floors, with what each room imports
    python -m tests.floors --circles   # circles of modules and arrows that do not go down; exit code 1 if there are any
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mrml"

#: rooms from the ground up
FLOORS = (
    "errors version logs arrays",
    "params pin wire losses names",
    "config fs kernels schema statistic",
    "data",
    "export model",
    "algorithm",
    "algorithms engines",
    "runs extend",
    "api tools cluster",
    "cli sklearn airflow",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
#: entry points, which any room may come before
DOORS = ("__init__", "__main__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what a module imports, inside functions too; ``from mrml import pin`` is mrml.pin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which modules each module imports."""
    return {name: {m for full in imports(parsed(path)) if (m := _module(full, known)) and m != name}
            for name, path in known.items()}  # fmt: skip


def _module(full: str, known: Mapping[str, Path]) -> str:
    """The module that a full name is, or is in; empty outside the package, and for the names of ``mrml`` itself."""
    while full and full not in known:
        full = full.rpartition(".")[0]
    return full if full != "mrml" else ""


def room(module: str) -> str:
    """``mrml.data.block`` is in the room ``data``."""
    return [*module.split("."), "__init__"][1]


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other (Tarjan 1972: the strongly connected components of two or more)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in number:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            cut = stack.index(node)
            component = sorted(stack[cut:])
            del stack[cut:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


def arrows_up(edges: Mapping[str, set[str]]) -> list[str]:
    """Imports from one room to another that is not on a floor below."""
    wrong = []
    for module, others in sorted(edges.items()):
        here = room(module)
        for other in sorted(others):
            there = room(other)
            if here not in DOORS and there != here and FLOOR[there] >= FLOOR[here]:
                wrong.append(f"{module} imports {other}")
    return wrong


def main(argv: list[str]) -> int:
    """Print the floors, or with ``--circles`` what is wrong with them."""
    edges = graph(modules())
    if "--circles" in argv:
        wrong = [" <-> ".join(c) for c in circles(edges)] + arrows_up(edges)
        print("\n".join(wrong) if wrong else "no circle, and every import goes down")
        return int(bool(wrong))
    for number, rooms in reversed(list(enumerate(FLOORS))):
        for name in rooms.split():
            below = sorted({room(o) for m, others in edges.items() if room(m) == name for o in others} - {name})
            print(f"{number}  {name:12} -> {' '.join(below)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
