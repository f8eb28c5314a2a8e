"""Leases on folders without locks: one driver at a time, whoever comes at once, whoever dies, whoever sleeps."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrml.errors import EngineError
from mrml.fs.folder import Folder
from mrml.runs import lease
from mrml.runs.lease import RemoteLease

HOLD = """
import sys, time
from mrml.runs.lease import RemoteLease
from mrml.fs.folder import Folder
lease = RemoteLease(Folder(sys.argv[1]))
print(lease.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path / "run" / "_run")
    found.make()
    return found


def elsewhere(folder: Folder, name: str = "lease-1", **more: Any) -> None:
    """A lease of a driver on another host."""
    told = {"pid": 7, "host": "other", "since": "then", "space": "another boot", "started": "1", "renewals": 0}
    folder.write(name, json.dumps({**told, **more}).encode())


def test_of_many_who_come_at_once_one_holds_it(folder: Folder) -> None:
    held: list[RemoteLease] = []
    refused: list[str] = []

    def take() -> None:
        try:
            held.append(RemoteLease(folder))
        except EngineError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1 and len(refused) == 11 and all("another driver works on this run" in r for r in refused)
    held[0].check()
    held[0].close()
    with RemoteLease(folder) as again:
        assert again.name == "lease-2"
    assert folder.names() == ["lease-2"]


def test_a_driver_of_this_host_that_lives_is_refused_at_once_and_one_that_died_is_nobody(folder: Folder) -> None:
    hold = [sys.executable, "-c", HOLD, folder.path]
    with subprocess.Popen(hold, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "lease-1\n"
        with pytest.raises(EngineError, match=f"another driver works on this run: process {other.pid} on "):
            RemoteLease(folder)
        other.kill()
        other.wait()
        RemoteLease(folder).close()


def looked(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None]) -> None:
    """Time that passes only while a lease is waited for; ``then`` is called at each look."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        then(round(now[0] / lease.LOOK_S))

    clock = type("Clock", (), {"monotonic": lambda: now[0], "sleep": sleep, "strftime": lambda *_: "", "gmtime": int})
    monkeypatch.setattr(lease, "time", clock)


def test_a_driver_elsewhere_that_renews_keeps_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(folder)
    looked(monkeypatch, lambda n: elsewhere(folder, renewals=int(n == 5)))
    with pytest.raises(EngineError, match="process 7 on other since then; wait for its end"):
        RemoteLease(folder)


def test_a_driver_elsewhere_that_does_not_renew_loses_it_and_knows(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    with RemoteLease(folder) as sleeper:
        elsewhere(folder)  # as if the sleeper were on another host
        looked(monkeypatch, looks.append)
        with RemoteLease(folder) as second:
            assert second.name == "lease-2" and len(looks) * lease.LOOK_S >= lease.STALE_S
            with pytest.raises(EngineError, match="another driver works on this run"):
                sleeper.check()
            second.check()


def test_one_that_was_given_back_is_taken_without_a_wait(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(folder, "lease-41", free=True)
    looked(monkeypatch, lambda n: pytest.fail("it waited"))
    with RemoteLease(folder) as found:
        assert found.name == "lease-42"


def test_a_lease_that_rests_does_not_come_back_into_a_folder_that_was_removed(folder: Folder) -> None:
    found = RemoteLease(folder)
    found.rest()
    folder.remove()
    found.close()
    assert not folder.exists()


def test_a_lease_that_is_renewed_is_still_held_since_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    monkeypatch.setattr(Folder, "is_local", False)
    with lease.RemoteLease(Folder(tmp_path)) as held:
        began, until = json.loads((tmp_path / held.name).read_bytes()), time.monotonic() + 20
        time.sleep(1.1)  # it is told in seconds
        while (now := json.loads((tmp_path / held.name).read_bytes()))["renewals"] < 5:
            assert time.monotonic() < until
        assert now["since"] == began["since"] == lease.holder(Folder(tmp_path))["since"]
