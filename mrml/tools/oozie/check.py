"""Whether an application of Oozie is sound, as far as that can be told without a server.

Always: XML, the graph of a workflow (:mod:`mrml.tools.oozie.graph`), what a coordinator needs, and beside a
``job.properties`` whether every ``${variable}`` has a value, which Oozie says only when it runs.  With lxml and the jar
of Oozie's client also the schemas of Oozie, which know every element, its order and its type.
"""

from __future__ import annotations

import importlib.util
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mrml.errors import ConfigError
from mrml.tools.oozie import graph
from mrml.tools.oozie.document import Element, parse, read_properties

PROPERTIES = "job.properties"
_WORKFLOW, _COORDINATOR = "uri:oozie:workflow:", "uri:oozie:coordinator:"
_VARIABLE = re.compile(r"\$\{\s*([A-Za-z_]\w*)\s*\}")
#: what Oozie itself gives a value: sizes (Workflow Functional Specification, 4.2.1), parts of a dataset's times
_KNOWN = {"KB", "MB", "GB", "TB", "PB"}
_TIMES = {"YEAR", "MONTH", "DAY", "HOUR", "MINUTE"}
_ROOTS = {"workflow-app": "workflow", "coordinator-app": "coordinator"}


class Problem(NamedTuple):
    """A finding of the check with its place and its remedy."""

    place: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.finding}; {self.remedy}"


class Checked(NamedTuple):
    """The files that were looked at, what is wrong, and whether the schemas were asked: their jar, or why not."""

    files: list[str]
    problems: list[Problem]
    schemas: str
    by_schemas: bool


def check(path: str, jar: Path | None = None, given: Mapping[str, str] | None = None) -> Checked:
    """Look at a file, or at a folder with its ``job.properties``; ConfigError where there is nothing to look at.

    With the properties ``given`` that a job is submitted with, parameters without a default need a value as well.
    """
    files = _files(Path(path))
    schemas, why = _schemas(jar)
    submitted, given = given is not None, _given(Path(path)) if given is None else given
    problems: list[Problem] = []
    roots: list[tuple[str, Element]] = []
    for file in files:
        try:
            roots.append((str(file), parse(file.read_bytes(), str(file))))
        except ConfigError as error:
            problems.append(Problem(error.place, error.finding, error.remedy))
    for place, root in roots:
        if schemas is not None:
            problems += schemas.problems(place)
        problems += _problems(place, root)
    if given is not None:
        problems += _undefined(roots, given, submitted)
    return Checked([str(f) for f in files], problems, why, schemas is not None)


def _files(path: Path) -> list[Path]:
    found = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    if not found:
        raise ConfigError(str(path), "has no .xml", "name the folder that `mrml oozie render` made")
    if not found[0].is_file():
        raise ConfigError(str(path), "there is no such file", "name a workflow, a coordinator or the folder of both")
    return found


def _given(path: Path) -> dict[str, str] | None:
    """The properties of the job beside a folder's files; None where there are none to compare with."""
    file = path / PROPERTIES
    return read_properties(file.read_text(encoding="latin-1")) if file.is_file() else None


def _problems(place: str, root: Element) -> Iterator[Problem]:
    kind = _ROOTS.get(root.tag)
    if kind is None:
        roots = " or a ".join(f"<{tag}>" for tag in _ROOTS)
        yield Problem(f"{place}, line {root.line}", f"is a <{root.tag}>", f"write a {roots}")
    elif not root.namespace.startswith((_WORKFLOW, _COORDINATOR)):
        remedy = f'write xmlns="uri:oozie:{kind}:1.0"' if kind == "workflow" else f'write xmlns="{_COORDINATOR}0.5"'
        yield Problem(f"{place}, line {root.line}", f"has the namespace {root.namespace!r}", remedy)
    elif kind == "workflow":
        for found in graph.findings(graph.nodes_of(root)):
            yield Problem(f"{place}, line {found.line}", found.finding, found.remedy)
    else:
        yield from _coordinator(place, root)


