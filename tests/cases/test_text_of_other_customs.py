"""CSV as other programs write it is read with an option that the refusal names, alike on every way of reading."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mrml
from mrml.cli.main import main
from mrml.config.sections import DataConfig
from mrml.data.block import Block
from mrml.data.dataset import Dataset
from mrml.data.formats import csv, textfiles
from mrml.data.formats.lines import Rule, find_records
from mrml.data.open import open_dataset
from mrml.data.windows import n_windows
from mrml.errors import ConfigError, InputError
from mrml.schema import Column, Format
from tests.data.test_fed import fed_text, split_of

#: bytes of a file, a part of what is said of it, and the options that read it
FAULTS: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "Latin-1": ("name,y\nJosé,1\nAna,0\n".encode("latin-1"), "is not UTF-8; use --encoding", {"encoding": "latin-1"}),
    "Windows": ("name,y\n“a”,1\n€,0\n".encode("cp1252"), "is not UTF-8; use --encoding", {"encoding": "cp1252"}),
    "Cyrillic": ("name,y\nмир,1\nда,0\n".encode("koi8-r"), "is not UTF-8; use --encoding", {"encoding": "KOI8-R"}),
    "Japanese": ("name,y\n表|ソ,1\n能,0\n".encode("shift_jis"), "is not UTF-8; use --encoding", {"encoding": "sjis"}),
    "newline": (b'name,y\n"a\nb",1\n"c",0\n', "has a newline inside quotes; use --multiline", {"multiline": True}),
    "newlines": (b'name,y\n"a\n\nb,",1\n"c",0\n', "a newline inside quotes; use --multiline", {"multiline": True}),
    "trailing": (b"a,y\n1,0,\n2,1,\n", "it ends with ','; name every field: --columns a,y,rest",
                 {"columns": ("a", "y", "rest")}),
    "trailing semicolons": (b"a;rest;y\n1;0;0;\n2;3;1;\n", "name every field: --columns a,rest,y,rest0",
                            {"columns": ("a", "rest", "y", "rest0")}),
    "unclosed": (b'name,y\n"a,1\nb,0\n', "still open at its end; close it, or use --quote none", {"quote": "none"}),
    "inches": (b'name,y\n"" 3,1\n"2,0\n', "still open at its end; close it, or use --quote none", {"quote": "none"}),
    "title": (b"Report of May\na,y\n1,0\n2,1\n", "'Report of May', and its columns are named in line 2",
              {"skip_lines": 1}),
    "titles": (b'"Report,\n\na,y\n1,0\n2,1\n', "columns are named in line 3; use --skip-lines 2", {"skip_lines": 2}),
    "many-field title": (b"a,b,c\nx,y\n1,0\n2,1\n", "are named in line 2; use --skip-lines 1", {"skip_lines": 1}),
    "colons": (b"a::y\n1::7\n2::9\n", "has '::' in every line, and was cut at ','; use --delimiter '::'",
               {"delimiter": "::"}),
    "tildes": (b"a~|~y\n1~|~7\n2~|~9\n", "'~|~' in every line, and was cut at '|'; use --delimiter '~|~'",
               {"delimiter": "~|~"}),
    "Spark": (b'text,y\n"he said \\"hi\\", ok",1\n"no",0\n', r"use --escape '\'", {"escape": "\\"}),
    "blanks in the header": (b"a, y\n1, 0\n2, 1\n", "is ' y' in the header, with blanks; use --trim", {"trim": True}),
    "no header": (b"1,0\n2,1\n", "has no header: its columns are c0 to c1; name them with --columns",
                  {"columns": ("a", "y")}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_its_remedy_reads_the_file(name: str, tmp_path: Path) -> None:
    data, said, options = FAULTS[name]
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(InputError) as caught:
        rows_of(open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y")))
    assert said in str(caught.value)
    dataset = open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y", **options))
    assert len(rows_of(dataset)) == 2


def rows_of(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Every column of every row, as it stands in the Blocks."""
    return [row for block in blocks_of(dataset) for row in rows_in(block)]


def blocks_of(dataset: Dataset) -> list[Block]:
    return [block for split in dataset.splits(1 << 20) for part in split for block in dataset.read(part)]


