"""Bad input, told by the commands: a place, a finding and a remedy, the exit code, and nothing written anywhere."""

from __future__ import annotations

import builtins
import errno
import gzip
import io
import itertools
import json
import math
import os
import random
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrml.cli.main import main
from mrml.runs import directory

from .conftest import Place

TRAIN = ("train", "logistic", "--data", "d", "--target", "y", "--output", "m", "--engine", "inline")


def rows(n: int = 40, header: str = "a,b,y\n", seed: int = 1) -> str:
    """Lines ``number,category,label`` that a line does not separate."""
    rng = random.Random(seed)
    lines = (f"{rng.gauss(0, 1):.3f},{'uvw'[i % 3]},{rng.choice(['no', 'yes'])}\n" for i in range(n))
    return header + "".join(lines)


# ---- files and columns

R = rows()
END = len(R)
NUMBER = "a.csv, byte {}, column 'a': 'x1' is not a number; add na: [\"x1\"] under data"
NO_FILE = "names that begin with _ or ., or end in .crc, .tmp, ~ and the like, are skipped: rename them"
OPEN = "has a quote that is still open at its end"
AS_UTF_8 = "use --encoding cp1252, latin-1 or what it is, or save the file as UTF-8"
UTF_8 = f"a.csv, byte {END}, column 'b': is not UTF-8; {AS_UTF_8}"
CLOSE = "close it, or use --quote none where quotes are characters like others"
LATIN = R.encode() + "1.5,é,no\n".encode("latin-1")
MEND = "mend or leave out such rows, or set bad_rows: skip under data"
NO_WEIGHT = f"is null, negative or not finite; {MEND}"
WEIGHTS = "a,w,y\n" + "1.5,2,no\n2.5,3,yes\n0.5,1,yes\n" * 9
SVM = "".join(f"{i % 2} 1:{i % 5} 3:{(i * i) % 7}\n" for i in range(20))
INFINITE = "holds infinity, or numbers too large to square; " + (
    'add na: ["inf"] under data, or leave the column out with --exclude'
)
AGAIN = "write it again, or leave it out"


def parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


NUMBERS, LABELS = [float(i * i % 7) for i in range(40)], ["no", "yes", "yes", "no", "yes"] * 8
P = parquet(a=NUMBERS, y=LABELS)


class Trap(NamedTuple):
    """What lies below the current directory, what is said besides the usual, and how it ends."""

    name: str
    files: dict[str, str | bytes]
    message: str
    argv: tuple[str, ...] = ()
    code: int = 3
    usual: tuple[str, ...] = TRAIN


def svm(*algorithm: str) -> tuple[str, ...]:
    return ("train", *(algorithm or ("logistic",)), "--data", "d", "--output", "m", "--engine", "inline")


LINEAR = ("train", "linear", *TRAIN[2:])
POISSON = ("train", "poisson", *TRAIN[2:])
KMEANS = ("train", "kmeans", "--data", "d", "--output", "m", "--engine", "inline")
ELSEWHERE = ("train", "logistic", "--target", "y", "--output", "m", "--engine", "inline")

