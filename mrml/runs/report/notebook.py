"""What a notebook shows: models, metrics and searches as tables of HTML, and the rounds of a run as a bar."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mrml import logs

#: seconds between two looks of a bar
_BAR_S = 0.1
_MOST_ROWS = 10
_STYLE = "style='text-align:left;font-variant-numeric:tabular-nums'"


class MetricTable(dict[str, Any]):
    """Metrics by name, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return table(("metric", "value"), [(name, logs.number(v)) for name, v in self.items() if _is_figure(v)])


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of HTML; what is in it is text."""
    cells = "".join(f"<th {_STYLE}>{escape(str(h))}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td {_STYLE}>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def model(facts: Mapping[str, Any]) -> str:
    """A run's record, ``run.json``: what was learned of what, how it ended, and how good it is."""
    config = facts.get("config", {})
    params = ", ".join(f"{name}={value!r}" for name, value in config.get("params", {}).items())
    target = config.get("data", {}).get("target")
    of = f" of <code>{escape(str(target))}</code>" if target else ""
    counts = f"{logs.count(facts['n_rows'], 'row')}, {logs.count(facts['rounds'], 'round')}"
    head = f"<b>{escape(str(facts['algorithm']))}</b>{of}: {counts} in {logs.seconds(facts['seconds'])}"
    sides = {"training": facts.get("metrics") or {}, "validation": facts.get("valid") or {}}
    sides = {name: side for name, side in sides.items() if side}
    names = [n for n, v in next(iter(sides.values()), {}).items() if _is_figure(v)]
    rows = [(n, *(logs.number(side[n]) if _is_figure(side.get(n)) else "" for side in sides.values())) for n in names]
    parts = [f"<p>{head}<br>{escape(str(facts.get('stop') or ''))}</p>"]
    parts += [f"<p><code>{escape(params)}</code></p>"] if params else []
    return "".join([*parts, table(("metric", *sides), rows) if rows else ""])


def search(results: Mapping[str, Any]) -> str:
    """The best candidates of a search, by ``cv_results_``."""
    rank = next((name for name in results if name.startswith("rank_test_")), "")
    if not rank:
        return ""
    score = rank.removeprefix("rank_test_")
    order = sorted(range(len(results["params"])), key=lambda k: results[rank][k])
    rows = []
    for k in order[:_MOST_ROWS]:
        params = ", ".join(f"{name}={value}" for name, value in results["params"][k].items())
        spread = f"{results[f'mean_test_{score}'][k]:.6g} ± {results[f'std_test_{score}'][k]:.2g}"
        rows.append((results[rank][k], params, spread))
    more = f"<p>and {len(order) - _MOST_ROWS} more candidates</p>" if len(order) > _MOST_ROWS else ""
    return table(("rank", "candidate", f"mean {score.replace('_', ' ')} ± deviation"), rows) + more


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_one() -> bool:
    """Whether this process is a notebook's."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class Bar:
    """A Progress that tqdm draws, as a widget where the notebook has any."""

    def __init__(self, name: str) -> None:
        with warnings.catch_warnings():  # that there are no widgets: then it is text
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
        self.name, self._tqdm, self._bar, self._drawn = name, tqdm, None, 0.0  # type: str, Any, Any, float

    def start(self, plan: dict[str, Any]) -> None:
        self._bar = self._tqdm(desc=self.name, unit="round")

    def round(self, facts: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._drawn < _BAR_S and facts.get("eta_s") != 0.0:
            return
        self._drawn, self._bar.total, self._bar.n = now, facts.get("rounds"), facts.get("round", 0)
        if (loss := facts.get("loss")) is not None:
            self._bar.set_postfix_str(f"loss {logs.number(loss)}", refresh=False)
        self._bar.refresh()

    def done(self, facts: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.total = self._bar.n
            self._bar.close()


def bar(name: str) -> Bar | None:
    """A bar with a name, where this is a notebook and tqdm is there."""
    try:
        return Bar(name) if is_one() else None
    except ImportError:
        return None
