"""What must hold before a model goes into service: comparisons of metrics, read as an expression and never run as code.

``auc >= champion.auc - 0.002 and log_loss < 0.4``: names are metrics of the challenger, ``champion.NAME`` those of the
model in service.  There are numbers, + - * /, comparisons, ``and``, ``or``, ``not`` and parentheses, and nothing else.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mrml.errors import ConfigError, Refused, nearest
from mrml.logs import log, number

CHAMPION = "champion"
_PLACE, _MOST = "--gate", 2000
_SUMS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_SIGNS: dict[type, tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt), ast.LtE: ("<=", operator.le), ast.Gt: (">", operator.gt), ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq), ast.NotEq: ("!=", operator.ne),
}  # fmt: skip
_WRITTEN = "write comparisons of metrics, such as: auc >= champion.auc - 0.002 and log_loss < 0.4"


class Clause(NamedTuple):
    """One of the conditions that all must hold: as it is written, with what divides by 0 in it, the numbers in it, and
    whether it holds; None where there is no champion to compare with."""

    text: str
    values: dict[str, float]
    holds: bool | None

    def __str__(self) -> str:
        """What became of it, as a line of the log."""
        word = {True: "holds", False: "does not hold", None: "holds: there is no champion"}[self.holds]
        values = ", ".join(f"{name} {number(value)}" for name, value in self.values.items())
        return f"{self.text} {word}{f' ({values})' if values else ''}"


class Gate:
    """An expression; ConfigError where it is none."""

    def __init__(self, text: str) -> None:
        if len(text) > _MOST:
            raise ConfigError(_PLACE, f"is longer than {_MOST} characters", _WRITTEN)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(_PLACE, f"{text!r} is not an expression", _WRITTEN) from error
        both = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
        self.clauses: list[ast.expr] = tree.values if both else [tree]  # type: ignore[attr-defined]
        for clause in self.clauses:
            _check(clause, is_condition=True)

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics in it, of either model."""
        nodes = [node for clause in self.clauses for node in ast.walk(clause)]
        own = {node.id for node in nodes if isinstance(node, ast.Name)} - {CHAMPION}
        return own | {node.attr for node in nodes if isinstance(node, ast.Attribute)}

    @property
    def asks_champion(self) -> bool:
        """Whether it names metrics of the model in service."""
        return any(isinstance(node, ast.Attribute) for clause in self.clauses for node in ast.walk(clause))

    def passed(self, challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, place: str, stays: int | None,
               remedy: str = "") -> list[Clause]:  # fmt: skip
        """Every clause, told in the log; Refused where one does not hold, with ``stays``, the version in service."""
        clauses = self.judged(challenger, champion)
        for clause in clauses:
            log.info("gate: %s", clause)
        if failed := [clause.text for clause in clauses if clause.holds is False]:
            kept = f"version {stays} stays in service" if stays else "nothing is in service"
            error = Refused(place, f"{'; '.join(failed)}: does not hold; {kept}", remedy)
            error.facts = {"clauses": [clause._asdict() for clause in clauses]}
            raise error
        return clauses

    def judged(self, challenger: Mapping[str, Any], champion: Mapping[str, Any] | None) -> list[Clause]:
        """What becomes of every clause; ConfigError for a metric that is not there."""
        return [self._judged(clause, challenger, champion) for clause in self.clauses]

    def _judged(self, clause: ast.expr, challenger: Mapping[str, Any], champion: Mapping[str, Any] | None) -> Clause:
        values: dict[str, float] = {}
        asks = any(isinstance(node, ast.Attribute) for node in ast.walk(clause))
        if asks and champion is None:
            for node in ast.walk(clause):  # those of a champion to come are those of this model
                if isinstance(node, ast.Name | ast.Attribute) and (name := _name(node)) != CHAMPION:
                    _metric(name, challenger, "challenger")
            return Clause(ast.unparse(clause), values, None)
        holds = bool(_value(clause, challenger, champion or {}, values))
        zeros = "".join(f" ({text} divides by 0)" for text, value in values.items() if math.isnan(value))
        told = {name: value for name, value in values.items() if not math.isnan(value)}
        return Clause(ast.unparse(clause) + zeros, told, holds)


def _check(node: ast.expr, is_condition: bool) -> None:
    """ConfigError for what an expression of metrics does not hold."""
    if is_condition:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                _check(value, True)
            return
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _check(node.operand, True)
        if isinstance(node, ast.Compare) and all(type(op) in _SIGNS for op in node.ops):
            for value in (node.left, *node.comparators):
                _check(value, False)
            return
    elif isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
        _check(node.left, False)
        return _check(node.right, False)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _check(node.operand, False)
    elif (
        (isinstance(node, ast.Constant) and type(node.value) in (int, float))
        or isinstance(node, ast.Name)
        or (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == CHAMPION)
    ):
        return
    what = "a condition" if is_condition else "a number or a metric"
    raise ConfigError(_PLACE, f"{ast.unparse(node)!r} is not {what}", _WRITTEN)


def _value(node: ast.expr, own: Mapping[str, Any], other: Mapping[str, Any], seen: dict[str, float]) -> Any:
    def of(inner: ast.expr) -> Any:
        return _value(inner, own, other, seen)

    if isinstance(node, ast.BoolOp):
        values = [of(value) for value in node.values]  # all of them: each is told
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare):
        sides = [of(node.left), *map(of, node.comparators)]
        pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
        return all(_SIGNS[type(op)][1](a, b) for op, a, b in pairs)
    if isinstance(node, ast.UnaryOp):
        return not of(node.operand) if isinstance(node.op, ast.Not) else -of(node.operand)
    if isinstance(node, ast.BinOp):
        try:
            return _SUMS[type(node.op)](of(node.left), of(node.right))
        except ZeroDivisionError:
            seen[ast.unparse(node)] = math.nan
            return math.nan  # no comparison with it holds
    if isinstance(node, ast.Constant):
        return node.value
    assert isinstance(node, ast.Name | ast.Attribute)
    name, of_other = _name(node), isinstance(node, ast.Attribute)
    value = _metric(name, other, CHAMPION) if of_other else _metric(name, own, "challenger")
    seen[ast.unparse(node)] = float(value)
    return value


def _name(node: ast.Name | ast.Attribute) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def _metric(name: str, metrics: Mapping[str, Any], whose: str) -> int | float:
    """A metric of a model; ConfigError where it has none of that name."""
    there = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if name not in there:
        raise ConfigError(_PLACE, f"the {whose} has no metric {name!r}", nearest(name, there))
    return there[name]
