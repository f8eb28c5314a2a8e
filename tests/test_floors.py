"""Imports only go down, and what is shut off stays where it belongs (DESIGN section 4)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.floors import FLOOR, PACKAGE, ROOT, arrows_up, circles, graph, imports, modules, parsed, room

#: where a name may be used: prefixes of paths under mrml/
ALLOWED = {
    "mrjob": ("engines/streaming/",),
    "torch": ("kernels/net/torch", "kernels/device.py", "export/net_check.py"),
    "scipy": ("sklearn/",),  # which scikit-learn has brought
    "pandas": (),
    "joblib": ("sklearn/",),
    "pickle": ("engines/resident/sealed.py",),  # the one place that unpickles: what the run's secret signs
    "cloudpickle": ("engines/resident/sealed.py",),
    "airflow": ("airflow/",),
    "matplotlib": ("runs/report/",),
    "jinja2": ("runs/report/",),
    "mlflow": ("runs/report/",),
    "print": ("cli/",),
    "environ": ("cli/", "config/sources.py", "pin.py", "engines/task", "engines/local/worker"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def names(tree: ast.AST) -> set[str]:
    """What a module imports by first name, ``print`` where it prints, ``environ`` where it reads the environment."""
    found = {name.partition(".")[0] for name in imports(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.add("print")
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            found.add("environ")
    return found


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Every class of the package with its file."""
    for path in FILES:
        yield from ((path, node) for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef))


EDGES = graph(modules())


def test_every_room_has_a_floor_and_every_floor_has_its_rooms() -> None:
    there = {room(module) for module in EDGES} - {"__init__", "__main__"}
    assert there == set(FLOOR), "tests/floors.py, FLOORS: give each package or module of mrml/ a floor"


def test_an_import_goes_to_its_own_room_or_to_a_floor_below() -> None:
    assert arrows_up(EDGES) == []


def test_no_module_takes_part_in_a_circle_of_imports() -> None:
    assert circles(EDGES) == []


def test_the_development_cluster_stands_beside_the_rest() -> None:
    for module, others in EDGES.items():
        if room(module) == "cluster":
            assert {room(other) for other in others} <= {"cluster", "errors", "params"}, module


def test_rooms_files_and_classes_stay_small_enough_to_know() -> None:
    assert len(list(PACKAGE.glob("*.py")) + list(PACKAGE.glob("*/__init__.py"))) <= 30, "rooms at the top"
    for folder in {path.parent for path in FILES}:
        beside = [p for p in folder.glob("*.py") if not p.name.startswith("__")]
        assert len(beside) <= 15, f"{folder}: modules beside its packages"
    long = [p.name for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == [], "files above 400 lines"
    big = [node.name for _, node in classes() if (node.end_lineno or 0) - node.lineno + 1 > 250]
    assert big == [], "classes above 250 lines"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_is_shut_off_stays_where_it_belongs(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for name in names(parsed(path)) & set(ALLOWED):
        assert place.startswith(ALLOWED[name]), f"{place} uses {name}, which belongs in {ALLOWED[name] or 'no module'}"


def test_the_test_sees_an_import_that_goes_up_and_a_circle() -> None:
    tree = ast.parse("def f():\n    from mrml import cli\n    import mrml.runs.train\n    os.environ\n    print()")
    assert [room(name) for name in imports(tree)] == ["cli", "runs"]
    assert {"environ", "print"} <= names(tree)
    edges = {"mrml.wire": {"mrml.cli.main"}, "mrml.cli.main": {"mrml.cli.out"}, "mrml.cli.out": {"mrml.wire"}}
    assert arrows_up(edges) == ["mrml.wire imports mrml.cli.main"]
    assert circles(edges) == [["mrml.cli.main", "mrml.cli.out", "mrml.wire"]]
