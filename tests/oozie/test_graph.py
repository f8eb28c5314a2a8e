"""The graph of a workflow: against a walk over every path, against runs of it, and against graphs that are right by
construction.  What the real server says of the same mistakes is in tests/hadoop/test_oozie.py."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.tools.oozie.document import parse
from mrml.tools.oozie.graph import Node, Way, findings, nodes_of
from tests.oozie.workflows import WRONG, workflow

N_WAYS = {"start": 1, "action": 2, "decision": 2, "fork": 2, "join": 1, "end": 0, "kill": 0}
Told = set[tuple[int, str]]


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Few nodes of all kinds; ways lead on, but for one of them now and then."""
    kinds = [
        "start",
        *draw(st.lists(st.sampled_from(["action", "decision", "fork", "join"]), max_size=7)),
        "end",
        "kill",
    ]
    names = ["", *(f"n{i}" for i in range(1, len(kinds)))]
    nodes = []
    for i, kind in enumerate(kinds):
        onward = st.sampled_from(names[i + 1 :]) if i + 1 < len(names) else st.just("kill")
        to = st.one_of(onward, onward, onward, onward, onward, st.sampled_from([*names[1:], "nobody"]))
        ways = tuple(Way(draw(to), kind != "action" or w == 0) for w in range(N_WAYS[kind]))
        nodes.append(Node(names[i], kind, i + 1, ways))
    return nodes


@st.composite
def sound(draw: st.DrawFn) -> list[Node]:
    """A graph that is right by construction: actions, decisions and forks, one after and inside the other."""
    nodes: list[Node] = []

    def node(kind: str, *to: str) -> str:
        name = f"{kind}{len(nodes)}"
        nodes.append(
            Node(name, kind, len(nodes) + 1, tuple(Way(t, kind != "action" or i == 0) for i, t in enumerate(to)))
        )
        return name

    def before(then: str, depth: int) -> str:
        """The first node of some that lead to ``then``."""
        kind = draw(st.sampled_from(["action", "decision", "fork", "two"] if depth else ["action"]))
        if kind == "two":
            return before(before(then, depth - 1), depth - 1)
        if kind == "fork":
            join = node("join", then)
            return node("fork", *(before(join, depth - 1) for _ in range(draw(st.integers(2, 3)))))
        if kind == "decision":
            return node("decision", before(then, depth - 1), draw(st.sampled_from([then, "kill"])), then)
        return node("action", then, draw(st.sampled_from([then, "kill"])))

    first = before("end", 3)
    ends = [Node("end", "end", 1000, ()), Node("kill", "kill", 1001, ())]
    unused = not any(way.to == "kill" for n in nodes for way in n.ways)
    return [Node("", "start", 999, (Way(first, True),)), *nodes, *(ends[:1] if unused else ends)]


@st.composite
def bent(draw: st.DrawFn) -> list[Node]:
    """One that was right, with a transition or two led elsewhere."""
    nodes = draw(sound())
    for _ in range(draw(st.integers(1, 2))):
        i = draw(st.sampled_from([i for i, n in enumerate(nodes) if n.ways]))
        ways = list(nodes[i].ways)
        w = draw(st.integers(0, len(ways) - 1))
        ways[w] = Way(draw(st.sampled_from([n.name for n in nodes if n.name])), ways[w].ok)
        nodes[i] = nodes[i]._replace(ways=tuple(ways))
    return nodes


def told(nodes: Sequence[Node]) -> Told:
    return {(f.line, f.kind) for f in findings(nodes)}


def closure(nodes: Sequence[Node]) -> dict[str, set[str]]:
    """Which nodes come after each, by Warshall's algorithm."""
    after = {n.name: {w.to for w in n.ways} for n in nodes}
    for middle, one in itertools.product(after, after):
        if middle in after[one]:
            after[one] |= after[middle]
    return after


def paths(graph: Mapping[str, Node], name: str) -> Iterator[list[tuple[str, int, bool]]]:
    """Every way from a node to where none leads on, as (node, number of the way taken, whether it went well)."""
    if not graph[name].ways:
        yield [(name, 0, True)]
    for i, way in enumerate(graph[name].ways):
        yield from ([(name, i, way.ok), *rest] for rest in paths(graph, way.to))


