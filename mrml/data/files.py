"""Which files are the input: names, order, Hive partitions, side files.

Floor 2.  Numbers of files, and with them the order of every sum, follow the names relative to the input root and
never where that root lies.  Names that begin with ``_`` or ``.`` are skipped at every level (Hadoop's rule), so
are files of no bytes and those whose ending says that they are no data yet or no more (``_UNFINISHED``).  A folder that
is a lake table (Delta, Hudi, Iceberg) is refused: its Parquet files hold deleted rows too.

The root of a directory is itself, of a file the directory that holds it, of a glob the part before its first
wildcard.  Several inputs: a directory's files are named below its own name, and only where two inputs still hold
files of one name do all of them get the input's number in front.  So ``d``, ``d/*.csv`` and ``d/a.csv d/b.csv``
name the same files alike.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote

from mrml.errors import InputError
from mrml.fs.base import FileSystem, Info
from mrml.fs.find import filesystem

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
COMPRESSIONS = {".gz": "gz", ".bz2": "bz2", ".zst": "zst"}
SIDE_FILES = (".weight", ".query")
PARQUET_ENDINGS = (".parquet", ".pq")
CHUNK_BYTES = 1 << 20
#: endings of copies that go on, of editors and of checksums
_UNFINISHED = ("._COPYING_", ".tmp", ".inprogress", ".crc", ".bak", ".swp", "~")
#: what lies beside the files of a lake table, and its name
_LAKES = {"_delta_log": "Delta", ".hoodie": "Hudi"}
_ICEBERG = re.compile(r"(^|/)metadata/[^/]*\.metadata\.json$")
_ARROW_NAMES = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}
_MAGIC = re.compile(r"[*?\[]")
_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class File:
    """One file of the input.

    Attributes
    ----------
    path : where it lies, with its scheme.
    name : relative to the input root, parts joined by ``/``.
    size : bytes as stored.
    part : "train" or "valid".
    partition : (column, value) of its Hive directories ``column=value``, None for Hive's null.
    n_above : how many of those, the first ones, are the named input itself or lie above it.
    compression : "", "gz", "bz2" or "zst".
    splittable : whether a block can be read without those before it.
    row_groups : rows of each row group of a Parquet file.
    n_blocks : None until the file was read once to its end.
    weight, query : paths of LightGBM's side files, or "".
    """

    path: str
    name: str
    size: int
    part: str = "train"
    partition: tuple[tuple[str, str | None], ...] = ()
    n_above: int = field(default=0, compare=False)
    compression: str = ""
    splittable: bool = True
    row_groups: tuple[int, ...] = ()
    n_blocks: int | None = None
    weight: str = ""
    query: str = ""

    @property
    def stem(self) -> str:
        """The name without what tells its compression."""
        return self.name[: -len(self.compression) - 1] if self.compression else self.name

    @staticmethod
    def from_json(value: dict[str, Any]) -> File:
        """The inverse of :func:`dataclasses.asdict`, lists for tuples allowed."""
        partition = tuple((str(k), v) for k, v in value["partition"])
        return File(**{**value, "partition": partition, "row_groups": tuple(value["row_groups"])})


class _Root(NamedTuple):
    """What one input names: (name relative to the root, entry) pairs and what stands before them among several."""

    found: list[tuple[str, Info]]
    label: str
    partition: tuple[tuple[str, str | None], ...]
    fs: FileSystem
    is_whole: bool  # a directory with all that lies in it


def discover(paths: Sequence[str], part: str = "train") -> tuple[File, ...]:
    """The data files of some files, directories and globs, sorted by the UTF-8 bytes of their names.

    InputError when an input does not exist, holds no data file, or two inputs name the same file.
    """
    roots = [_explore(path) for path in paths]
    names = _names(roots)
    _refuse_repeats(roots)
    files = []
    for root, own in zip(roots, names, strict=True):
        sides = _side_files(root)
        for (_, info), (relative, name) in zip(root.found, own, strict=True):
            if info.name not in sides and info.size:
                files.append(_file(info, name, relative, root, part, sides))
    if not files:
        raise InputError(", ".join(paths) or "data", "has no rows: every file is empty", "give files with rows")
    return tuple(sorted(files, key=lambda f: f.name.encode("utf-8", "surrogateescape")))


def hidden(name: str) -> bool:
    """Whether a relative name is none of a data file: ``_SUCCESS``, ``part-1._COPYING_``, ``_temporary/0/part-0``."""
    return name.endswith(_UNFINISHED) or any(p.startswith(("_", ".")) and p not in (".", "..") for p in name.split("/"))


def _compression(fs: FileSystem, info: Info, name: str) -> str:
    """The compression of a file; of Parquet that compresses its own columns none, whatever its name ends in."""
    found = compression(name)
    if found and posixpath.splitext(posixpath.splitext(name)[0])[1].lower() in PARQUET_ENDINGS:
        with fs.open(info.name) as stream:
            return "" if stream.read(4) == b"PAR1" else found
    return found


def compression(name: str) -> str:
    """What a name's ending says: "", "gz", "bz2" or "zst"."""
    return COMPRESSIONS.get(posixpath.splitext(name)[1].lower(), "")


