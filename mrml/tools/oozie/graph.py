"""The nodes of a workflow and their transitions: what Oozie refuses only when it is submitted, and what it never says.

Neither the XML schemas nor ``oozie validate`` look at the graph.  The rules are those of ``LiteWorkflowValidator`` of
Oozie 5.2.1, with its codes in brackets:

- a transition leads to a node that is there [E0708], names are unique, and there is no way round [E0707];
- every way out of a fork comes to its one join, or ends in a kill [E0733, E0737, E0757], a join has one fork and stands
  inside it [E0742, E0758], and what one branch comes to when all goes well, no other branch does [E0743, E0744].

Stricter than Oozie: every node can be reached, and branches share no node, whatever decision stands above the fork.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mrml.tools.oozie.document import Element

KINDS = ("start", "end", "kill", "decision", "fork", "join", "action")
#: Oozie's name for a node may have as many characters
LONGEST = 128


class Way(NamedTuple):
    """A transition; ``ok`` is False for that of an action that failed."""

    to: str
    ok: bool


class Node(NamedTuple):
    """``line`` of its element; 0 where there is none."""

    name: str
    kind: str
    line: int
    ways: tuple[Way, ...]


class Finding(NamedTuple):
    """What is wrong with the node of a line: ``kind`` in one word, for whoever compares."""

    line: int
    kind: str
    finding: str
    remedy: str


#: an open fork and the number of the branch, from the outermost in
Open = tuple[tuple[str, int], ...]


def nodes_of(workflow: Element) -> list[Node]:
    """The nodes of a ``workflow-app``, in the order they are written."""
    return [_node(e) for e in workflow.children if e.tag in KINDS]


def _node(element: Element) -> Node:
    places: dict[str, list[tuple[Element | None, str, bool]]] = {
        "start": [(element, "to", True)],
        "join": [(element, "to", True)],
        "fork": [(path, "start", True) for path in element.all("path")],
        "action": [(element.first("ok"), "to", True), (element.first("error"), "to", False)],
        "decision": [(e, "to", True) for e in (element.first("switch") or element).children],
    }
    found = [(e.attributes.get(name, "") if e else "", ok) for e, name, ok in places.get(element.tag, [])]
    name = "" if element.tag == "start" else element.attributes.get("name", "")
    return Node(name, element.tag, element.line, tuple(Way(to.strip(), ok) for to, ok in found))


def findings(nodes: Sequence[Node]) -> list[Finding]:
    """What is wrong, in the order of the lines; forks are looked at where nothing else is wrong with the ways."""
    graph: dict[str, Node] = {}
    for node in nodes:
        graph.setdefault(node.name, node)
    starts = [node for node in nodes if node.kind == "start"]
    found = [*_names(nodes), *_ends(nodes, starts)]
    unknown = list(_unknown(nodes, graph))
    loops = [] if unknown else list(_loops(graph))
    found += unknown + loops
    if len(starts) == 1 and not unknown:
        found += _unreached(nodes, graph)
        found += [] if loops else Forks(graph).findings()
    return sorted(found)


def _names(nodes: Sequence[Node]) -> Iterator[Finding]:
    counts = Counter(node.name for node in nodes if node.kind != "start")
    for node in nodes:
        if node.kind != "start" and not node.name:
            yield Finding(node.line, "name", f"{node.kind} has no name", 'write name="..."')
        elif counts[node.name] > 1:
            yield Finding(node.line, "twice", f"there are {counts[node.name]} nodes {node.name!r}", "rename one")
            counts[node.name] = 1
        elif len(node.name) > LONGEST:
            yield Finding(node.line, "name", f"{node.name!r} is longer than {LONGEST} characters", "shorten it")


def _ends(nodes: Sequence[Node], starts: Sequence[Node]) -> Iterator[Finding]:
    if len(starts) != 1:
        line = starts[1].line if starts else 1
        yield Finding(line, "start", f"there are {len(starts)} starts", "a workflow has exactly one <start to=.../>")
    if not any(node.kind == "end" for node in nodes):
        yield Finding(1, "end", "there is no end", 'write <end name="end"/>')
    for node in nodes:
        if node.kind == "fork" and len(node.ways) < 2:
            finding = f"fork {node.name!r} has {len(node.ways)} paths"
            yield Finding(node.line, "paths", finding, "a fork has at least two; go to the node itself")


def _unknown(nodes: Sequence[Node], graph: Mapping[str, Node]) -> Iterator[Finding]:
    for node in nodes:
        for way in node.ways:
            if not way.to or way.to not in graph:
                to = repr(way.to) if way.to else "nowhere" if way.ok else "nowhere when it fails"
                place = f"{node.kind} {node.name!r}" if node.name else node.kind
                names = ", ".join(sorted(n for n in graph if n))
                yield Finding(node.line, "unknown", f"{place} goes to {to}, which is not a node", f"nodes are {names}")


def _loops(graph: Mapping[str, Node]) -> Iterator[Finding]:
    """One way round for each that a depth-first walk closes."""
    done: set[str] = set()
    for root in graph:
        path: list[str] = []
        todo: list[tuple[str, bool]] = [(root, False)]
        while todo:
            name, leaves = todo.pop()
            if leaves:
                done.add(path.pop())
            elif name in path:
                way = " -> ".join([*path[path.index(name) :], name])
                yield Finding(graph[name].line, "loop", f"there is a way round: {way}", "end it in a kill or an end")
            elif name not in done:
                path.append(name)
                todo += [(name, True), *((way.to, False) for way in graph[name].ways)]


def _unreached(nodes: Sequence[Node], graph: Mapping[str, Node]) -> Iterator[Finding]:
    seen: set[str] = set()
    todo = [""]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [way.to for way in graph[name].ways]
    for node in nodes:
        if node.name and node.name not in seen:
            finding = f"{node.kind} {node.name!r} is never reached"
            yield Finding(node.line, "unreached", finding, "let a transition lead to it, or remove it")


class Forks:
    """A walk over every node with the forks that are open there; the graph has no way round."""

    def __init__(self, graph: Mapping[str, Node]) -> None:
        self.graph = graph
        self.found: dict[tuple[str, str], Finding] = {}
        self.reached: set[str] = set()
        self.forks_of: dict[str, set[str]] = defaultdict(set)
        #: the forks that are open at a node of which nothing before it failed
        self.well: dict[str, set[Open]] = defaultdict(set)

    def findings(self) -> list[Finding]:
        """What is wrong with forks and joins."""
        seen: set[tuple[str, Open, bool]] = set()
        todo: list[tuple[str, Open, bool]] = [("", (), True)]
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                todo += self._next(*state)
        self._pairs()
        self._shared()
        return list(self.found.values())

    def _next(self, name: str, forks: Open, well: bool) -> Iterator[tuple[str, Open, bool]]:
        node = self.graph[name]
        self.reached.add(name)
        if node.kind == "end" and forks:
            self._tell(node, "open", f"is reached inside fork {forks[-1][0]!r}", "go through the fork's join first")
        if node.kind == "join":
            if not forks:
                self._tell(node, "lone", "is reached outside of any fork", "lead only branches of a fork to it")
                return
            self.forks_of[name].add(forks[-1][0])
            forks = forks[:-1]
        elif well and node.kind not in ("end", "kill"):
            self.well[name].add(forks)
        for branch, way in enumerate(node.ways):
            inner = (*forks, (name, branch)) if node.kind == "fork" else forks
            yield way.to, inner, well and way.ok

    def _pairs(self) -> None:
        """Every fork has one join, and every join one fork."""
        joins_of: dict[str, set[str]] = defaultdict(set)
        for join, forks in self.forks_of.items():
            for fork in forks:
                joins_of[fork].add(join)
            if len(forks) > 1:
                finding = f"joins the forks {_listed(forks)}"
                self._tell(self.graph[join], "forks", finding, "give each fork a join of its own")
        for node in self.graph.values():
            joins = joins_of[node.name]
            if node.kind == "fork" and node.name in self.reached and len(joins) != 1:
                finding = f"has the joins {_listed(joins)}" if joins else "has no join"
                self._tell(node, "joins", finding, "lead all of its branches to one join")

    def _shared(self) -> None:
        """No node is in two branches of a fork, unless it is come to after a failure."""
        for name, ways in self.well.items():
            for one in ways:
                for other in ways:
                    fork = next((a[0] for a, b in zip(one, other, strict=False) if a[0] == b[0] and a[1] != b[1]), None)
                    if fork is not None:
                        finding = f"is in two branches of fork {fork!r}"
                        self._tell(self.graph[name], "shared", finding, "give each branch a node of its own")

    def _tell(self, node: Node, kind: str, finding: str, remedy: str) -> None:
        self.found[node.name, kind] = Finding(node.line, kind, f"{node.kind} {node.name!r} {finding}", remedy)


def _listed(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