def expected(nodes: Sequence[Node]) -> Told:
    """The rules, each in the words of its definition."""
    graph, after, found = {n.name: n for n in nodes}, closure(nodes), set()
    if unknown := {(n.line, "unknown") for n in nodes for w in n.ways if w.to not in graph}:
        return unknown
    found |= {(n.line, "unreached") for n in nodes if n.name and n.name not in after[""]}
    if loops := {n.name for n in nodes if n.name in after[n.name]}:
        return found | {(0, name) for name in loops}
    joined: dict[str, set[str]] = defaultdict(set)
    well: dict[str, set[tuple[tuple[str, int], ...]]] = defaultdict(set)
    walked: set[str] = set()
    for path in paths(graph, ""):
        forks: tuple[tuple[str, int], ...] = ()
        fine = True
        for name, branch, ok in path:
            node = graph[name]
            walked.add(name)
            if node.kind == "end" and forks:
                found.add((node.line, "open"))
            if node.kind == "join" and not forks:
                found.add((node.line, "lone"))
                break
            if node.kind == "join":
                joined[name].add(forks[-1][0])
                forks = forks[:-1]
            elif fine and node.ways:
                well[name].add(forks)
            forks = (*forks, (name, branch)) if node.kind == "fork" else forks
            fine = fine and ok
    found |= {(graph[join].line, "forks") for join, of in joined.items() if len(of) > 1}
    for node in nodes:
        if node.kind == "fork" and node.name in walked:  # not behind a join that ended every way to it
            found |= {(node.line, "joins")} if sum(node.name in of for of in joined.values()) != 1 else set()
    for name, ways in well.items():
        for one, other in itertools.combinations(ways, 2):
            if any(a[0] == b[0] and a != b for a, b in zip(one, other, strict=False)):
                found.add((graph[name].line, "shared"))
    return found


@given(st.one_of(graphs(), bent()))
def test_what_is_told_is_what_a_walk_over_every_path_finds(nodes: list[Node]) -> None:
    should, lines = expected(nodes), {n.line: n for n in nodes}
    loops = {(line, name) for line, name in should if line == 0}
    said = told(nodes)
    assert said - {t for t in said if t[1] == "loop"} == should - loops
    assert bool(loops) == any(kind == "loop" for _, kind in said)
    assert all((0, lines[line].name) in loops for line, kind in said if kind == "loop")


@given(sound())
def test_a_graph_that_is_right_by_construction_is_accepted(nodes: list[Node]) -> None:
    assert findings(nodes) == []


def run(graph: Mapping[str, Node], choice: Mapping[str, int]) -> str:
    """How a run ends in which every decision and every action takes the way that is chosen."""
    tokens, waiting, size = [("", ())], defaultdict(int), {n: len(node.ways) for n, node in graph.items()}
    while tokens:
        name, forks = tokens.pop()
        node = graph[name]
        if node.kind in ("end", "kill"):
            return node.kind if node.kind == "kill" or not (tokens or forks) else "ended while others ran"
        if node.kind == "join":
            if not forks:
                return "joined nothing"
            waiting[name] += 1
            if waiting[name] < size[forks[-1]]:
                continue
            forks = forks[:-1]
        if node.kind == "fork":
            tokens += [(way.to, (*forks, name)) for way in node.ways]
        else:
            tokens.append((node.ways[choice.get(name, 0)].to, forks))
    return "waits for ever"


@given(st.one_of(sound(), bent()), st.data())
def test_whatever_is_accepted_ends_whatever_happens(nodes: list[Node], data: st.DataObject) -> None:
    if {kind for _, kind in told(nodes)} <= {"unreached"}:
        graph = {n.name: n for n in nodes}
        choosers = [n for n in nodes if n.kind in ("action", "decision")]
        for _ in range(10):
            choice = {n.name: data.draw(st.integers(0, len(n.ways) - 1)) for n in choosers}
            assert run(graph, choice) in ("end", "kill")


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_told_with_its_line_and_a_remedy(name: str) -> None:
    text, _, said = WRONG[name]
    told = findings(nodes_of(parse(text.encode(), "workflow.xml")))
    first = [f for f in told if f.kind != "unreached"] or told  # where a mistake is, the end may have no way to it
    assert len(first) == 1 and said in first[0].finding and first[0].remedy and first[0].line > 1


def test_two_names_two_starts_and_ways_that_lead_nowhere_are_told() -> None:
    text = workflow('<kill name="a"><message/></kill><start to="a"/><action name="b"><ok to="end"/></action>', "a")
    told = [f.finding for f in findings(nodes_of(parse(text.encode(), "x")))]
    assert told == [
        "there are 2 starts",
        "action 'b' goes to nowhere when it fails, which is not a node",
    ]
    text = workflow('<kill name="a"><message/></kill><kill name="a"><message/></kill>', "a")
    assert [f.finding for f in findings(nodes_of(parse(text.encode(), "x")))][:1] == ["there are 2 nodes 'a'"]
