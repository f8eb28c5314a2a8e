"""What the server says of a coordinator, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from mrml.tools.oozie.rest import Oozie, facts_of

END = "Sat, 03 Jan 2026 00:00:00 GMT"


def coordinator(status: str, *states: str, **more: Any) -> dict[str, Any]:
    actions = [{"actionNumber": k, "status": state} for k, state in enumerate(states, 1)]
    known = {"status": status, "total": len(actions), "nextMaterializedTime": END, "endTime": END}
    return {"coordJobId": "7-C", "coordJobName": "daily", "actions": actions, **known, **more}


@pytest.mark.parametrize(
    "found, status",
    [
        (coordinator("RUNNING", "SUCCEEDED", "SUCCEEDED"), "SUCCEEDED"),
        (coordinator("RUNNING", "SUCCEEDED", "SKIPPED", "IGNORED"), "SUCCEEDED"),
        (coordinator("RUNNINGWITHERROR", "SUCCEEDED", "TIMEDOUT"), "DONEWITHERROR"),
        (coordinator("RUNNING", "KILLED", "KILLED"), "KILLED"),
        (coordinator("RUNNING", "FAILED"), "FAILED"),
        (coordinator("RUNNING", "TIMEDOUT", "TIMEDOUT"), "DONEWITHERROR"),
        # a day that is to come, or still runs, or is not among those that were asked for
        (coordinator("RUNNING", "SUCCEEDED", nextMaterializedTime="Fri, 02 Jan 2026 00:00:00 GMT"), "RUNNING"),
        (coordinator("RUNNING", nextMaterializedTime=None), "RUNNING"),
        (coordinator("RUNNING", "SUCCEEDED", "WAITING"), "RUNNING"),
        (coordinator("RUNNING", "SUCCEEDED", total=2), "RUNNING"),
        # what somebody has stopped stays so
        (coordinator("SUSPENDED", "SUCCEEDED"), "SUSPENDED"),
        (coordinator("KILLED", "SUCCEEDED"), "KILLED"),
        (coordinator("DONEWITHERROR", "TIMEDOUT"), "DONEWITHERROR"),
    ],
)
def test_a_coordinator_whose_days_are_done_is_done_though_oozie_missed_it(
    found: dict[str, Any], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Oozie, "job", lambda self, job: found)
    assert facts_of(Oozie("http://nowhere/oozie"), "7-C")["status"] == status