def rows_in(block: Block) -> list[tuple[Any, ...]]:
    texts = [[c.levels[k] if k >= 0 else None for k in c.codes] for c in block.coded.values()]
    columns = [*np.asarray(block.X).T.tolist(), *texts, [] if block.y is None else np.asarray(block.y).tolist()]
    return list(zip(*[c for c in columns if len(c)], strict=True))


def test_a_line_that_says_the_delimiter_is_neither_header_nor_row(tmp_path: Path) -> None:
    for text in ("sep=;\na;y\n1;0\n2;1\n", '"sep=|"\r\na|y\r\n1|0\r\n2|1\r\n', "\ufeffsep=\t\na\ty\n1\t0\n2\t1\n"):
        (tmp_path / "a.csv").write_text(text, newline="")
        dataset = open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y"))
        assert [c.name for c in dataset.schema.columns] == ["a", "y"] and len(rows_of(dataset)) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-7", "cp037", "unicode_escape", "rot13", "nobody"])
def test_encodings_that_line_ends_cannot_cut_are_refused_with_a_remedy(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,0\n2,1\n")
    with pytest.raises(ConfigError) as caught:
        open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), encoding=encoding))
    assert "iconv" in caught.value.remedy or "cp1252" in caught.value.remedy


def test_bytes_that_are_none_of_an_encoding_are_bad_rows_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"name,y\nab,1\n\x81\x81,0\n\x9d,1\ncd,0\n")
    config = DataConfig(data=(str(tmp_path / "a.csv"),), target="y", encoding="cp1252", bad_rows="skip")
    (block,) = blocks_of(open_dataset(config))
    assert block.n_bad == 2 and block.rows.tolist() == [0, 3]
    assert [str(p) for p in block.problems] == [
        f"a.csv, byte {at}, column 'name': is not cp1252; say another --encoding" for at in (12, 17)
    ]


# ---- every way of reading ----

TEXTS = ("", "a", 'say "x"', "\\", "a\\b", 'end\\"', "::", ",", " lead", "trail ", "é", "表ソ", "|", '"', "x;y", "\x1f")
DIALECTS: tuple[dict[str, Any], ...] = (
    {"delimiter": "::"}, {"delimiter": "||", "escape": "\\"}, {"delimiter": ",", "escape": "\\"},
    {"delimiter": ";", "encoding": "cp1252"}, {"delimiter": ",", "encoding": "shift_jis", "escape": "\\"},
    {"delimiter": "~|~", "encoding": "gb18030"}, {"delimiter": ",", "trim": True},
    {"delimiter": "::", "trim": True, "escape": "\\"}, {"delimiter": "\t", "trim": True},
    {"delimiter": ",", "quote": "'"},
)  # fmt: skip


def written(text: str, format: Format, newline_ok: bool = False) -> str:
    """A field as a writer of the dialect quotes it."""
    q, e = format.quote, format.escape
    inside = text.replace(e, e + e).replace(q, e + q) if e else text.replace(q, q + q)
    blanks = "  " if format.trim else ""
    return f"{blanks}{q}{inside}{q}{blanks}".replace("\t", "" if format.delimiter == "\t" else "\t")


def encodable(text: str, encoding: str) -> bool:
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeError:
        return False


@pytest.mark.parametrize("options", DIALECTS, ids=str)
@pytest.mark.parametrize("multiline", [False, True])
@given(
    rows=st.lists(st.lists(st.sampled_from(TEXTS), min_size=3, max_size=3), min_size=1, max_size=5),
    eol=st.integers(0, 1),
)
@settings(max_examples=40)
@example(rows=[list(TEXTS[:3]), list(TEXTS[3:6])], eol=0)
def test_what_a_writer_quotes_is_read_back(
    options: dict[str, Any], multiline: bool, rows: list[list[str]], eol: int
) -> None:
    format_ = Format("csv", header=False, multiline=multiline, na=(), **options)
    rows = [[t if encodable(t, format_.encoding) else "a" for t in row] for row in rows]
    if multiline:
        rows = [[t + "\nb" if len(t) % 2 else t for t in row] for row in rows]
    end = ("\n", "\r\n")[eol]
    text = "".join(format_.delimiter.join(written(t, format_) for t in row) + end for row in rows)
    columns = [Column(name, "categorical", source="string") for name in "abc"]
    found = csv.parse(text.encode(format_.encoding), "abc", columns, format_)
    assert found.n_records == len(rows) and found.n_bad == 0, found.problems
    read = [[v.levels[k] if k >= 0 else "" for k in v.codes] for v in found.columns.values()]  # type: ignore[union-attr]
    expected = [list(c) for c in zip(*rows, strict=True)]
    assert read == [["" if not t.strip(" \t") else t.rstrip("\0") for t in column] for column in expected]


