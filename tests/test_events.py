"""Event files where they cannot be written; tests/torch reads them with TensorBoard."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import mrml
from mrml.errors import ConfigError
from mrml.runs.tensorboard import Events, _checksum
from mrml.runs.train import Silent  # type: ignore[attr-defined]


def test_checksums_are_those_of_crc_32c() -> None:
    # RFC 3720, B.4: 32 bytes of zeros have 8a9136aa, which TensorFlow rotates by 15 bits and adds to
    plain = 0x8A9136AA
    assert _checksum(bytes(32)) == (((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


@pytest.mark.parametrize("folder", ["hdfs:///logs", "file/logs"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_round(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--log-dir: .*name a(nother| local one)"):
        Events(folder if "://" in folder else str(tmp_path / folder), Silent()).start({})


def test_a_folder_that_is_lost_in_between_costs_a_warning_and_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events(str(tmp_path / "logs"), Silent())
    events.start({})
    for path in (tmp_path / "logs").iterdir():
        path.unlink()
    (tmp_path / "logs").rmdir()
    with caplog.at_level(logging.WARNING, "mrml"):
        events.round({"round": 1, "loss": 0.5})
        events.round({"round": 2, "loss": 0.4})
    assert len(caplog.records) == 1 and "can no longer be written" in caplog.text


def test_a_run_from_python_writes_them_as_well(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n" + "1,0.5\n2,1.5\n3,2\n" * 20)
    fitted = mrml.Linear().fit(tmp_path / "rows.csv", target="y", engine="inline", log_dir=str(tmp_path / "logs"))
    (file,) = (tmp_path / "logs").iterdir()
    assert fitted.metrics["r2"] > 0.5 and b"rows_per_s" in file.read_bytes()
