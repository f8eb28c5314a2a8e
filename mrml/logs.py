"""Logs and progress, on stderr: lines for people, JSON lines for machines, a bar on a terminal.

Results go to stdout and are the command line's own; nothing here prints.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

log = logging.getLogger("mrml")

_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m"}
_LEVELS = {-1: logging.WARNING, 0: logging.INFO}
#: lines of notes that a run tells; run.json has them all
NOTES = 5
#: facts of a round that have a place of their own in its line
_PLACED = ("round", "rounds", "tree", "trees", "loss", "step", "seconds", "rows_per_s", "eta_s")
#: lines of rounds at most this often, but for every tenth of the way; on a terminal the line is written over more often
LINE_S, BAR_S = 2.0, 0.1


class Text(logging.Formatter):
    """The message; warnings and errors say what they are, in colour where asked."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        if record.levelno < logging.WARNING:
            return message
        name = record.levelname.lower() + ":"
        start = _COLOURS.get(record.levelno, "") if self.colour else ""
        return f"{start}{name}\033[0m {message}" if start else f"{name} {message}"


class Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, event, message, and the facts of the event."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(plain(line), ensure_ascii=False)


if TYPE_CHECKING:
    StreamHandler = logging.StreamHandler[IO[str]]
else:  # Python 3.10 cannot subscript it
    StreamHandler = logging.StreamHandler


