"""``mrml train`` and ``mrml config show``: a training run, and what it is configured with."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from typing import Any

from mrml import logs
from mrml.algorithms import TABLE
from mrml.cli.out import emit, emit_json, table
from mrml.cli.parser import Parser, common, flags, load_algorithm
from mrml.config import sources as conf
from mrml.config.sections import RunConfig
from mrml.config.template import refuse_braces
from mrml.errors import ConfigError

TRAIN_EXAMPLE = "mrml train logistic --data data/ --target y --output model --l2 1e-4"
CONFIG_EXAMPLE = "mrml config show logistic --config conf/breast-cancer.yaml --workers 2"

#: files, or names, that a plan shows of a long list
_SHOWN = 12
_NAME_ONE = "name one of " + ", ".join(TABLE) + " after the command"


def parse_train(argv: Sequence[str]) -> argparse.Namespace:
    return _parse(argv, "train", TRAIN_EXAMPLE)


def parse_config(argv: Sequence[str]) -> argparse.Namespace:
    words = list(argv)
    if "show" in words:
        words.remove("show")
    elif not {"-h", "--help"} & set(words):
        raise ConfigError("mrml config", "no such command", "it is `mrml config show`")
    return _parse(words, "config show", CONFIG_EXAMPLE)


def run_train(args: argparse.Namespace) -> None:
    config = _config(args)
    from mrml.engines.hadoop.kerberos import ticket
    from mrml.runs import train as run

    if args.dry_run:
        with ticket(config.engine):
            facts = run.plan(config)
        return emit_json(facts) if args.json else emit(plan_text(facts))
    if args.driver == "cluster":
        return _drive_away(config, args.json)
    with ticket(config.engine):
        summary = run.train(config, logs.progress())
    if args.json:
        emit_json(summary)
    else:
        emit(summary_text(config, summary))
    run.check_converged(config, summary)
    if not summary["converged"]:
        logs.log.warning("%s: has not converged: %s", config.output, summary["stop"], extra={"event": "unconverged"})


def _drive_away(config: RunConfig, as_json: bool) -> None:
    """Have the cluster drive the run, and follow it; with its exit code."""
    from mrml.tools.away.send import Sent

    if as_json:
        raise ConfigError("--driver", "cluster answers with the log of the run", "leave --json out")
    sent = Sent(config)
    app = sent.begin()
    follow = f"the same command, or `mrml runs attach {config.output}`, follows it"
    logs.log.info("%s drives this run, and goes on without this process; %s", app.id, follow)
    if code := sent.follow(emit):
        raise SystemExit(code)


def run_config(args: argparse.Namespace) -> None:
    settings = _settings(args)
    if args.json:
        return emit_json(_by_section(settings))
    for section, rows in _by_section(settings).items():
        emit(f"{section}\n" + table([(name, _shown(s["value"]), s["origin"]) for name, s in rows.items()]))


def summary_text(config: RunConfig, summary: dict[str, Any]) -> str:
    """Metrics, where the model lies, what to run next."""
    train, valid = summary.get("metrics") or {}, summary.get("valid") or {}
    sides = [(name, side) for name, side in (("train", train), ("valid", valid)) if side]
    folds = summary.get("folds") or {}
    for column, key in ((f"{folds.get('folds')} folds", "mean"), ("std", "std"), ("out of fold", "out_of_fold")):
        sides += [(column, {name: told[key] for name, told in folds["metrics"].items()})] if folds else []
    names = list(dict.fromkeys(k for _, side in sides for k in side))
    columns = [(name, *(side.get(name) for _, side in sides)) for name in names]
    rows = [row for row in columns if row[0] not in ("reasons", "clusters") and any(v is not None for v in row[1:])]
    output = summary["output"]
    rows_of = [logs.count(summary["n_rows"], "row")]
    if summary.get("valid_rows"):
        rows_of.append(f"{logs.count(summary['valid_rows'], 'row')} to validate with")
    head = f"{config.algorithm}: {', '.join(rows_of)}, {logs.count(summary['rounds'], 'round')}"
    parts = [f"{head} in {logs.seconds(summary.get('seconds') or 0.0)}; {summary.get('stop')}"]
    if rows:
        parts.append(table([("metric", *(name for name, _ in sides)), *rows]))
    for _, side in sides:
        parts += [f"  no {name}: {why}" for name, why in side.get("reasons", {}).items()]
    if summary.get("dropped_directions"):
        dropped, among = logs.count(summary["dropped_directions"], "direction"), _shown(summary["dependent_columns"])
        parts.append(f"  collinear: {dropped} dropped among {among}; of equal predictions the smallest coefficients")
    if summary.get("bad_rows"):
        parts.append(f"  left out: {logs.count(summary['bad_rows'], 'malformed row')}")
    if summary.get("engine", {}).get("name") == "streaming":
        spent = [f"{name} {logs.seconds(s)}" for name, s in summary.get("seconds_in", {}).items()]
        parts.append(f"time   {', '.join(spent)}")
    data = config.data.valid[0] if config.data.valid else config.data.data[0] if config.data.data else "DATA"
    parts.append(f"model  {output}/model.json, {output}/model.npz")
    if folds and config.oof:
        parts.append(f"oof    {config.oof}")
    code = [str(c).partition(":")[0] for c in (config.algorithm, config.params.get("module", "")) if ":" in str(c)]
    own = [word for module in code for word in ("--allow-import", module)]
    scored = [output, "--data", data]
    steps = [["evaluate", *scored, *own]] if rows or config.data.target else []
    steps += [["predict", *scored, "--output", f"{output}.predictions", *own]]
    return "\n".join([*parts, "next   " + "\n       ".join(shlex.join(["mrml", *words]) for words in steps)])


def plan_text(facts: dict[str, Any]) -> str:
    """What a run would read, hold and do."""
    config = facts.get("config") or {}
    lines = ["configuration", table(sorted((k, _shown(v)) for k, v in _flat(config).items()))]
    files = facts.get("files") or []
    shown = [(f["name"], f.get("part", "train"), f.get("bytes"), f.get("blocks")) for f in files[:_SHOWN]]
    lines += ["files", table([("name", "part", "bytes", "blocks"), *shown])]
    if len(files) > _SHOWN:
        lines.append(f"  and {len(files) - _SHOWN} more")
    rest = {k: v for k, v in facts.items() if k not in ("config", "files")}
    rest.update({k: logs.size(v) for k, v in rest.items() if "bytes" in k})
    names = {k: k if k == "n_bytes" else k.replace("_bytes", "") for k in rest}  # sizes have their units with them
    lines += ["plan", table([(names[k].replace("_", " "), _shown(v)) for k, v in rest.items()])]
    return "\n".join(line for line in lines if line)


def _parse(argv: Sequence[str], command: str, example: str) -> argparse.Namespace:
    """Two passes: the first finds the algorithm, whose hyperparameters are options of the second."""
    first = _parser(command, example, None, add_help=False)
    early, rest = first.parse_known_args(first.canonical(argv))
    file = early.config
    tree = conf.read_file(file) if file else {}
    refuse_braces(tree, file or "")
    name = conf.algorithm_name(_positional(rest), os.environ, tree)
    algorithm = load_algorithm(name, conf.solver_name(rest, os.environ, tree)) if name else None
    parser = _parser(command, example, algorithm)
    parser.usage = f"mrml {command} ALGORITHM --data DATA --target COL --output DIR [options]"
    parser.add_argument(
        "run.algorithm",
        metavar="ALGORITHM",
        nargs="?",
        default=argparse.SUPPRESS,
        help="one of " + ", ".join(TABLE) + ", or package.module:Class; "
        "`mrml train ALGORITHM --help` lists its hyperparameters",
    )
    if algorithm is None and any(word.startswith("--") for word in rest if word != "--help"):
        unknown = next(word for word in rest if word.startswith("--"))
        raise ConfigError(f"mrml {command}", f"unknown option {unknown} and no algorithm", _NAME_ONE)
    absent: dict[str, str] = dict(getattr(algorithm, "no_counterpart", {}))
    parser.absent.update({conf.flag_of(n): why for n, why in absent.items()})
    args = parser.read(argv)
    args.absent = absent
    args.known, args.tree, args.has_algorithm = conf.run_options(algorithm), tree, algorithm is not None
    return args


def _parser(command: str, example: str, algorithm: type | None, add_help: bool = True) -> Parser:
    about = {"train": "Train a model.", "config show": "Show every setting of a run and where it comes from."}
    summary = (algorithm.__doc__ or "").strip().splitlines()[:1] if algorithm else []
    parser = Parser(command, example, description="\n".join([about[command], *summary]), add_help=add_help)
    parser.add_argument(
        "--config", metavar="FILE", help="run file (YAML); environment variables and options override it"
    )
    if command == "train":
        parser.add_argument(
            "--dry-run", action="store_true", help="print the plan: what would be read and done; do nothing"
        )
        parser.add_argument(
            "--driver",
            choices=("here", "cluster"),
            default="here",
            help="with -r hadoop: where the driver runs; cluster: in a container, and this machine may be shut down",
        )
    parser.add_options(o for o in conf.run_options(algorithm) if o.key != ("run", "algorithm"))
    return common(parser, "print one JSON object instead of text")


def _positional(rest: Sequence[str]) -> str | None:
    """The algorithm among words that the first pass did not know, hyperparameters and their values included."""
    for i, word in enumerate(rest):
        after_option = i > 0 and rest[i - 1].startswith("-") and "=" not in rest[i - 1]
        if not word.startswith("-") and (not after_option or word in TABLE):
            return word
    return None


def _settings(args: argparse.Namespace) -> conf.Settings:
    if args.has_algorithm:  # without one its hyperparameters are not known
        conf.refuse_unknown_variables(args.known)
    return conf.resolve(args.known, flags(args), os.environ, args.tree, args.config or "", args.absent)


def _config(args: argparse.Namespace) -> RunConfig:
    config = conf.run_config(_settings(args))
    if any(":" in str(config.params.get(name, "")) for name in ("objective", "module")):
        conf.see_current_directory()
    conf.allow_imports(config.engine.allow_import)
    if not config.algorithm:
        raise ConfigError("mrml train", "no algorithm", _NAME_ONE)
    if not config.data.data:
        raise ConfigError("mrml train", "no data", "give --data")
    if not config.output and not args.dry_run:
        raise ConfigError("mrml train", "no output", "give --output DIR")
    if config.resume and config.overwrite:
        raise ConfigError("mrml train", "--resume and --overwrite exclude each other", "give one of them")
    return config


def _by_section(settings: conf.Settings) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (section, name), setting in settings.items():
        found.setdefault(section, {})[name] = {"value": setting.value, "origin": setting.origin}
    return found


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - _SHOWN} more"] if len(value) > _SHOWN else []
        return ", ".join([*map(str, value[:_SHOWN]), *more]) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{k}={_shown(v)}" for k, v in value.items()) or "-"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else logs.number(value) or "-"
