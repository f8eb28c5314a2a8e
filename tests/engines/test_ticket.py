"""Tickets from a keytab, by a kinit that writes down how it was called: no KDC is at hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mrml.config.sections import EngineConfig
from mrml.engines.hadoop import kerberos as tickets
from mrml.engines.hadoop.kerberos import ticket
from mrml.errors import ConfigError

KINIT = """#!/bin/sh
echo "$KRB5CCNAME $*" >> {calls}
[ ! -e {fails} ] || {{ echo "kinit: Password incorrect" >&2; exit 1; }}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    program = tmp_path / "bin" / "kinit"
    program.parent.mkdir()
    program.write_text(KINIT.format(calls=tmp_path / "calls", fails=tmp_path / "fails"))
    program.chmod(0o755)
    (tmp_path / "me.keytab").touch()
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("KRB5CCNAME", "FILE:/mine")
    return EngineConfig(keytab=str(tmp_path / "me.keytab"), principal="me@REALM")


def test_a_ticket_is_fetched_into_a_cache_of_its_own_and_renewed_until_the_end(
    config: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "RENEW_S", 0.01)
    calls = tmp_path / "calls"
    with ticket(config):
        cache = os.environ["KRB5CCNAME"]
        (tmp_path / "fails").touch()  # a renewal that fails is tried again
        until = time.monotonic() + 30
        while len(calls.read_text().splitlines()) < 4 and time.monotonic() < until:
            time.sleep(0.01)
    told = calls.read_text().splitlines()
    assert len(told) >= 4 and set(told) == {f"{cache} -kt {config.keytab} me@REALM"}
    assert cache.startswith("FILE:") and not Path(cache.removeprefix("FILE:")).parent.exists()
    assert os.environ["KRB5CCNAME"] == "FILE:/mine"


def test_without_a_keytab_nothing_is_called(config: EngineConfig, tmp_path: Path) -> None:
    with ticket(EngineConfig()):
        assert os.environ["KRB5CCNAME"] == "FILE:/mine"
    assert not (tmp_path / "calls").exists()


def test_what_is_wrong_with_a_keytab_is_said_before_anything_runs(config: EngineConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need each other"), ticket(EngineConfig(principal="me@REALM")):
        pass
    with pytest.raises(ConfigError, match="no such file"), ticket(EngineConfig(keytab="nowhere", principal="me")):
        pass
    (tmp_path / "fails").touch()
    with pytest.raises(ConfigError, match="Password incorrect; see `klist -kt`"), ticket(config):
        pass
    (tmp_path / "bin" / "kinit").unlink()
    with pytest.raises(ConfigError, match="the command was not found"), ticket(config):
        pass
