"""``mrml doctor``: what stands between this machine, a cluster and a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mrml.cli.out import emit, emit_json
from mrml.cli.parser import Parser, common, flags
from mrml.config import sources as conf
from mrml.config.sections import DataConfig, EngineConfig
from mrml.errors import EngineError

EXAMPLE = "mrml doctor -r hadoop --queue default --data hdfs:///data/churn"
_DATA = ("data", "multiline", "split_bytes")
_ENGINE = (
    "runner",
    "driver_host",
    "driver_ports",
    "cache_dir",
    "task_python",
    "environment",
    "queue",
    "memory_mb",
    "vcores",
    "gpus_per_task",
    "priority",
    "jobconf",
)


def parse_doctor(argv: Sequence[str]) -> argparse.Namespace:
    about = "Check what a run needs, one line per check with how to fix it; exit code 5 if a check fails."
    parser = Parser("doctor", EXAMPLE, description=about)
    parser.add_options(_options())
    return common(parser, "print one JSON object instead of text").read(argv)


def run_doctor(args: argparse.Namespace) -> None:
    settings = conf.resolve(_options(), flags(args))
    data, engine = conf.section(DataConfig, "data", settings), conf.section(EngineConfig, "engine", settings)
    from mrml.tools.doctor.examine import doctor
    from mrml.tools.doctor.findings import FAIL, worst

    findings = doctor(engine, data)
    level = worst(findings)
    if args.json:
        emit_json({"level": level, "findings": [f._asdict() for f in findings]})
    else:
        width = max(len(f.check) for f in findings)
        for f in findings:
            emit(f"{f.level:4}  {f.check:{width}}  {f.text}" + f"; {f.remedy}" * bool(f.remedy))
    if level == FAIL:
        raise SystemExit(EngineError.exit_code)


def _options() -> list[conf.Option]:
    return [*conf.options(DataConfig, "data", only=_DATA), *conf.options(EngineConfig, "engine", only=_ENGINE)]