class Handler(StreamHandler):
    """Writes to stderr and keeps out of the way of a progress bar."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.bar: Any = None

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        if self.bar is not None:
            self.bar.clear()
        super().emit(record)
        if self.bar is not None:
            self.bar.refresh()


class Relay(logging.Handler):
    """Hands on what is of its level: others who listen to the same logger may want more.

    A record that one of those has marked as ``heard`` will be told in words of ours: below ERROR it is handed on too.
    """

    def __init__(self, handler: logging.Handler, level: int) -> None:
        super().__init__(level)
        self.handler = handler

    def emit(self, record: logging.LogRecord) -> None:
        if self.level < logging.ERROR or not getattr(record, "heard", False):
            self.handler.handle(record)


def setup(stream: IO[str], verbosity: int = 0, style: str = "text", colour: bool = False) -> None:
    """Send the logs of mrml to a stream; ``verbosity`` -1 is quiet, 0 normal, 1 everything."""
    handler = Handler(stream)
    handler.setFormatter(Json() if style == "json" else Text(colour))
    log.handlers[:] = [handler]
    log.setLevel(_LEVELS.get(verbosity, logging.DEBUG))
    log.propagate = False
    # mrjob tells much of itself; what fails in a task arrives as an error of ours
    mrjob = logging.getLogger("mrjob")
    level = logging.INFO if verbosity > 0 else logging.ERROR
    mrjob.handlers[:], mrjob.propagate = [Relay(handler, level)], False
    mrjob.setLevel(level)


#: secrets that this process was told, and what is written in their place
_HIDDEN: dict[str, str] = {}


def hide(secret: str, shown: str) -> None:
    """From now on write ``shown`` where a text holds the secret."""
    _HIDDEN[secret] = shown


def is_hidden(secret: str) -> bool:
    """Whether no log shows it."""
    return secret in _HIDDEN


def masked(text: str) -> str:
    """A text without secrets."""
    for secret in sorted(_HIDDEN, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN[secret])
    return text


def plain(value: Any) -> Any:
    """Strict JSON values: NaN and infinities are null, NumPy scalars and arrays are numbers and lists."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def seconds(value: float) -> str:
    """A duration for people: ``3 ms``, ``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if 0 < value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.2f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(n_bytes: float) -> str:
    """A number of bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def number(value: Any) -> str:
    """A figure for people: thousands of whole numbers set apart, six digits of others."""
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def count(n: int, word: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def round_line(facts: dict[str, Any]) -> str:
    """The line of a round: tree, round, loss, step, seconds, rows/s, ETA, then what else the algorithm tells."""
    of = f"/{facts['rounds']}" if facts.get("rounds") else ""
    parts = [f"round {facts.get('round', '?')}{of}"]
    if facts.get("trees"):
        parts.insert(0, f"tree {facts['tree']:.0f}/{facts['trees']:.0f}")
    parts += [f"{name} {number(facts[name])}" for name in ("loss", "step") if facts.get(name) is not None]
    if facts.get("seconds") is not None:
        parts.append(seconds(facts["seconds"]))
    if facts.get("rows_per_s"):
        parts.append(f"{facts['rows_per_s']:,.0f} rows/s")
    if facts.get("eta_s") is not None:
        most = "" if facts.get("trees") else "at most "  # iterations may stop early, trees take the rounds they took
        parts.append(f"ETA {most}{seconds(facts['eta_s'])}")
    parts += [f"{name} {number(v)}" for name, v in facts.items() if name not in _PLACED and isinstance(v, float)]
    if facts.get("device"):
        parts.append(f"on {facts['device']}")
    return "  ".join(parts)


def plan_line(plan: dict[str, Any]) -> str:
    """The line before the first round: what will be read, and where."""
    parts = [count(plan[k], word) for k, word in _COUNTS if plan.get(k) is not None]
    if plan.get("n_bytes") is not None:
        parts.append(size(plan["n_bytes"]))
    where = f"engine {plan['engine']}" if plan.get("engine") else ""
    if where and plan.get("workers"):
        where += f", {count(plan['workers'], 'worker')}"
    if where and plan.get("engine_chosen"):
        where += f" (auto: {plan['engine_chosen']})"
    return "; ".join(filter(None, [", ".join(parts), where])) or "started"


_COUNTS = (("n_files", "file"), ("n_blocks", "block"), ("n_splits", "split"), ("n_rows", "row"))


def tell_notes(notes: Sequence[str], place: str) -> None:
    """The first notes, in at most NOTES lines; all of them are in ``place``."""
    shown = notes if len(notes) <= NOTES else notes[: NOTES - 1]
    for note in shown:
        log.info("note: %s", note, extra={"event": "note", "facts": {"note": note}})
    if len(notes) > len(shown):
        log.info("note: %d more, in %s", len(notes) - len(shown), place, extra={"event": "note", "facts": {}})


class Lines:
    """Lines of rounds, every one with the JSON format or ``-v``; else the first, the last, each tenth of the way, and
    one in two seconds.
    """

    def __init__(self, every: bool = False) -> None:
        self.every, self._told, self._tenth = every, -math.inf, -1

    def start(self, plan: dict[str, Any]) -> None:
        log.info(plan_line(plan), extra={"event": "start", "facts": plan})
        tell_notes(plan.get("notes", []), "run.json")

    def round(self, facts: dict[str, Any]) -> None:
        now, tenth = time.monotonic(), self._tenths(facts)
        due = self.every or now - self._told >= LINE_S or tenth > self._tenth or facts.get("eta_s") == 0.0
        if due:
            self._told, self._tenth = now, max(tenth, self._tenth)
        log.log(logging.INFO if due else logging.DEBUG, round_line(facts), extra={"event": "round", "facts": facts})

    @staticmethod
    def _tenths(facts: Mapping[str, Any]) -> int:
        """How many tenths of the way are done, by trees where there are any, else by rounds."""
        done, total = (facts.get(k) for k in (("tree", "trees") if facts.get("trees") else ("round", "rounds")))
        return int(10 * (done or 0) // total) if total else 0

    def done(self, facts: dict[str, Any]) -> None:
        log.debug("done", extra={"event": "done", "facts": facts})


class Bar(Lines):
    """One line that is written over, by tqdm."""

    def __init__(self, tqdm: Any, handler: Handler) -> None:
        super().__init__()
        self.tqdm, self.handler, self._drawn = tqdm, handler, -math.inf

    def start(self, plan: dict[str, Any]) -> None:
        super().start(plan)
        self.handler.bar = self.tqdm(
            file=self.handler.stream, leave=False, dynamic_ncols=True, bar_format="{bar:20} {desc}"
        )

    def round(self, facts: dict[str, Any]) -> None:
        bar, now = self.handler.bar, time.monotonic()
        if now - self._drawn < BAR_S and facts.get("eta_s") != 0.0:
            return
        self._drawn = now
        bar.total, bar.n = facts.get("rounds"), facts.get("round", 0)
        bar.set_description_str(round_line(facts))

    def done(self, facts: dict[str, Any]) -> None:
        self.close()
        super().done(facts)

    def close(self) -> None:
        """Take the bar off the terminal; also after an error."""
        bar, self.handler.bar = self.handler.bar, None
        if bar is not None:
            bar.close()


def progress() -> Lines:
    """A bar where the logs go to a terminal as text and tqdm is installed; lines otherwise."""
    handler = next((h for h in log.handlers if isinstance(h, Handler)), None)
    if handler is None or isinstance(handler.formatter, Json):
        return Lines(every=True)
    if log.level != logging.INFO or not handler.stream.isatty() or not _width(handler.stream):
        return Lines()
    try:
        from tqdm import tqdm
    except ImportError:
        return Lines()
    return Bar(tqdm, handler)


def _width(stream: IO[str]) -> int:
    """Columns of a terminal; some that programs make have none, and a bar would show nothing there."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 80


def close() -> None:
    """Take a bar that an error left behind off the terminal."""
    for handler in log.handlers:
        if isinstance(handler, Handler) and handler.bar is not None:
            handler.bar.close()
            handler.bar = None
