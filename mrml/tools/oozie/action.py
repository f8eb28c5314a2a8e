"""Inside the shell action: run ``mrml``, and tell Oozie how it ended in a way that it keeps.

    python -m mrml.tools.oozie.action run run.yaml --set ds=2026-01-05

The answer is ``key=value`` lines on stdout, which ``<capture-output/>`` reads as a Java property file of at most 2,048
characters.  Exit code 0 always.  YARN applications of the run carry the tag by which Oozie ends them when the workflow
is killed: a container is killed 250 ms after it was asked to end, which is too soon to do so itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from mrml import pin
from mrml.tools.oozie.document import write_properties

#: `oozie.action.max.output.data`, and what a message may take of it in ASCII
LIMIT, _MESSAGE = 2048, 1200
_TAGS = "oozie.child.mapreduce.job.tags"
_WANTED = ("verdict", "version", "run", "directory", "report")


def main(argv: Sequence[str]) -> int:
    """Run ``mrml ARGV --json`` and print what Oozie is to know."""
    environment = {**pin.environment(), **tags(pin.environment().get("OOZIE_ACTION_CONF_XML", ""))}
    command = [sys.executable, "-m", "mrml", *argv, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, errors="replace", env=environment)
    sys.stderr.write(done.stdout)  # the log of the action holds all of it
    sys.stdout.write(told(done.returncode, done.stdout))
    return 0


def tags(path: str) -> dict[str, str]:
    """The variable with the tag that Oozie looks for, from the configuration that it hands to the action."""
    try:
        properties = ET.parse(path).getroot().iter("property")
    except (OSError, ET.ParseError):
        return {}
    found = [p.findtext("value", "") for p in properties if p.findtext("name") == _TAGS]
    return {"MRML_YARN_TAGS": found[0]} if found else {}


def told(code: int, text: str) -> str:
    """The lines: exit code, message, and what the result says of itself."""
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        result = {}
    error = result.get("error") or {}
    words = "; ".join(word for word in (error.get("finding"), error.get("remedy")) if word)
    message = f"{error['place']}: {words}" if error.get("place") else words
    values = {
        "exit_code": str(code),
        "verdict": "",
        "message": message or ("" if code == 0 else "see the log of the action"),
    }
    values |= {key: str(result[key]) for key in _WANTED if result.get(key) is not None}
    while len(write_properties({"message": values["message"]})) > _MESSAGE:
        values["message"] = values["message"][: len(values["message"]) * 9 // 10]
    return _within(values)


def _within(values: dict[str, str]) -> str:
    """As many of the lines as Oozie takes; it fails an action that says more."""
    out = ""
    for key, value in values.items():
        line = write_properties({key: value})
        out += line if len(out + line) <= LIMIT else ""
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