@contextmanager
def reading(file: File) -> Iterator[Callable[[int, int], bytes]]:
    """``read(offset, n)``: the n bytes there, less only at the end of the file.

    InputError when the file is gone, cannot be read, or is not as long as it was.
    """
    with _readable(file):
        fs, path = filesystem(file.path)
        check_unchanged(file)
        with fs.open(path) as stream:

            def read(offset: int, n: int) -> bytes:
                stream.seek(offset)
                return stream.read(n)

            yield read


def chunks(file: File, n_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The bytes of a file in order, decompressed, in pieces of at most ``n_bytes``."""
    with _readable(file):
        fs, path = filesystem(file.path)
        check_unchanged(file)
        with fs.open(path) as stream:
            read = _inflated(stream, file.compression) if file.compression else stream.read
            while piece := read(n_bytes):
                yield piece


def check_unchanged(file: File) -> None:
    """InputError when a file is not as long as it was when it was listed."""
    fs, path = filesystem(file.path)
    if (size := fs.info(path).size) != file.size:
        finding = f"has {size} bytes, and had {file.size} when the run began"
        raise InputError(file.name, finding, "start again with the files as they are")


def _inflated(stream: BinaryIO, compression: str) -> Callable[[int], bytes]:
    """``read(n)`` of what a stream holds compressed, in one piece or several behind each other."""
    if compression == "gz":  # Arrow takes zeros behind the last piece, which tapes and some writers leave, for a piece
        return _gunzipped(stream)
    import pyarrow as pa

    source = pa.CompressedInputStream(pa.PythonFile(stream, "r"), _ARROW_NAMES[compression])

    def read(n: int) -> bytes:
        try:
            piece: bytes = source.read(n)
            return piece
        except pa.ArrowException as error:  # most are OSErrors already
            raise OSError(str(error)) from error

    return read


def _gunzipped(stream: BinaryIO) -> Callable[[int], bytes]:
    import gzip
    import zlib

    source = gzip.GzipFile(fileobj=stream, mode="rb")

    def read(n: int) -> bytes:
        try:
            return source.read(n)
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error

    return read


def head(file: File, n_bytes: int) -> bytes:
    """The first bytes of a file, decompressed."""
    pieces, held = [], 0
    for piece in chunks(file, min(n_bytes, CHUNK_BYTES)):
        pieces.append(piece)
        held += len(piece)
        if held >= n_bytes:
            break
    return b"".join(pieces)[:n_bytes]


@contextmanager
def _readable(file: File) -> Iterator[None]:
    """What a disk or a decompressor says, as an InputError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            file.name, "was deleted after the run began", "start again with the files as they are"
        ) from error
    except (OSError, EOFError) as error:
        what = f"as {file.compression}" if file.compression else ""
        said = " ".join(str(error.strerror or error).split())[:200] if isinstance(error, OSError) else str(error)
        raise InputError(file.name, f"cannot be read {what}: {said}".replace(" :", ":"), "copy it again") from error


def _explore(path: str) -> _Root:
    """The entries of one input; InputError when there is nothing to read."""
    try:
        fs, plain = filesystem(path)
        root, entries = _entries(fs, plain)
    except OSError as error:
        raise InputError(
            path, f"cannot be listed: {error.strerror or error}", "check the path and its rights"
        ) from error
    found = [(_relative(e.name, root), e) for e in entries]
    shown = [(name, e) for name, e in found if not hidden(name)]
    is_whole = root == plain
    _refuse_lake(path, fs, root, found, is_whole)
    if not shown:
        raise InputError(path, *_nothing(fs, plain, found))
    chain = _chain(root)
    label = "/".join(chain)
    if not chain and shown[0][1].name != plain:
        label = posixpath.basename(root)
    return _Root(shown, label, tuple(p for c in chain if (p := _partition(c))), fs, is_whole)


def _refuse_lake(path: str, fs: FileSystem, root: str, found: list[tuple[str, Info]], is_whole: bool) -> None:
    """InputError where files belong to a table whose log says which of their rows there are.

    A directory that is read whole shows its log among its entries; only beside a part of one must be looked for it.
    """
    parts = {part for name, _ in found for part in name.split("/")[:-1]}
    beside = [lake for lake in _LAKES if lake in parts or (not is_whole and fs.exists(posixpath.join(root, lake)))]
    kind = _LAKES[beside[0]] if beside else "Iceberg" if any(_ICEBERG.search(name) for name, _ in found) else ""
    if kind:
        finding = f"is a {kind} table: read as plain files, rows that were deleted or replaced would come back"
        raise InputError(path, finding, f"write its current rows as Parquet with an engine that reads {kind}")


