"""Every error mrml raises on purpose: a place, a finding and a remedy.

::

    MrmlError                   1   something we did not expect
     +-- ConfigError            2   usage or configuration
     |    +-- ResumeMismatch    2   --resume with another configuration or other inputs
     +-- InputError             3   the data: missing, malformed, of the wrong shape
     |    +-- BadRows           3   more malformed rows than the limit allows
     +-- OutputExists           4   the output is there already
     +-- EngineError            5   workers, jobs, the cluster
     |    +-- TaskFailed        5   a task raised; carries its own traceback for the log
     +-- NotConverged           6   only with --strict
     |    +-- Diverged          6   a loss that is no number
     +-- Refused                7   a gate: the model did not go into service

The number is the exit code of the command line; 130 is an interrupt (Ctrl-C).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class MrmlError(Exception):
    """An error a user can act on.

    Parameters
    ----------
    place : where it was found: a file and byte, an option, a round.
    finding : what was found there, as a sentence without a full stop.
    remedy : what to do about it; empty when there is nothing better than the finding.

    ``facts`` is what there is to tell beside it, of a run that had done something: ``--json`` prints it too.
    """

    exit_code: ClassVar[int] = 1
    facts: Mapping[str, Any] = {}

    def __init__(self, place: str, finding: str, remedy: str = "") -> None:
        super().__init__(place, finding, remedy)
        self.place, self.finding, self.remedy = place, finding, remedy

    def __str__(self) -> str:
        head = f"{self.place}: {self.finding}" if self.place else self.finding
        return f"{head}; {self.remedy}" if self.remedy else head


class ConfigError(MrmlError):
    """An option, a configuration key or their combination is wrong."""

    exit_code = 2


class ResumeMismatch(ConfigError):
    """A run is resumed with another configuration or other inputs than it began with."""


class InputError(MrmlError):
    """A file, a column or a value is missing or cannot be read."""

    exit_code = 3


class BadRows(InputError):
    """More malformed rows than ``--bad-rows`` allows."""


class OutputExists(MrmlError):
    """The output directory is already there."""

    exit_code = 4


class EngineError(MrmlError):
    """A worker, a job or the cluster failed."""

    exit_code = 5


class TaskFailed(EngineError):
    """A task raised an unexpected exception.

    ``traceback`` is the task's own, for the log; the user sees its last line.
    """

    def __init__(self, place: str, finding: str, remedy: str = "", traceback: str = "") -> None:
        super().__init__(place, finding, remedy)
        self.traceback = traceback


class NotConverged(MrmlError):
    """The run stopped at its round limit; raised only with ``--strict``."""

    exit_code = 6


class Diverged(NotConverged):
    """The loss of a step or of a round is no number; raised always, since no model can come of it."""


class Refused(MrmlError):
    """A gate does not hold: what is in service stays."""

    exit_code = 7


_BY_NAME: dict[str, type[MrmlError]] = {
    cls.__name__: cls
    for cls in (MrmlError, ConfigError, ResumeMismatch, InputError, BadRows,
                OutputExists, EngineError, TaskFailed, NotConverged, Diverged, Refused)
}  # fmt: skip


def to_json(error: MrmlError) -> dict[str, str]:
    """The error as a task sends it to the driver."""
    return {
        "type": type(error).__name__,
        "place": error.place,
        "finding": error.finding,
        "remedy": error.remedy,
    }


def from_json(value: dict[str, str]) -> MrmlError:
    """The error as the driver raises it again."""
    return _BY_NAME.get(value["type"], MrmlError)(value["place"], value["finding"], value["remedy"])


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: ``did you mean 'l2'?`` or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(known)
