"""Data, models and run directories altered at random: right, or refused with exit code 2, 3 or 4, and never a hang.

Seeded, so that a failure names the seed that shows it again.  Each command runs in this process under an alarm.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.cli.main import main

#: seconds that a command may take; they take 0.05, or 15 where the first one compiles kernels on a busy machine
LIMIT_S = 60
SEEDS, EACH = range(12), 13

TEXTS = (
    "", '"', '""', '"a', 'a"b', "\x00", "\ufeff", "é", "1e999", "-1e400", "nan", "inf", "1" * 400, "9" * 20,
    "99999-01-01", "0000-00-00", "2023-02-30", "2023-01-01T00:00:00 Mars/City", "2023-01-01T00:00:00+99:99",
    "9999-12-31 23:59:59.9999999", "1677-09-21", "\r", "\n", "\r\n", ",", ",,", ";", "\t", "1,2", "#", "0x1F", "1_000",
    "１", "−5", "=1+1", "x" * 70_000, "\x1a", "\u2028", "\x85", "::", "1 2", "1:2",
)  # fmt: skip
VALUES = (
    "[" * 100_000, '{"a":' * 50_000, "1" * 400, "-" + "9" * 30, "1e999", "-1e400", "NaN", "Infinity", '"\\ud800"',
    '"\\udfff x"', "{}", "[]", "[1,2]", '{"a":1}', '"\\u0000"', "true", "null", '""', '"a"', "1.5", "0x10", "'a'",
    "18446744073709551616", "12345678901234567890123456789", '"99999-01-01"', '"2023-01-01T00:00:00 Mars/City"',
    '"2023-13-45"', '"1677-01-01"', '"9999-12-31T23:59:59.9999999"', "1E5000",
)  # fmt: skip
PAIRS = (
    "0:1", "2147483646:1", "2147483648:1", "99999999999999999999:1", "1e9:1", "-1:1", "1:", "1:x", ":1", "1:nan",
    "1:inf", "1:1e999", "qid:5", "qid:-1", "qid:18446744073709551617", "1:1:1", "#", "# c", "a", "1:1 1:1", "1.5:1",
    "0x10:1", "1:0x10", "\x00", "1:1\r", "1" * 400 + ":1", "1:" + "1" * 400,
)  # fmt: skip
ODD: dict[str, tuple[str, ...]] = {"csv": TEXTS, "jsonl": VALUES, "libsvm": PAIRS}


class Late(BaseException):
    """A command that did not end."""


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.signal(signal.SIGALRM, before)


def code_of(*words: str) -> int | str:
    """The exit code of a command, or "late"."""
    signal.alarm(LIMIT_S)
    try:
        return main(list(words))
    except Late:
        return "late"
    finally:
        signal.alarm(0)


# ---- data


def lines_of(kind: str, rng: random.Random) -> list[str]:
    if kind == "csv":
        row = "{a:.3f},{b},2023-01-{t:02d}T00:00:00Z,{y}"
    else:
        row = (
            '{{"a": {a:.3f}, "b": "{b}", "t": "2023-01-{t:02d}", "y": {y}}}'
            if kind == "jsonl"
            else "{y} 1:{a:.3f} {t}:1"
        )
    rows = [row.format(a=rng.random(), b="uvw"[k % 3], t=k % 28 + 2, y=k % 2) for k in range(30)]
    return (["a,b,t,y"] if kind == "csv" else []) + rows


def with_odd_value(kind: str, line: str, rng: random.Random) -> str:
    odd = rng.choice(ODD[kind])
    if kind == "jsonl":
        key = rng.choice("abty")
        return re.sub(rf'("{key}": )[^,}}]*', lambda found: found[1] + odd, line, count=1)
    delimiter = "," if kind == "csv" else " "
    fields = line.split(delimiter)
    fields[rng.randrange(len(fields))] = odd
    return delimiter.join(fields)


def altered(kind: str, rng: random.Random) -> bytes:
    """A file of a kind with some values, lines or bytes changed, or its end lost."""
    lines, how = lines_of(kind, rng), rng.choice(("value", "value", "values", "bytes", "cut", "insert", "twice"))
    for _ in range({"value": 1, "values": 8}.get(how, 0)):
        i = rng.randrange(len(lines))
        lines[i] = with_odd_value(kind, lines[i], rng)
    if how == "insert":
        lines.insert(rng.randrange(len(lines)), rng.choice(ODD[kind]))
    if how == "twice":
        lines[5:5] = lines[: rng.randrange(5)]
    data = bytearray("\n".join([*lines, ""]).encode())
    return bytes(
        with_other_bytes(data, rng) if how == "bytes" else data[: rng.randrange(len(data))] if how == "cut" else data
    )


def with_other_bytes(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return data


def parquet(path: Path, rng: random.Random) -> bytes:
    columns = {"a": [k / 2 for k in range(60)], "b": ["uvw"[k % 3] for k in range(60)], "y": [k % 2 for k in range(60)]}
    pq.write_table(pa.table(columns), path)
    return bytes(with_other_bytes(bytearray(path.read_bytes()), rng))


@pytest.mark.parametrize("seed", SEEDS)
def test_altered_data_is_read_or_refused(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(EACH):
        rng = random.Random(1000 * seed + number)
        kind = rng.choice(("csv", "jsonl", "libsvm", "parquet"))
        path = tmp_path / f"in.{kind}"
        path.write_bytes(parquet(path, rng) if kind == "parquet" else altered(kind, rng))
        words = [
            "--data",
            str(path),
            "--engine",
            "inline",
            "--output",
            str(tmp_path / "m"),
            "--overwrite",
            "--bad-rows",
        ]
        words += [rng.choice(("fail", "skip")), *([] if kind == "libsvm" else ["--target", "y"])]
        name = rng.choice((["logistic"], ["linear"], ["boosting", "--num-trees", "2"]))
        codes = code_of("schema", str(path)), code_of("train", *name, *words)
        said = capsys.readouterr().err
        assert codes[0] in (0, 2, 3) and codes[1] in (0, 2, 3), (seed, number, kind, name, codes, said[-500:])


# ---- models and run directories

JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, float("inf"), 2**70, "", "x", [], {}, [[]], {"a": 1}, "os:system", [1, 2, 3], "9" * 400, -5.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[str], Path]]:
    """By algorithm: its directory, its options, and the data."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "in.csv"
    data.write_text("a,b,y\n" + "".join(f"{k * 7 % 13},{'uvw'[k % 3]},{k % 2}\n" for k in range(40)))
    options = {
        "logistic": ["--max-rounds", "2"],
        "boosting": ["--num-trees", "3"],
        "linear": [],
        "mlp": ["--epochs", "1"],
    }
    for name, more in options.items():
        assert main(["train", name, "--data", str(data), "--target", "y", "--engine", "inline",
                     "--output", str(folder / name), *more]) in (0, 6)  # fmt: skip
    return {name: (folder / name, more, data) for name, more in options.items()}


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_in(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    at = value
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return value


def with_odd_json(file: Path, rng: random.Random) -> str:
    value = json.loads(file.read_text())
    path, new = rng.choice(list(paths_in(value))), rng.choice(JSON_VALUES)
    file.write_text(json.dumps(replaced(value, path, new)))
    return f"{file.name}: {path} = {new!r:.40}"


def with_odd_file(file: Path, rng: random.Random) -> str:
    """Something else in the place of a file."""
    how, data = (
        rng.choice(("folder", "pipe", "loop", "empty", "gone", "deep", "bytes", "cut", "twice")),
        file.read_bytes(),
    )
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "loop":
        file.symlink_to(file.name)
    elif how != "gone":
        other = bytes(with_other_bytes(bytearray(data or b"x"), rng))
        file.write_bytes(
            {"empty": b"", "deep": b"[" * 200_000, "cut": data[: len(data) // 2], "twice": 2 * data}.get(how, other)
        )
    return f"{file.name}: {how}"


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_models_and_runs_are_read_or_refused(
    seed: int, trained: dict[str, tuple[Path, list[str], Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(EACH):
        rng = random.Random(5000 + 1000 * seed + number)
        name = rng.choice(sorted(trained))
        source, options, data = trained[name]
        model = tmp_path / str(number)
        shutil.copytree(source, model)
        files = sorted(f for f in model.rglob("*") if f.is_file())
        plain = [f for f in files if f.suffix == ".json"]
        what = with_odd_json(rng.choice(plain), rng) if rng.random() < 0.5 else with_odd_file(rng.choice(files), rng)
        rows = ["--data", str(data), "--engine", "inline"]
        command = rng.choice((
            ["inspect", str(model)], ["predict", str(model), *rows, "--output", str(tmp_path / "p"), "--overwrite"],
            ["evaluate", str(model), *rows], ["runs", "show", str(model)], ["runs", "list", str(model)],
            ["train", name, *rows, "--target", "y", "--output", str(model), "--resume", *options],
        ))  # fmt: skip
        code = code_of(*command)
        said = capsys.readouterr().err
        assert code in (0, 2, 3, 4) or (code == 6 and "--max-rounds" in options), (
            seed,
            number,
            what,
            command,
            said[-500:],
        )


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "deep"])
@pytest.mark.parametrize("name", ["model.json", "model.npz"])
def test_something_else_in_the_place_of_a_model_is_told(
    kind: str,
    name: str,
    trained: dict[str, tuple[Path, list[str], Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained["linear"][0], tmp_path / "m")
    file = tmp_path / "m" / name
    file.unlink()
    makers: dict[str, Any] = {
        "pipe": lambda: os.mkfifo(file), "folder": file.mkdir, "loop": lambda: file.symlink_to(file.name),
        "deep": lambda: file.write_bytes(b"[" * 200_000),
    }  # fmt: skip
    makers[kind]()
    assert code_of("inspect", str(tmp_path / "m")) == 3
    said = capsys.readouterr().err
    assert str(tmp_path / "m") in said and "; copy it again" in said


def test_a_pipe_among_the_data_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("x,y\n1,0\n2,1\n")
    assert code_of("schema", str(tmp_path)) == 0
    assert code_of("schema", str(tmp_path / "a.csv")) == 3
    assert "every file is empty" in capsys.readouterr().err