def below_inputs(files: Sequence[File], named: Collection[str]) -> tuple[File, ...]:
    """The files without partition columns of directories that the user named or that lie above those.

    Where all files to train on have the same value: what lies above the data, ``runs/lr=0.1``, is none of its columns,
    whatever lies above other files.  Those that differ between inputs stay, and those that are ``named``.
    """
    train = [f for f in files if f.part == "train"] or files
    n_above = min((f.n_above for f in train), default=0)
    values = {f.partition[:n_above] for f in train}
    if not n_above or len(values) > 1:
        return tuple(files)
    left_out = {name for name, _ in next(iter(values))} - set(named)
    return tuple(replace(f, partition=_without(f, left_out)) for f in files)


def _without(file: File, left_out: Collection[str]) -> tuple[tuple[str, str | None], ...]:
    above, below = file.partition[: file.n_above], file.partition[file.n_above :]
    return (*(pair for pair in above if pair[0] not in left_out), *below)


def _entries(fs: FileSystem, path: str) -> tuple[str, list[Info]]:
    """The root of an input and the files it names."""
    if fs.isdir(path):
        return path, fs.find(path)
    if fs.exists(path):
        return posixpath.dirname(path), [fs.info(path)]
    if not _MAGIC.search(path):
        return path, []
    root = posixpath.dirname(path[: _MAGIC.search(path).start()])  # type: ignore[union-attr]
    entries = []
    for entry in fs.glob(path):
        entries.extend(fs.find(entry.name) if entry.is_dir else [entry])
    unique = {e.name: e for e in entries}
    return root, list(unique.values())


def _nothing(fs: FileSystem, path: str, found: list[tuple[str, Info]]) -> tuple[str, str]:
    if found:
        return (
            "has no data file",
            "names that begin with _ or ., or end in .crc, .tmp, ~ and the like, are skipped: rename them",
        )
    if _MAGIC.search(path):
        return "matches no file", "quote the pattern and check it with ls"
    if fs.isdir(path):
        return "is an empty directory", "check the path"
    return "there is no such file or directory", "check the path"


def _relative(path: str, root: str) -> str:
    return path[len(root.rstrip("/")) + 1 :]


def _chain(root: str) -> list[str]:
    """The ``column=value`` directories a root ends in."""
    chain: list[str] = []
    for component in reversed(root.rstrip("/").split("/")):
        if not _partition(component):
            break
        chain.insert(0, component)
    return chain


def _partition(component: str) -> tuple[str, str | None] | None:
    """Column and value of a Hive directory; %-escapes decoded."""
    match = _PARTITION.fullmatch(component)
    if match is None:
        return None
    value = unquote(match[2])
    return unquote(match[1]), None if value == HIVE_NULL else value


def _names(roots: list[_Root]) -> list[list[tuple[str, str]]]:
    """For each file of each root: the name relative to its root, and the name among all inputs."""
    if len(roots) == 1:
        return [[(name, name) for name, _ in roots[0].found]]
    named = [[(name, posixpath.join(r.label, name)) for name, _ in r.found] for r in roots]
    every = [full for own in named for _, full in own]
    if len(set(every)) == len(every):
        return named
    return [[(name, f"{i:04d}/{full}") for name, full in own] for i, own in enumerate(named)]


def _refuse_repeats(roots: list[_Root]) -> None:
    seen: set[str] = set()
    for root in roots:
        for _, info in root.found:
            if info.name in seen:
                raise InputError(info.name, "is named by two inputs: its rows would count twice", "name it once")
            seen.add(info.name)


def _side_files(root: _Root) -> set[str]:
    """Paths of the side files of an input; each lies beside its data file."""
    listed = {info.name for _, info in root.found}
    for folder in () if root.is_whole else sorted({posixpath.dirname(p) for p in listed}):
        listed.update(e.name for e in root.fs.ls(folder) if not e.is_dir)
    return {p for p in listed for end in SIDE_FILES if p.endswith(end) and p[: -len(end)] in listed}


def _file(info: Info, name: str, relative: str, root: _Root, part: str, sides: set[str]) -> File:
    compressed = _compression(root.fs, info, name)
    return File(
        info.name,
        name,
        info.size,
        part,
        partition=(*root.partition, *_directories(relative)),
        n_above=len(root.partition),
        compression=compressed,
        splittable=not compressed,
        weight=info.name + ".weight" if info.name + ".weight" in sides else "",
        query=info.name + ".query" if info.name + ".query" in sides else "",
    )


def _directories(relative: str) -> Iterator[tuple[str, str | None]]:
    for component in relative.split("/")[:-1]:
        if pair := _partition(component):
            yield pair