@pytest.mark.parametrize("options", DIALECTS, ids=str)
@given(
    st.lists(st.sampled_from(["a", '"', "'", "\\", ",", ":", ";", "|", "~", " ", "\t", "\n", "\r\n"])).map("".join),
    st.booleans(),
)
@settings(max_examples=60)
def test_a_record_is_the_same_whatever_lies_around_it(options: dict[str, Any], text: str, multiline: bool) -> None:
    format_ = Format("csv", header=False, multiline=multiline, na=(), **options)
    data = text.encode()
    columns = [Column(name, "categorical", source="string") for name in "ab"]
    spans = find_records(data, Rule.of(format_))
    whole = csv.parse(data, "ab", columns, format_)
    parts = [csv.parse(data[a:b], "ab", columns, format_) for a, b in zip(spans.starts, spans.nexts, strict=True)]
    assert whole.n_records == len(parts) and whole.rows.tolist() == [i for i, p in enumerate(parts) if not p.n_bad]
    assert [p.offset for p in whole.problems] == [
        int(s) + q.offset for s, p in zip(spans.starts, parts, strict=True) for q in p.problems
    ][:10]


def rows_written(options: dict[str, Any], folder: Path, compressed: bool) -> tuple[Path, list[str]]:
    """A file of 200 rows with two lines of title, its second line long, and its texts."""
    format_ = Format("csv", **options)
    texts = [t for t in TEXTS if encodable(t, format_.encoding)]
    names = [texts[i % len(texts)] + str(i) for i in range(200)]
    lines = [[written(name, format_), str(i % 2), "" if i % 9 else "5"] for i, name in enumerate(names)]
    title = ['"A title', "of two lines" + "." * 200]
    data = "\n".join([*title, *map(format_.delimiter.join, lines), ""]).encode(format_.encoding)
    path = folder / ("a.csv.gz" if compressed else "a.csv")
    path.write_bytes(gzip.compress(data) if compressed else data)
    return path, names


@pytest.mark.parametrize("options", DIALECTS, ids=str)
@pytest.mark.parametrize("way", ["windows", "fed", "in order", "compressed"])
def test_every_way_of_reading_gives_the_same_rows(options: dict[str, Any], way: str, tmp_path: Path) -> None:
    path, names = rows_written(options, tmp_path, way == "compressed")
    config = DataConfig(data=(str(path),), columns=("name", "y", "z"), skip_lines=2, window_bytes=128, target="y",
                        categorical=("name",), header=False, multiline=way == "in order", na=("",),
                        **options)  # fmt: skip
    dataset = open_dataset(config)
    if way == "fed":
        data = path.read_bytes()
        head, n = textfiles.head(dataset.files[0], dataset.schema), n_windows(len(data), 128)
        blocks: list[Block] = []
        for first, stop in itertools.pairwise([0, 1, 2, 7, n]):
            split = split_of(data, 128, first, stop)
            blocks += dataset.fed(0, head, split.windows(iter([fed_text(data, split.start, split.end)])))
    else:
        blocks = blocks_of(dataset)
    assert len(blocks) > 10 and sum(block.n_bad for block in blocks) == 0
    found = [row[1:] for block in blocks for row in rows_in(block)]
    assert found == [(name, i % 2) for i, name in enumerate(names)]