FILES = (
    Trap("a path where nothing is", {}, "d: there is no such file or directory; check the path"),
    Trap("a pattern that matches nothing", {"d/a.csv": R}, "d/*.tsv: matches no file; quote the pattern and check it "
         "with ls", ("--data", "d/*.tsv"), 3, ELSEWHERE),
    Trap("what Hadoop and Spark leave", {"d/_SUCCESS": "", "d/_committed_7": "{}", "d/.a.csv.crc": "x", "d/b.crc": "x"},
         f"d: has no data file; {NO_FILE}"),
    Trap("empty part files only", {"d/a.csv": "", "d/b.csv": ""},
         "d: has no rows: every file is empty; give files with rows"),
    Trap("a header and nothing else", {"d/a.csv": "a,b,y\n"}, "a.csv: no row below the header; give files with rows"),
    Trap("headers and nothing else", {"d/a.csv": "a,b,y\n", "d/b.csv": "a,b,y\n"},
         "2 files from a.csv on: no row below the header; give files with rows"),
    Trap("Parquet without rows", {"d/a.parquet": parquet(a=NUMBERS[:0], y=LABELS[:0])},
         "d: has no row; give files with rows"),
    Trap("a scheme that nothing reads", {},
         "s3://b/k: nothing here reads s3:// paths; copy the files to a local disk or to HDFS",
         ("--data", "s3://b/k"), 2, ELSEWHERE),
    Trap("two formats", {"d/a.csv": R, "d/b.parquet": P},
         "b.parquet: is parquet, and a.csv is csv; give files of one format, or say which with --format"),
    Trap("a format nobody reads", {"d/a.orc": b"ORC"}, "a.orc: mrml reads no .orc files; write it as Parquet"),
    Trap("one file twice", {"d/a.csv": R}, "{here}/d/a.csv: is named by two inputs: its rows would count twice; "
         "name it once", ("--data", "d/a.csv")),
    Trap("no data", {}, "mrml train: no data; give --data", (), 2, ELSEWHERE),
    Trap("no target", {"d/a.csv": R}, "data, target: logistic needs one; name it with --target COLUMN", (), 2, svm()),
    Trap("another type in one Parquet part", {"d/a.parquet": P, "d/b.parquet": parquet(a=LABELS, y=LABELS)},
         "b.parquet, column 'a': is string here and double in a.parquet; write all files with one type"),
    Trap("a column that one Parquet part lacks", {"d/a.parquet": P, "d/b.parquet": parquet(b=NUMBERS, y=LABELS)},
         "b.parquet, column 'a': is missing; known: b, y"),
    Trap("a footer with other bytes", {"d/a.parquet": P, "d/b.parquet": P[:-8] + b"\xff\xff\xff\x7fPAR1"},
         f"b.parquet: cannot be read as Parquet: Parquet file size is {len(P)} bytes, smaller than the size reported "
         f"by footer's (2147483647bytes); {AGAIN}"),
    Trap("half a Parquet file", {"d/a.parquet": P, "d/b.parquet": P[: len(P) // 2]},
         "b.parquet: cannot be read as Parquet: Parquet magic bytes not found in footer. Either the file is corrupted "
         f"or this is not a parquet file.; {AGAIN}"),
    Trap("half a gzip file", {"d/a.csv.gz": gzip.compress(rows(900).encode())[:-100]},
         "a.csv.gz: cannot be read as gz: Compressed file ended before the end-of-stream marker was reached; "
         "copy it again"),
    Trap("what is not a gzip file", {"d/a.csv.gz": R},
         "a.csv.gz: cannot be read as gz: Not a gzipped file (b'a,'); copy it again"),
    Trap("gzip under another name", {"d/a.csv": gzip.compress(R.encode())}, "a.csv: is gzip by its first bytes, and "
         "its name does not end in .gz; rename it, or convert it to UTF-8 text or Parquet"),
    Trap("UTF-16", {"d/a.csv": R.encode("utf-16")}, "a.csv: is UTF-16; rename it, or convert it to UTF-8 text or "
         "Parquet"),
    Trap("partitions of another table", {"d/c=1/a.csv": R, "d/e=2/b.csv": R},
         "e=2/b.csv: has the partition columns e, and c=1/a.csv has c; give files of one table"),
    Trap("partitions and none", {"d/c=1/a.csv": R, "d/b.csv": R},
         "c=1/a.csv: has the partition columns c, and b.csv has none; give files of one table"),
    Trap("a group over two files", {"d/a.csv": "q,a,y\n1,0.5,no\n1,0.7,yes\n2,0.1,no\n", "d/b.csv": "q,a,y\n2,3,no\n"},
         "b.csv, column 'q': group '2' begins in a.csv and goes on here; write each group into one file",
         ("--group", "q")),
)  # fmt: skip

BLANK = (
    "a.csv: its first line is blank, and it is there that the columns are named; delete the lines above the column "
    "names, or use --header false"
)
COLUMNS = (
    Trap("a column that one part lacks", {"d/a.csv": R, "d/b.csv": rows(5, "b,y,c\n")},
         "b.csv, column 'a': is missing; known: b, c, y"),
    Trap("a blank line above the column names", {"d/a.csv": "\n" + R}, BLANK),
    Trap("spaces above the column names", {"d/a.csv": "  \n" + R}, BLANK),
    Trap("a part with a blank line above its column names", {"d/a.csv": R, "d/b.csv": "\r\n" + R}, "b" + BLANK[1:]),
    Trap("a column that one part spells otherwise", {"d/a.csv": R, "d/b.csv": rows(5, "a,bb,y\n")},
         "b.csv, column 'b': is missing; did you mean 'bb'?"),
    Trap("a part without a header", {"d/a.csv": R, "d/b.csv": rows(5, "")},
         "b.csv: its first line, '1.288, u, no', names no column that is wanted; every file begins with the column "
         "names, or with --header false none"),
    Trap("a column twice", {"d/a.csv": rows(header="a,a,y\n")},
         "a.csv, column 'a': occurs twice; rename one, or give --header false"),
    Trap("an unknown target", {"d/a.csv": rows(header="a,b,churned\n")},
         "column 'churn': is not in the data; did you mean 'churned'?", ("--target", "churn")),
    Trap("an unknown weight", {"d/a.csv": rows(header="weihgt,b,y\n")},
         "column 'weight': is not in the data; did you mean 'weihgt'?", ("--weight", "weight")),
    Trap("an unknown feature", {"d/a.csv": rows(header="age,b,y\n")},
         "column 'agee': is not in the data; did you mean 'age'?", ("--features", "agee,b")),
    Trap("an unknown exclusion", {"d/a.csv": R}, "column 'c': is not in the data; known: a, b, y", ("--exclude", "c")),
    Trap("a column with two roles", {"d/a.csv": R}, "data, weight: column 'y' is the target already; name another "
         "column", ("--weight", "y"), 2),
    Trap("a weight of texts", {"d/a.csv": R}, "column 'b': is categorical and cannot be the weight; name a column of "
         "numbers", ("--weight", "b")),
    Trap("no features", {"d/a.csv": R}, "schema: no column is a feature; give columns role feature in the schema file",
         ("--exclude", "a,b")),
    Trap("to hash a column of numbers", {"d/a.csv": R}, "data, hash: column 'a' is numeric; hash categorical columns",
         ("--hash", "a"), 2),
    Trap("one class", {"d/a.csv": R.replace("yes", "no")},
         "column 'y': holds only one class, 'no'; at least two are needed"),
    Trap("three classes", {"d/a.csv": R + "1,u,maybe\n"},
         "column 'y': logistic needs a target of 2 classes, here are 3; use softmax", (), 2),
    Trap("a target of texts for linear", {"d/a.csv": R}, "column 'y': is categorical, and linear needs numbers; use "
         "logistic for two classes, softmax for more, or name another --target", (), 2, LINEAR),
    Trap("a count below zero", {"d/a.csv": "a,y\n1,2\n2,0\n\n3,-1\n"}, "a.csv, block 0, row 2: its target is negative, "
         "which no count is; use linear, or repair these rows", (), 3, POISSON),
    Trap("a label that only validation has", {"d/a.csv": R, "v.csv": R + "1,u,maybe\n"},
         "v.csv, block 0, row 40, column 'y': label 'maybe' was not in the training data (no, yes); leave those rows "
         "out, or train with them", ("--valid", "v.csv")),
    Trap("weights of zero", {"d/a.csv": "a,w,y\n" + "1,0,no\n2,0,yes\n" * 9},
         "training data: no row has a weight above 0; check the data and its weight column", ("--weight", "w")),
    Trap("infinity", {"d/a.csv": "a,y\n1,2\ninf,3\n4,5\n2,2\n"}, f"column 'a': {INFINITE}", (), 3, LINEAR),
    Trap("numbers whose squares are infinite", {"d/a.csv": "b,a,y\n1,2,2\n2,1e308,3\n3,-1e308,5\n"},
         f"column 'a': {INFINITE}", (), 3, LINEAR),
    Trap("infinity among clusters", {"d/a.csv": "a,y\n1,2\n3,-inf\n4,5\n2,2\n"}, f"column 'y': {INFINITE}",
         ("--k", "2"), 3, KMEANS),
    Trap("a target that is infinite", {"d/a.csv": "a,y\n1,2\n3,inf\n4,5\n2,2\n"},
         f"a.csv, byte 8, column 'y': is null or not finite; {MEND}", (), 3, LINEAR),
    Trap("fewer rows than clusters", {"d/a.csv": "a,b\n1,2\n1,2\n3,4\n"}, "algorithm, k: k is 8, but the data holds "
         "only 2 different rows of positive weight; set k to at most 2", (), 3, KMEANS),
)  # fmt: skip

RECORDS = (
    Trap("a bad number at a known byte", {"d/a.csv": R + "x1,u,no\n"}, NUMBER.format(END)),
    Trap("a bad number in a later window", {"d/a.csv": R + "x1,u,no\n"}, NUMBER.format(END), ("--window-bytes", "64")),
    Trap("a bad number behind a byte order mark", {"d/a.csv": "\ufeff" + R + "x1,u,no\n"}, NUMBER.format(END + 3)),
    Trap("a bad number behind CRLF", {"d/a.csv": R.replace("\n", "\r\n") + "x1,u,no\r\n"}, NUMBER.format(END + 41)),
    Trap("a bad number in a compressed file", {"d/a.csv.gz": gzip.compress((R + "x1,u,no\n").encode())},
         NUMBER.format(END).replace("a.csv", "a.csv.gz")),
    Trap("a record with too many fields", {"d/a.csv": R + "1,u,no,no\n"},
         f"a.csv, byte {END}: has 4 fields, the header names 3; quote what holds ',', or say another --delimiter"),
    Trap("a record with too few fields", {"d/a.csv": R + "1,u\n"},
         f"a.csv, byte {END}: has 2 fields, the header names 3; quote what holds ',', or say another --delimiter"),
    Trap("a newline in quotes", {"d/a.csv": R + '1,"u\nv",no\n'},
         f"a.csv, byte {END}: has a newline inside quotes; use --multiline"),
    Trap("an open quote in multiline", {"d/a.csv": R + '1,"u\nv,no\n'}, f"a.csv, byte {END}: {OPEN}; {CLOSE}",
         ("--multiline",)),
    Trap("bytes that are not UTF-8", {"d/a.csv": LATIN}, UTF_8),
    Trap("more bad rows than the limit", {"d/a.csv": LATIN + b"1,\xff,no\n" * 2},
         f"data: 3 malformed rows, the limit is 2; the first: {UTF_8}; raise --max-bad-rows, or fix the data",
         ("--bad-rows", "skip", "--max-bad-rows", "2")),
    Trap("a null target", {"d/a.csv": R + "1,u,\n"}, f"a.csv, byte {END}, column 'y': is null; {MEND}"),
    Trap("a negative weight", {"d/a.csv": WEIGHTS + "1,-2,no\n"},
         f"a.csv, byte {len(WEIGHTS)}, column 'w': {NO_WEIGHT}", ("--weight", "w")),
    Trap("a weight that is NaN", {"d/a.csv": WEIGHTS + "1,NaN,no\n"},
         f"a.csv, byte {len(WEIGHTS)}, column 'w': {NO_WEIGHT}", ("--weight", "w")),
    Trap("a weight that is NaN in Parquet", {"d/a.parquet": parquet(a=NUMBERS, w=[1.0, float("nan")] * 20, y=LABELS)},
         f"a.parquet, row 1, column 'w': {NO_WEIGHT}", ("--weight", "w")),
    Trap("a line that is not JSON", {"d/a.jsonl": '{"a": 1, "y": "no"}\n{"a": 2, "y": "yes"\n'},
         "a.jsonl, byte 20: is not JSON (Expecting ',' delimiter); write one JSON object a line"),
    Trap("a value that is not a number in LibSVM", {"d/a.libsvm": SVM + "1 2:x\n"},
         f"a.libsvm, byte {len(SVM)}: '2:x' is not index:value; LibSVM data holds numbers only", (), 3, svm()),
    Trap("an index below the first", {"d/a.libsvm": SVM + "1 0:3\n"},
         f"a.libsvm, byte {len(SVM)}: index '0' is below 1; set index_base: 0 under data", ("--index-base", "1"), 3,
         svm()),
)  # fmt: skip

WEIGHT = "d/a.libsvm.weight"
SIDES = (
    Trap("too few weights", {"d/a.libsvm": SVM, WEIGHT: "1\n" * 19}, "a.libsvm.weight: is for 19 rows, the data file "
         "has more than 19; write the side file anew, or move it away", (), 3, svm()),
    Trap("too many weights", {"d/a.libsvm": SVM, WEIGHT: "1\n" * 21}, "a.libsvm.weight: is for 21 rows, the data file "
         "has 20; write the side file anew, or move it away", (), 3, svm()),
    Trap("weights that are none", {"d/a.libsvm": SVM, WEIGHT: "1\n" * 19 + "x\n"}, "a.libsvm.weight: contains "
         "something other than numbers: could not convert string to float: b'x'; give one number a line", (), 3, svm()),
    Trap("a negative weight beside", {"d/a.libsvm": SVM, WEIGHT: "1\n" * 19 + "-1\n"},
         f"a.libsvm, byte {len(SVM) - 10}, column '.weight': {NO_WEIGHT}", (), 3, svm()),
    Trap("weights beside one of two files", {"d/a.libsvm": SVM, WEIGHT: "1\n" * 20, "d/b.libsvm": SVM},
         "b.libsvm: has no .weight file beside it, and other files have; give every file one, or move them away",
         (), 3, svm()),
    Trap("queries of fewer rows", {"d/a.libsvm": SVM, "d/a.libsvm.query": "10\n9\n"}, "a.libsvm.query: is for 19 rows, "
         "the data file has more than 19; write the side file anew, or move it away", (), 3, svm()),
)  # fmt: skip
TRAPS = (*FILES, *COLUMNS, *RECORDS, *SIDES)


@pytest.mark.parametrize("trap", TRAPS, ids=[t.name for t in TRAPS])
def test_bad_input_is_told_and_nothing_is_written(place: Place, trap: Trap) -> None:
    place.put(trap.files)
    place.refused(trap.code, trap.message.replace("{here}", str(place.here)), *trap.usual, *trap.argv)


def test_an_empty_directory_is_told_from_none(place: Place) -> None:
    (place.here / "d").mkdir()
    place.refused(3, "d: is an empty directory; check the path", *TRAIN)


def test_a_file_that_may_not_be_read_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read every file: then the one system call that opens it says what it says to others."""
    place.put({"d/a.csv": R})
    path = place.here / "d/a.csv"
    if os.getuid():
        path.chmod(0)
    else:
        genuine = builtins.open

        def denied(file: Any, *more: Any, **named: Any) -> Any:
            if str(file) == str(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
            return genuine(file, *more, **named)

        monkeypatch.setattr(builtins, "open", denied)
        monkeypatch.setattr(io, "open", denied)
    done = place(*TRAIN, "-q")
    assert done == (3, "", "error: a.csv: cannot be read: Permission denied; copy it again\n")
    assert not (place.here / "m").exists() and not list(place.tmp.iterdir())


# ---- what a run that fails leaves


def test_a_run_that_fails_before_its_second_round_leaves_nothing_and_can_be_said_again(place: Place) -> None:
    place.put({"d/a.csv": rows() + "x1,u,no\n"})
    message = f"a.csv, byte {len(rows())}, column 'a': 'x1' is not a number; add na: [\"x1\"] under data"
    place.refused(3, message, *TRAIN[:7], "deep/er/m", *TRAIN[8:])
    assert place(*TRAIN, "--bad-rows", "skip").code == 0


def test_a_run_that_fails_leaves_the_model_it_was_to_replace(place: Place) -> None:
    place.put({"d/a.csv": rows(), "e/a.csv": rows().replace("yes", "no")})
    assert place(*TRAIN).code == 0
    before = place.model()
    done = place("train", "logistic", "--data", "e", *TRAIN[4:], "--overwrite", "-q")
    assert done == (3, "", "error: column 'y': holds only one class, 'no'; at least two are needed\n")
    assert place.model() == before and place("evaluate", "m", "--data", "d", "--engine", "inline").code == 0


def test_an_output_that_cannot_be_made_is_2(place: Place) -> None:
    place.put({"d/a.csv": rows(), "f": "a file"})
    message = "output f/m: cannot be made: Not a directory; name another --output"
    place.refused(2, message, *TRAIN[:7], "f/m", *TRAIN[8:])


# ---- outputs that are there


PREDICT = ("predict", "m", "--data", "d", "--engine", "inline", "--output")


def test_predictions_replace_predictions_and_nothing_else(place: Place) -> None:
    place.put({"d/part-0.csv": rows(), "d/_SUCCESS": "", "home/thesis.tex": "years", "f": "a file", "bare/part-0": ""})
    assert place(*TRAIN).code == place(*PREDICT, "p").code == 0
    there = "already exists; use --overwrite to replace it"
    for taken in ("p", "d", "home"):
        place.refused(4, f"{taken}: {there}", *PREDICT, taken)
    place.refused(4, "f: is not a directory; name a directory that does not exist", *PREDICT, "f", "--overwrite")
    for taken, first in (("home", "thesis.tex"), ("m", "model.json")):
        message = f"{taken}: holds '{first}', which is not a part file; "
        message += "name another output, or remove that directory yourself"
        place.refused(4, message, *PREDICT, taken, "--overwrite")
    message = (
        "bare: has no _SUCCESS, so it is not an output of mrml; name another output, or remove that directory yourself"
    )
    place.refused(4, message, *PREDICT, "bare", "--overwrite")
    here = str(place.here / "d" / "part-0.csv")
    place.refused(2, f"output d: holds the input file {here}; name another output", *PREDICT, "d", "--overwrite")
    assert place(*PREDICT, "p", "--overwrite", "--format", "csv").code == 0
    assert sorted(f.name for f in (place.here / "p").iterdir()) == ["_SUCCESS", "part-00000.csv"]


def test_a_model_is_not_written_among_its_data(place: Place) -> None:
    place.put({"d/part-0.csv": rows()})
    message = f"output d: holds the input file {place.here / 'd' / 'part-0.csv'}; name another output"
    place.refused(2, message, *TRAIN[:7], "d", *TRAIN[8:], "--overwrite")


def test_predictions_that_fail_leave_those_that_were_there(place: Place) -> None:
    place.put({"d/a.csv": rows(), "e/a.csv": "a,b\n1,u\nx,v\n"})
    assert place(*TRAIN).code == place(*PREDICT, "p").code == 0
    message = "a.csv, byte 8, column 'a': 'x' is not a number; add na: [\"x\"] under data"
    place.refused(3, message, *PREDICT[:3], "e", *PREDICT[4:], "p", "--overwrite")
    place.refused(3, message, *PREDICT[:3], "e", *PREDICT[4:], "new/er/p")


def test_resuming_with_something_else_names_what_differs(place: Place) -> None:
    place.put({"d/a.csv": rows(), "d/b.csv": rows(20, seed=2)})
    assert place(*TRAIN, "--max-rounds", "3").code == 0
    rest = "; give what it began with, or another --output"
    began = "m: is not the run that began there; "
    resume = (*TRAIN, "--resume")
    place.refused(2, f"{began}algorithm: l2: 0.0001 then, 3.0 now{rest}", *resume, "--l2", "3")
    message = f'{began}schema: columns: \'b\' role: "feature" then, "ignore" now{rest}'
    place.refused(2, message, *resume, "--features", "a")
    place.put({"d/b.csv": rows(19, seed=2)})
    sizes = [len(rows(n, seed=2)) for n in (20, 19)]
    place.refused(2, f"{began}inputs: 'b.csv' {sizes[0]} then, {sizes[1]} now{rest}", *resume)
    (place.here / "d/b.csv").unlink()
    place.refused(2, f"{began}inputs: 'b.csv' not there now{rest}", *resume)
    place.put({"d/b.csv": rows(20, seed=2), "d/c.csv": rows()})
    place.refused(2, f"{began}inputs: 'c.csv' not there then{rest}", *resume)
    (place.here / "d/c.csv").unlink()
    assert place(*resume).code == 0


def test_resuming_where_there_is_nothing_is_2(place: Place) -> None:
    place.put({"d/a.csv": rows(), "m/notes.txt": "mine"})
    place.refused(2, "q: has no run to resume; leave out --resume", *TRAIN[:7], "q", *TRAIN[8:], "--resume")
    place.refused(2, "m: has no run to resume; leave out --resume", *TRAIN, "--resume")


def test_an_output_that_is_there_is_4_and_says_what_it_is(place: Place) -> None:
    place.put({"d/a.csv": rows(), "m/notes.txt": "mine", "f": "a file"})
    remedy = "name a directory that does not exist, or use --overwrite to write a model beside them"
    place.refused(4, f"m: holds other files; {remedy}", *TRAIN)
    there = "already exists; use --overwrite to replace it"
    assert place(*TRAIN[:7], "done", *TRAIN[8:]).code == 0
    place.refused(4, f"done: {there}", *TRAIN[:7], "done", *TRAIN[8:])
    place.refused(4, "f: is a file; name a directory that does not exist", *TRAIN[:7], "f", *TRAIN[8:], "--overwrite")
    (place.here / "done/_SUCCESS").unlink()
    began = "contains an unfinished run of something else; algorithm: l2: 0.0001 then, 3.0 now"
    remedy = "use --overwrite to start again, or name another --output"
    place.refused(4, f"done: {began}; {remedy}", *TRAIN[:7], "done", *TRAIN[8:], "--l2", "3")
    both = "mrml train: --resume and --overwrite exclude each other; give one of them"
    place.refused(2, both, *TRAIN, "--resume", "--overwrite")


# ---- scoring

SCORE = ("--engine", "inline", "--data", "e")
SCORED = (
    Trap("a column that is missing", {"e/a.csv": "b,aa,c\nu,1,2\n"},
         "a.csv, column 'a': is missing; did you mean 'aa'?"),
    Trap("a column that one part lacks", {"e/a.csv": R, "e/b.csv": "b,y\nu,no\n"},
         "b.csv, column 'a': is missing; known: b, y"),
    Trap("a feature as id", {"e/a.csv": R}, "column 'b': is a feature of the model and cannot be the id too; name a "
         "column that the model does not use", ("--id", "b"), 2),
    Trap("an id that is not there", {"e/a.csv": rows(header="a,b,key\n")},
         "a.csv, column 'kye': is missing; did you mean 'key'?", ("--id", "kye")),
    Trap("a bad number", {"e/a.csv": "b,a\nu,1\nv,x\n"}, "a.csv, byte 8, column 'a': 'x' is not a number; add na: "
         '["x"] under data'),
    Trap("more bad rows than the limit", {"e/a.csv": "b,a\nu,1\nv,x\n"}, "data: 1 malformed row, the limit is 0; the "
         "first: a.csv, byte 8, column 'a': 'x' is not a number; add na: [\"x\"] under data; raise --max-bad-rows, or "
         "fix the data", ("--bad-rows", "skip", "--max-bad-rows", "0")),
    Trap("nothing", {}, "e: there is no such file or directory; check the path"),
    Trap("LibSVM", {"e/a.libsvm": SVM}, "a.libsvm: is libsvm, and the model was trained on csv; LibSVM models read "
         "LibSVM files, the others files with column names"),
)  # fmt: skip
MEASURED = (
    Trap("no target", {"e/a.csv": rows(header="a,b,z\n")}, "a.csv, column 'y': is missing; known: a, b, z"),
    Trap("a label that the model never saw", {"e/a.csv": R + "1,u,maybe\n"}, "a.csv, block 0, row 40, column 'y': "
         "label 'maybe' was not in the training data (no, yes); leave those rows out, or train with them"),
    Trap("a null target", {"e/a.csv": R + "1,u,\n"}, f"a.csv, byte {END}, column 'y': is null; {MEND}"),
    Trap("a feature as weight", {"e/a.csv": R}, "column 'a': is a feature of the model and cannot be the weight too; "
         "name a column that the model does not use", ("--weight", "a"), 2),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two columns, a number and a category."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "d.csv").write_text(R)
    command = ("train", "logistic", "--data", str(folder / "d.csv"), "--target", "y", "--output", str(folder / "m"))
    assert main([*command, "--engine", "inline", "-q"]) == 0
    return folder / "m"


@pytest.mark.parametrize("trap", SCORED, ids=[t.name for t in SCORED])
def test_what_cannot_be_scored_is_told_and_no_predictions_are_left(place: Place, trained: Path, trap: Trap) -> None:
    place.put(trap.files)
    place.refused(trap.code, trap.message, "predict", str(trained), "--output", "p/q", *SCORE, *trap.argv)


@pytest.mark.parametrize("trap", MEASURED, ids=[t.name for t in MEASURED])
def test_what_cannot_be_evaluated_is_told(place: Place, trained: Path, trap: Trap) -> None:
    place.put(trap.files)
    place.refused(trap.code, trap.message, "evaluate", str(trained), *SCORE, *trap.argv)


# ---- options, environment, run files and schema files


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        (("--wieght", "a"), {}, "mrml train: unknown option --wieght; did you mean '--weight'?"),
        (("--max-rounds", "0"), {}, "--max-rounds: 0 is out of bounds; it must be at least 1"),
        (("--l2", "much"), {}, "--l2: 'much' is not a number"),
        (("--l2", "inf"), {}, "--l2: inf is out of bounds; it must be at least 0.0"),
        (("--solver", "newtn"), {}, "--solver: 'newtn' is unknown; did you mean 'newton'?"),
        (("--engine", "locl"), {}, "--engine: 'locl' is unknown; did you mean 'local'?"),
        (("--bad-rows", "skp"), {}, "--bad-rows: 'skp' is unknown; did you mean 'skip'?"),
        ((), {"MRML_WORKRES": "2"}, "environment: unknown variable 'MRML_WORKRES'; did you mean 'MRML_WORKERS'?"),
        ((), {"MRML_WORKERS": "two"}, "MRML_WORKERS: 'two' is not a whole number"),
        (("--config", "no.yaml"), {}, "no.yaml: there is no such file; give the path of a YAML file"),
    ],
)
def test_what_is_said_wrongly_is_2(
    place: Place, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], environ: dict[str, str], message: str
) -> None:
    place.put({"d/a.csv": R})
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    place.refused(2, message, *TRAIN, *argv)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dta: {target: y}", "run.yaml: unknown key 'dta'; did you mean 'data'?"),
        ("data: {taget: y}", "run.yaml, data: unknown key 'taget'; did you mean 'target'?"),
        ("engine: {worker: 2}", "run.yaml, engine: unknown key 'worker'; did you mean 'workers'?"),
        ("algorithm: {name: logistic, sovler: newton}",
         "run.yaml, algorithm: unknown key 'sovler'; did you mean 'solver'?"),
        ("algorithm: {name: logistic, l2: [1]}", "run.yaml, algorithm.l2: [1] is not a number"),
        ("engine: {workers: two}", "run.yaml, engine.workers: 'two' is not a whole number"),
        ("data: {weight: no}", "run.yaml, data.weight: False is not text; put it in quotes"),
        ("data: {multiline: 3}", "run.yaml, data.multiline: 3 is not true or false"),
        ("data: d", "run.yaml, data: 'd' is not a section; indent its keys under data:"),
        ("- data", "run.yaml: is not a mapping; write sections data:, algorithm:, engine:"),
        ("data: {", "run.yaml, line 1: is not YAML: expected the node content, but found '<stream end>'"),
    ],
)  # fmt: skip
def test_a_run_file_that_is_wrong_is_2_at_its_place(place: Place, text: str, message: str) -> None:
    place.put({"d/a.csv": R, "run.yaml": text})
    place.refused(2, message, *TRAIN, "--config", "run.yaml")


SCHEMA = """
columns:
- {name: a, kind: numeric, role: feature, source: double, storage: float64}
- {name: b, kind: categorical, role: feature, source: string, storage: float64}
- {name: y, kind: categorical, role: target, source: string, storage: float64}
"""


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", 2, "s.yaml: has no list of columns; start from the output of `mrml schema`"),
        ("columns: [a]", 2, "s.yaml: 'a' is not a column with a name that is a text; quote names like 'no' and '1'"),
        (SCHEMA.replace("kind: numeric", "kind: number"), 2,
         "schema, column 'a': kind 'number' is unknown; did you mean 'numeric'?"),
        (SCHEMA.replace("role: target", "role: label"), 2, "schema, column 'y': role 'label' is unknown; known: "
         "feature, group, id, ignore, offset, target, time, weight"),
        (SCHEMA.replace("kind: numeric", "knd: numeric"), 2,
         "schema, columns: unknown key 'knd'; did you mean 'kind'?"),
        (SCHEMA + "forma: {}", 2, "schema: unknown key 'forma'; did you mean 'format'?"),
        (SCHEMA.replace("name: a", "name: age"), 3, "a.csv, column 'age': is missing; known: a, b, y"),
        (SCHEMA.replace("b, kind: categorical", "b, kind: numeric"), 3,
         "a.csv, byte 6, column 'b': 'u' is not a number; add na: [\"u\"] under data"),
        (SCHEMA.replace("source: double", "source: real"), 2,
         "s.yaml, column 'a': source 'real' is not a type; use Arrow's words, such as double"),
        (SCHEMA.replace("role: target", "role: feature"), 2,
         "data, target: logistic needs one; name it with --target COLUMN"),
    ],
)  # fmt: skip
def test_a_schema_file_that_is_wrong_is_told(place: Place, text: str, code: int, message: str) -> None:
    place.put({"d/a.csv": R, "s.yaml": text})
    place.refused(code, message, *svm(), "--schema", "s.yaml")


def test_resuming_what_is_done_changes_no_record_of_it(place: Place) -> None:
    place.put({"d/a.csv": R + "x1,u,no\n"})
    command = (*TRAIN, "--bad-rows", "skip", "-q")
    assert place(*command).code == 0
    before, model = json.loads((place.here / "m/run.json").read_text()), place.model()
    done = place(*command, "--resume")
    assert done.code == 0 and done.out.startswith("logistic: 40 rows, ") and "left out: 1 malformed row" in done.out
    after = json.loads((place.here / "m/run.json").read_text())
    assert place.model() == model
    names = ("n_rows", "bad_rows", "problems", "rounds", "stop", "metrics")
    assert [after[name] for name in names] == [before[name] for name in names]


def test_a_schema_that_cannot_be_written_is_told(place: Place) -> None:
    place.put({"d/a.csv": R, "s.yaml": "mine"})
    message = "no/such/s.yaml: cannot be written: No such file or directory; name another --output"
    place.refused(2, message, "schema", "d", "--output", "no/such/s.yaml")
    place.refused(4, "s.yaml: exists already; edit it, or give --overwrite", "schema", "d", "--output", "s.yaml")
    place.refused(3, "nowhere: there is no such file or directory; check the path", "schema", "nowhere")


@pytest.mark.parametrize("engine", ["local", "streaming", "tasks"])
def test_every_engine_tells_bad_input_as_the_inline_one_does(place: Place, trained: Path, engine: str) -> None:
    place.put({"d/a.csv": R, "d/b.csv": R + "x1,u,no\n", "e/a.csv": R + "1,u,maybe\n"})
    where = ("--engine", *ENGINES[engine])
    message = NUMBER.format(END).replace("a.csv", "b.csv")
    place.refused(3, message, *TRAIN[:-2], *where)
    if engine == "tasks":
        return
    place.refused(3, message, "predict", str(trained), "--data", "d", "--output", "p", *where)
    message = "label 'maybe' was not in the training data (no, yes); leave those rows out, or train with them"
    place.refused(3, f"a.csv, block 0, row 40, column 'y': {message}", "evaluate", str(trained), "--data", "e", *where)


# ---- models that are none

NOT_MODELS = [
    ("nowhere", {}, "nowhere: is not a directory; give what `mrml train --output` wrote"),
    ("f", {"f": "a file"}, "f: is not a directory; give what `mrml train --output` wrote"),
    ("d", {}, "d: has no model.json; give what `mrml train --output` wrote"),
    ("m", {"m/model.npz": b""}, "m: cannot be read as a model: model.npz is not an array file; copy it again"),
    ("m", {"m/model.npz": b"hello"}, "m: cannot be read as a model: model.npz is not an array file; copy it again"),
    ("m", {"m/model.json": "{"}, "m: cannot be read as a model: Expecting property name enclosed in double quotes: "
                                 "line 1 column 2 (char 1); copy it again"),
    ("m", {"m/model.json": "[]"},
     "m: is of model format None, this mrml reads 1 and 2; use the version of mrml that wrote it"),
    ("m", {"m/model.json": '{"format": 9}'},
     "m: is of model format 9, this mrml reads 1 and 2; use the version of mrml that wrote it"),
    ("m", {"m/model.json": '{"format": 1}'}, "m: is not a complete model: KeyError: 'class'; copy it again"),
    ("m", {"m/model.json": '{"format": 1, "class": "no.such:Thing"}'},
     "model: needs code of your own, no.such:Thing, which is not allowed to run; if you trust it, "
     "use --allow-import no.such (Python: allow_import='no.such')"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "files", "message"), NOT_MODELS, ids=range(len(NOT_MODELS)))
def test_a_directory_that_is_no_whole_model_is_told(
    place: Place, model: str, files: dict[str, str | bytes], message: str
) -> None:
    place.put({"d/a.csv": rows()})
    assert place(*TRAIN).code == 0
    place.put(files)
    code = 2 if "--allow-import" in message else 3
    place.refused(code, message, "predict", model, "--data", "d", "--output", "p", "--engine", "inline")
    place.refused(code, message, "evaluate", model, "--data", "d", "--engine", "inline")
    place.refused(code, message, "inspect", model)


def test_a_model_that_was_cut_or_whose_bytes_changed_is_told(place: Place) -> None:
    place.put({"d/a.csv": rows()})
    assert place(*TRAIN).code == 0
    whole = (place.here / "m/model.npz").read_bytes()
    place.put({"m/model.npz": whole[: len(whole) // 2]})
    place.refused(3, "m: cannot be read as a model: model.npz is not an array file; copy it again", "inspect", "m")
    at = len(whole) // 2
    place.put({"m/model.npz": whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]})
    done = place("inspect", "m")
    assert done.code == 3 and done.err.startswith(
        "error: m: cannot be read as a model: Bad CRC-32 for file 'transforms."
    )
    (place.here / "m/model.npz").unlink()
    place.refused(3, "m: has no model.npz; give what `mrml train --output` wrote", "inspect", "m")


# ---- algorithms of the user's own

OWN = """
from dataclasses import dataclass
from mrml.extend import *

@dataclass(frozen=True)
class Raises(Algorithm):
    where: str = param("nowhere", "which method raises")

    def _reach(self, where):
        if self.where == where:
            raise ZeroDivisionError(f"in {where}")

    def init(self, schema):
        self._reach("init")
        return State({"n": 0.0})

    def statistic(self, state, key):
        return Sums(n=0.0)

    def map(self, state, block, into):
        self._reach("map")
        into["rows"].add(n=float(block.n_rows))

    def reduce(self, state, key, statistic):
        self._reach("reduce")
        return statistic

    def update(self, state, values):
        self._reach("update")
        return state.next(stop="counted", n=float(values["rows"]["n"]))

    def model(self, state, schema):
        self._reach("model")
        return Counted(state["n"], self.where)


class Counted(Model):
    def __init__(self, n, where):
        self.n, self.where = n, where

    def predict(self, block):
        if self.where == "predict":
            raise ZeroDivisionError("in predict")
        import numpy as np
        return Prediction(np.full(block.n_rows, self.n))

    def header(self):
        return {"n": self.n, "where": self.where}

    def arrays(self):
        return {}

    @classmethod
    def from_parts(cls, header, arrays):
        return cls(header["n"], header["where"])
"""
LINE = 1 + next(i for i, line in enumerate(OWN.splitlines()) if "raise ZeroDivisionError" in line)
AT = {
    "init": "round 1, update",
    "map": "split 0, a.csv, block 0",
    "reduce": "key 'rows'",
    "update": "round 2, update",
    "model": "model",
}
ENGINES = {
    "inline": ("inline",),
    "local": ("local", "--workers", "1"),
    "streaming": ("streaming", "-r", "inline"),
    "tasks": ("streaming", "-r", "local", "--workers", "1"),
}


def own(where: str, engine: str, *more: str) -> tuple[str, ...]:
    command = ("train", "own:Raises", "--where", where, "--data", "d", "--output", "m")
    return (*command, *more, "--engine", *ENGINES[engine])


@pytest.mark.parametrize(
    ("engine", "where"),
    [*itertools.product(("inline", "streaming"), ("init", "map", "reduce", "update", "model")), ("local", "map"),
     ("local", "reduce"), ("tasks", "map")],
)  # fmt: skip
def test_what_an_algorithm_raises_is_5_at_its_line_and_its_traceback_is_shown_with_v(
    place: Place, engine: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "CHECKPOINT_S", math.inf)  # on a slow machine one may be due before
    place.put({"d/a.csv": rows(), "own.py": OWN})
    before = place.tree()
    done = place(*own(where, engine), "-q")
    message = (
        f"error: {AT[where]}: ZeroDivisionError: in {where}, at own.py line {LINE} (traceback in {place.tmp}/mrml-"
    )
    assert (done.code, done.out) == (5, "") and done.err.startswith(message)
    assert done.err.endswith(".log; -v prints it)\n") and done.err.count("\n") == 1
    (log,) = place.tmp.glob("mrml-*.log")
    assert f'own.py", line {LINE}, in _reach' in log.read_text()
    # what was counted is worth a --resume
    written = {p.name for p in (place.here / "m").glob("_run/checkpoint/*")} - {"000000.state"}
    assert where == "model" or written or place.tree() == before
    assert where == "model" or not written
    if engine != "tasks":
        again = place(*own(where, engine), "-v", "--overwrite")
        assert again.code == 5 and f'own.py", line {LINE}, in _reach' in again.err and "traceback in" not in again.err


@pytest.mark.parametrize("engine", ["inline", "local", "streaming"])
def test_what_a_model_raises_is_5_and_no_predictions_are_left(place: Place, engine: str) -> None:
    place.put({"d/a.csv": rows(), "own.py": OWN})
    assert place(*own("predict", "inline")).code == 0
    before = place.tree()
    done = place("predict", "m", "--data", "d", "--output", "p", "--engine", *ENGINES[engine], "-q")
    assert (
        done.code == 5
        and done.err.startswith("error: split 0, a.csv, block 0: ZeroDivisionError: in predict, at")
        and place.tree() == before
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("owm:Raises", "", "owm:Raises: cannot be imported: No module named 'owm'; give it as package.module:Class"),
        ("own:Rises", "x = 1", "own:Rises: cannot be imported: module 'own' has no attribute 'Rises'; "
                               "give it as package.module:Class"),
        ("own:Raises", "def f(:", "own:Raises: cannot be imported: SyntaxError: invalid syntax (own.py, line 1); "
                                  "fix the module"),
        ("own:Raises", "1 / 0", "own:Raises: cannot be imported: ZeroDivisionError: division by zero; fix the module"),
        ("own:Path", "from pathlib import Path", "own:Path: is not a subclass of mrml.algorithm.Algorithm"),
        ("logstic", "", "algorithm: 'logstic' is unknown; did you mean 'logistic'? (your own is package.module:Class)"),
    ],
)  # fmt: skip
def test_an_algorithm_that_cannot_be_had_is_2(place: Place, name: str, text: str, message: str) -> None:
    place.put({"d/a.csv": rows(), "own.py": text})
    place.refused(2, message, "train", name, *TRAIN[2:])


def test_a_mistake_of_ours_is_told_with_v_by_its_traceback_and_without_by_its_line(place: Place) -> None:
    done = place("evaluate", "nowhere", "--data", "d", "-v")
    assert done.code == 3 and done.err.startswith("error: nowhere: is not a directory") and "Traceback" in done.err
