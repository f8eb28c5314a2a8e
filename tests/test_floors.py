"""Imports only go down, and what is shut off stays where it belongs (DESIGN section 4)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: the floor of each module or package of mrml
FLOORS = {
    0: "errors params pin values py",
    1: "kernels losses penalties",
    2: "algorithm statistic model schema config data folder fs fs_address fs_hdfs fs_native fs_web wire export",
    3: "algorithms selection engines",
    4: "driver run watch planning rundir runs leaving events sample extend pack doctor doctor_cluster",
    5: "api cli cluster conf logs airflow __main__",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
#: where a name may be used: prefixes of paths under mrml/
ALLOWED = {
    "mrjob": ("engines/streaming", "engines/mrjob_compat"),
    "torch": ("kernels/net_torch", "kernels/device.py", "export/net_check.py"),
    "scipy": (),
    "pandas": (),
    "print": ("cli/",),
    "environ": ("cli/", "conf.py", "pin.py", "engines/task", "engines/worker"),
}
FILES = sorted((ROOT / "mrml").rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what a module imports, inside functions too; ``from mrml import run`` is mrml.run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(tree: ast.AST) -> set[str]:
    """What a module imports by first name, ``print`` where it prints, ``environ`` where it reads the environment."""
    found = {name.partition(".")[0] for name in imports(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.add("print")
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            found.add("environ")
    return found


def unit(name: str) -> str:
    """``mrml.data.block`` is in the unit ``data``; a name of the package itself is in none."""
    part = name.split(".")[1] if name.startswith("mrml.") else ""
    return part if part in FLOOR else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_only_go_down_and_siblings_do_not_meet(path: Path) -> None:
    place = path.relative_to(ROOT / "mrml")
    own = place.parts[0].removesuffix(".py")
    if own == "__init__":  # the Python interface: looks names up when they are asked for
        return
    assert own in FLOOR, f"give mrml/{place} a floor in FLOORS"
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        other = unit(name)
        if other and other != own:
            assert FLOOR[other] <= FLOOR[own], f"{place} imports {name} of a floor above"
            siblings = {own, other} in ({"algorithms", "engines"}, {"selection", "engines"})
            assert own != "cluster" or other in ("errors", "params"), (
                f"{place} imports {name}: the cluster stands beside the rest"
            )
            assert not siblings, f"{place} imports {name}: algorithms and engines do not know each other"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_is_shut_off_stays_where_it_belongs(path: Path) -> None:
    place = path.relative_to(ROOT / "mrml").as_posix()
    for name in names(ast.parse(path.read_text(encoding="utf-8"))) & set(ALLOWED):
        assert place.startswith(ALLOWED[name]), f"{place} uses {name}, which belongs in {ALLOWED[name] or 'no module'}"


def test_the_test_sees_an_import_that_goes_up() -> None:
    tree = ast.parse(
        "def f():\n    from mrml import cli\n    import mrml.run\n    import os\n    os.environ\n    print()"
    )
    assert [unit(name) for name in imports(tree)] == ["cli", "run", ""]
    assert {"environ", "print"} <= names(tree)