def test_a_model_reads_other_files_as_it_was_taught_on_every_engine(tmp_path: Path) -> None:
    options: dict[str, Any] = {"delimiter": "::", "encoding": "cp1252", "escape": "\\"}
    path, names = rows_written(options, tmp_path, False)
    said = dict(options, columns=["name", "y", "z"], skip_lines=2, header=False, exclude=["z"], window_bytes=512)
    for engine in ("inline", "local", "streaming"):
        mrml.Logistic().fit(path, target="y", engine=engine, output=tmp_path / engine, **said)
    first, *others = [(tmp_path / e / "model.npz").read_bytes() for e in ("inline", "local", "streaming")]
    assert all(other == first for other in others)
    model = mrml.load(tmp_path / "local")
    assert len(model.predict(path)) == len(names)


def test_a_model_takes_a_header_of_other_files_by_its_names_not_by_their_places(tmp_path: Path) -> None:
    rows = [(i % 5, i % 3, i % 2) for i in range(60)]
    (tmp_path / "bare.csv").write_text("".join(f"{a},{b},{y}\n" for a, b, y in rows))
    (tmp_path / "named.csv").write_text("b,y,a\n" + "".join(f"{b},{y},{a}\n" for a, b, y in rows))
    trained = open_dataset(DataConfig(data=(str(tmp_path / "bare.csv"),), columns=("a", "b", "y"), target="y"))
    other = open_dataset(DataConfig(data=(str(tmp_path / "named.csv"),)), schema=trained.schema)
    assert rows_of(other) == rows_of(trained)
    with pytest.raises(InputError, match=r"column 'b': is in another place than among a, b, y"):
        config = DataConfig(data=(str(tmp_path / "named.csv"),), columns=("a", "b", "y"), target="y")
        rows_of(open_dataset(config))


def test_blanks_that_are_kept_are_told_and_trim_takes_them_away(tmp_path: Path) -> None:
    text = "a,job,y\n" + "".join(f"{i}, {'uvw'[i % 3]} , {'no' if i % 2 else '>50K'}\n" for i in range(60))
    (tmp_path / "adult.csv").write_text(text)
    model = mrml.Logistic().fit(tmp_path / "adult.csv", target="y", engine="inline")
    assert "column 'job': texts with blanks around them, which are kept: --trim takes them away" in model.facts["notes"]
    assert "column 'y': texts with blanks around them, which are kept: --trim takes them away" in model.facts["notes"]
    dataset = open_dataset(DataConfig(data=(str(tmp_path / "adult.csv"),), target="y", trim=True))
    (block,) = blocks_of(dataset)
    assert block.coded["job"].levels.tolist() == ["u", "v", "w"] and not dataset.notes


def test_backslashes_before_quotes_that_do_no_harm_to_the_fields_are_told(tmp_path: Path) -> None:
    """As ``"a \\"b\\" c"``, which is one field either way."""
    text = "t,y\n" + "".join(f'"{"uvw"[i % 3]} \\"b\\" c",{i % 2}\n' for i in range(60))
    (tmp_path / "a.csv").write_text(text)
    notes = open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y")).notes
    assert any("column 't': backslashes before quotes, which are kept: --escape" in note for note in notes)
    dataset = open_dataset(DataConfig(data=(str(tmp_path / "a.csv"),), target="y", escape="\\"))
    assert rows_of(dataset)[0][0] == 'u "b" c' and not dataset.notes


def test_formats_without_new_options_are_written_as_before() -> None:
    plain = dataclasses.asdict(Format())
    from mrml.schema import Schema

    kept = set(Schema((), Format()).to_json()["format"])
    spelling = {"decimal", "thousands", "units", "date_format"}
    assert set(plain) - kept == {"encoding", "escape", "skip_lines", "columns", "trim"} | spelling
    said = Format(encoding="cp1252", escape="\\", skip_lines=2, columns=("a",), trim=True)
    assert Schema.from_json(Schema((), said).to_json()).format == said


@pytest.mark.parametrize("n_lines", [3, 9])
def test_a_file_all_of_whose_lines_are_skipped_is_told(n_lines: int, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    assert main(["schema", str(path), f"--skip-lines={n_lines}"]) == 3
    told = capsys.readouterr()
    assert f"rows.csv: has no line after the {n_lines} that are skipped" in told.err and not told.out