def _coordinator(place: str, root: Element) -> Iterator[Problem]:
    for name in ("frequency", "start", "end", "timezone"):
        if not root.attributes.get(name):
            yield Problem(f"{place}, line {root.line}", f"has no {name}", f'write {name}="..." into <coordinator-app>')
    if not any(e.tag == "app-path" and e.text.strip() for e in root.walk()):
        remedy = "write <action><workflow><app-path>: the folder of workflow.xml on HDFS"
        yield Problem(f"{place}, line {root.line}", "starts no workflow", remedy)
    sets = {e.attributes.get("name", "") for e in root.walk() if e.tag in ("dataset", "async-dataset")}
    if any(e.tag == "include" for e in root.walk()):
        return  # of other files
    for e in root.walk():
        if e.tag in ("data-in", "data-out") and e.attributes.get("dataset", "") not in sets:
            finding = f"<{e.tag}> takes the dataset {e.attributes.get('dataset', '')!r}, which is none"
            yield Problem(f"{place}, line {e.line}", finding, f"datasets are {', '.join(sorted(sets)) or 'none'}")


def _undefined(roots: Iterable[tuple[str, Element]], given: Mapping[str, str], submitted: bool) -> Iterator[Problem]:
    """Variables that nobody gives a value: a workflow gets also those that its coordinator hands on."""
    documents = list(roots)
    handed = {
        p.text.strip()
        for _, root in documents
        if root.tag == "coordinator-app"
        for e in root.walk()
        if e.tag == "property"
        for p in e.all("name")
    }
    for place, root in documents:
        known = {*given, *_KNOWN, *_parameters(root, submitted), *(handed if root.tag == "workflow-app" else ())}
        for e in root.walk():
            texts = [e.text, *e.attributes.values()]
            times = _TIMES if e.tag == "uri-template" else set()
            for name in sorted({n for text in texts for n in _VARIABLE.findall(text)} - known - times):
                remedy = f"write {name}=... into {PROPERTIES}, or give --set {name}=... where you submit"
                yield Problem(f"{place}, line {e.line}", f"${{{name}}} has no value", remedy)
                known.add(name)


def _parameters(root: Element, submitted: bool) -> set[str]:
    """Names in <parameters>; where a job is submitted, those that have a default."""
    parameters = root.first("parameters")
    found = parameters.all("property") if parameters else ()
    return {n.text.strip() for p in found if not submitted or p.first("value") is not None for n in p.all("name")}


def _schemas(jar: Path | None) -> tuple[Schemas | None, str]:
    """The schemas with the path of their jar, or None and why."""
    if jar is None:
        return None, "no oozie-client-*.jar is at hand; name one with --jar"
    if importlib.util.find_spec("lxml") is None:
        return None, "lxml is not installed; pip install 'mrml[oozie]'"
    return Schemas(jar), str(jar)


class Schemas:
    """The XML schemas in a jar of Oozie's client."""

    def __init__(self, jar: Path) -> None:
        try:
            with zipfile.ZipFile(jar) as file:
                self._texts = {n: file.read(n) for n in file.namelist() if n.endswith(".xsd") and "/" not in n}
        except (OSError, zipfile.BadZipFile) as error:
            raise ConfigError(str(jar), f"cannot be read: {error}", "name a jar of oozie-client") from error
        if not self._texts:
            raise ConfigError(str(jar), "has no schemas", "name a jar of oozie-client")
        found = {n: re.search(rb'targetNamespace="([^"]+)"', text) for n, text in self._texts.items()}
        self._files = {match[1].decode(): n for n, match in found.items() if match}

    def problems(self, path: str) -> list[Problem]:
        """What the schemas of a document's namespaces say against it."""
        from lxml import etree

        tree = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True))
        names = {etree.QName(e).namespace for e in tree.iter("*")}
        schema = etree.XMLSchema(self._all_of(sorted(n for n in names if n in self._files), etree))
        schema.validate(tree)
        remedy = "see the schema of that element in oozie-client's jar"
        return [Problem(f"{path}, line {e.line}", _short(e.message), remedy) for e in schema.error_log]

    def _all_of(self, namespaces: list[str], etree: Any) -> Any:
        """One schema that imports those of several namespaces: of one alone, elements of another are refused."""
        texts = self._texts

        class Resolver(etree.Resolver):  # type: ignore[misc]
            def resolve(self, url: str, public_id: str, context: Any) -> Any:
                name = url.rpartition("/")[2]
                return self.resolve_string(texts[name], context, base_url=name) if name in texts else None

        parser = etree.XMLParser(no_network=True)
        parser.resolvers.add(Resolver())
        lines = [f'<xs:import namespace="{n}" schemaLocation="{self._files[n]}"/>' for n in namespaces]
        text = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">{"".join(lines)}</xs:schema>'
        return etree.parse(io.BytesIO(text.encode()), parser)


def _short(message: str) -> str:
    """libxml2's message without the namespaces of names."""
    return re.sub(r"\{uri:oozie:[^}]*\}", "", message).rstrip(".")
