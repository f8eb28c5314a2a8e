"""Inside the container: the command of a run, whose log and end go to HDFS.

    python -m mrml.tools.away.inside run.json hdfs:///models/churn.driver

Standard error is the container's log as well, and its lines keep Hadoop from taking the task for dead.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

from mrml import pin
from mrml.errors import EngineError
from mrml.fs.folder import Folder

#: its log, and how it ended, in the folder beside the output
LOG, ENDED = "log", "ended.json"
#: how often the log is written there, and Hadoop told that the task lives
WRITE_S, STATUS_S = 3.0, 30.0


def main(argv: list[str]) -> int:
    """Run it; 0 whatever its exit code, which is in the folder: YARN is to try again only what was killed."""
    run_file, place = argv[0], Folder(argv[1])
    environment = pin.environment()
    if "HADOOP_HOME" not in environment and "HADOOP_COMMON_HOME" in environment:  # what NodeManagers hand on
        environment = {**environment, "HADOOP_HOME": environment["HADOOP_COMMON_HOME"]}
    command = [sys.executable, "-m", "mrml", "train", "--config", run_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as driver:
        assert driver.stdout is not None
        lines: list[bytes] = []
        writer = threading.Thread(target=_write, args=(driver, lines, place), daemon=True)
        writer.start()
        for line in driver.stdout:
            lines.append(line)
            sys.stderr.write(line.decode("utf-8", "replace"))
            sys.stderr.flush()
        code = driver.wait()
        writer.join()
    place.write(LOG, b"".join(lines))
    if code < 0:
        return 1
    place.write(ENDED, json.dumps({"exit_code": code}).encode())
    return 0


def _write(driver: subprocess.Popen[bytes], lines: list[bytes], place: Folder) -> None:
    """Write the log as it grows."""
    written, told = 0, time.monotonic()
    while driver.poll() is None:
        if len(lines) > written:
            written = len(lines)
            try:
                place.write(LOG, b"".join(lines[:written]))
            except (OSError, EngineError) as error:
                sys.stderr.write(f"the log is not on HDFS: {error}\n")
        if time.monotonic() - told > STATUS_S:
            told = time.monotonic()
            sys.stderr.write("reporter:status:drives its run\n")
            sys.stderr.flush()
        try:
            driver.wait(WRITE_S)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
