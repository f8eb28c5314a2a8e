"""What Python the nodes have: one map-only Streaming job whose tasks tell of themselves.

The mapper is a shell script, so that an interpreter that is not there, or one without mrml, is an answer and not a
failed job.
"""

from __future__ import annotations

import inspect
import json
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mrml import pin
from mrml.engines.hadoop import plain
from mrml.engines.hadoop.environment import interpreter
from mrml.engines.hadoop.yarn import RUN_TAG, ResourceManager
from mrml.errors import EngineError
from mrml.fs.folder import Folder

LIMIT_S = 180.0
#: what ids of probes begin with, which are no runs
PROBE = "doctor-"


def source_digest(package: str) -> str:
    """Twelve hex digits of the SHA-256 of a package's Python files; tasks run this very text."""
    import hashlib
    import os

    found = hashlib.sha256()
    for folder, _, names in sorted(os.walk(package)):
        for name in sorted(n for n in names if n.endswith(".py")):
            with open(os.path.join(folder, name), "rb") as file:
                found.update(name.encode() + file.read())
    return found.hexdigest()[:12]


#: what a task runs; its variables pin NumPy
PROGRAM = f"""\
import json, sys
told = {{"version": sys.version.split()[0], "prefix": sys.prefix}}
import mrml
told["mrml"] = mrml.__version__
{inspect.getsource(source_digest)}
told["source"] = source_digest(mrml.__path__[0])
import numpy
told["numpy"] = numpy.__version__
from mrml.kernels.fingerprint import fingerprint
from mrml.version import IMPORTED_FROM
told["fingerprint"] = fingerprint()
import shutil
told["free"] = shutil.disk_usage(".").free
if len(sys.argv) > 2:
    import socket
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 5.0).close()
        told["back"] = "ok"
    except OSError as error:
        told["back"] = str(error)
print(json.dumps(told))
"""
SCRIPT = """\
while read -r line; do :; done
out=$({environment} {python} -c {program} {back} 2>&1)
code=$?
printf '%s\\t%s\\t%s\\n' "${{NM_HOST:-$(uname -n)}}:$NM_PORT" "$code" "$(printf '%s\\n' "$out" | tail -n 1)"
"""


class Told(NamedTuple):
    """What a task told: its node, versions, the digest of mrml's source, free bytes; or the last line of the error."""

    node: str
    version: str = ""
    prefix: str = ""
    mrml: str = ""
    source: str = ""
    numpy: str = ""
    fingerprint: str = ""
    free: int = -1
    error: str = ""
    #: whether the machine that asks can be dialled from there: ok, why not, or empty where that was not tried
    back: str = ""


class Probe(NamedTuple):
    """Where and with what the job runs; ``jobconf`` are more properties, ``back`` is an address here to dial."""

    hadoop: str
    jar: str
    python: str | None
    environment: str | None
    jobconf: dict[str, str]
    back: tuple[str, int] | None = None

    def script(self) -> str:
        """The mapper."""
        python, more = interpreter(self.environment, self.python)
        words = " ".join(f"{k}={shlex.quote(v)}" for k, v in {**pin.VARIABLES, **more}.items())
        back = " ".join(map(shlex.quote, map(str, self.back or ())))
        return SCRIPT.format(environment=words, python=shlex.quote(python), program=shlex.quote(PROGRAM), back=back)

    def command(self, tag: str, folder: Folder, script: Path) -> list[str]:
        """The client's words."""
        conf = {
            **self.jobconf,
            "mapreduce.job.tags": tag,
            "mapreduce.job.name": "mrml doctor",
            "mapreduce.input.lineinputformat.linespermap": "1",
            "mapreduce.client.completion.pollinterval": "200",
        }
        return plain.command(
            self.hadoop, self.jar, conf, [script], self.environment, folder.join("lines"), folder / "out"
        )

    def run(self, manager: ResourceManager, home: str, scratch: Path, n_tasks: int) -> list[Told]:
        """Ask ``n_tasks`` tasks; EngineError where the job does not end well."""
        tag = f"{RUN_TAG}{PROBE}{uuid.uuid4().hex[:12]}"
        folder = Folder(home) / tag
        script = scratch / "probe.sh"
        script.write_text(self.script(), encoding="utf-8")
        folder.make()
        try:
            folder.write("lines", b"".join(b"%d\n" % n for n in range(n_tasks)))
            submit(self.command(tag, folder, script), manager, tag)
            return list(answers(folder / "out"))
        finally:
            folder.remove()


def submit(command: list[str], manager: ResourceManager, tag: str) -> None:
    """Run the client to its end; one that takes too long is ended with its application."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=pin.environment())
    except subprocess.TimeoutExpired as error:
        states = [app.state for app in manager.by_tag(tag)]
        for app in manager.by_tag(tag):
            manager.kill(app.id)
        finding = f"did not end within {LIMIT_S:.0f} s; it is {', '.join(states) or 'not known to YARN'}"
        raise EngineError("probe job", finding, "look at the free memory of the queue") from error
    if done.returncode:
        apps = manager.by_tag(tag)
        said = plain.complaints(done.stderr) or done.stderr.splitlines() or [""]
        finding = " ".join(apps[0].diagnostics.split()) if apps else said[0]
        remedy = f"see `yarn logs -applicationId {apps[0].id}`" if apps else "see what `hadoop version` says"
        raise EngineError("probe job", f"failed: {finding[:400]}", remedy)


def answers(output: Folder) -> Iterator[Told]:
    """The lines of the job's part files."""
    for name in output.names():
        if name.startswith("part-"):
            for line in output.read(name).decode("utf-8", "replace").splitlines():
                yield told(line)


def told(line: str) -> Told:
    """One line: node, exit code, and JSON or the last words of an error."""
    node, code, text = [*line.rstrip("\t").split("\t", 2), "", ""][:3]
    if code != "0":
        return Told(node, error=text or f"exit code {code}")
    try:
        return Told(node, **json.loads(text))
    except (ValueError, TypeError):
        return Told(node, error=f"said {text!r}")
