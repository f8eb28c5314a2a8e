"""What stands between this machine and a run, found before the run does: one finding a line, with its remedy.

Every check returns findings and raises nothing that ends the others; the checks of a cluster come in the order in which
a run would meet them, and what cannot be asked once something is unreachable is left out.
"""

from __future__ import annotations

import tempfile

from mrml.config.sections import DataConfig, EngineConfig
from mrml.tools.doctor import machine
from mrml.tools.doctor.findings import Check, Finding, examine


def doctor(engine: EngineConfig, data: DataConfig) -> list[Finding]:
    """Every finding, those of this machine first."""
    checks: list[tuple[str, Check]] = [
        ("python", machine.python),
        ("numpy pinned", machine.pinned),
        ("scratch", lambda: machine.scratch(engine.cache_dir or tempfile.gettempdir())),
    ]
    if engine.runner == "hadoop":
        from mrml.tools.doctor.hadoop import checks as of_cluster

        checks += of_cluster(engine)
    if data.data:
        checks.append(("inputs", lambda: machine.inputs(data)))
    findings: list[Finding] = []
    for name, check in checks:
        findings += examine(name, check)
    return findings
