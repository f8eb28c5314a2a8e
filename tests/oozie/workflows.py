"""Workflows with one mistake each, by what is wrong: the text, the code that Oozie 5.2.1 refuses it with (empty where
it takes it), and what the graph check says."""

from __future__ import annotations

_SHELL = (
    '<shell xmlns="uri:oozie:shell-action:1.0"><resource-manager>r:1</resource-manager>'
    "<name-node>hdfs://n:1</name-node><exec>true</exec></shell>"
)


def action(name: str, ok: str, error: str = "fail") -> str:
    return f'<action name="{name}">{_SHELL}<ok to="{ok}"/><error to="{error}"/></action>\n'


def fork(name: str, *to: str) -> str:
    return f'<fork name="{name}">' + "".join(f'<path start="{t}"/>' for t in to) + "</fork>\n"


def join(name: str, to: str) -> str:
    return f'<join name="{name}" to="{to}"/>\n'


def decision(name: str, one: str, other: str) -> str:
    ways = f'<case to="{one}">${{true}}</case><default to="{other}"/>'
    return f'<decision name="{name}"><switch>{ways}</switch></decision>\n'


def workflow(body: str, start: str) -> str:
    """A whole workflow with a kill ``fail`` and an end ``end``."""
    head = f'<workflow-app xmlns="uri:oozie:workflow:1.0" name="w">\n<start to="{start}"/>\n'
    return f'{head}{body}<kill name="fail"><message>no</message></kill>\n<end name="end"/>\n</workflow-app>\n'


WRONG: dict[str, tuple[str, str, str]] = {
    "unknown": (workflow(action("a", "b"), "a"), "E0708", "action 'a' goes to 'b', which is not a node"),
    "loop": (workflow(action("a", "b") + action("b", "a"), "a"), "E0707", "there is a way round: a -> b -> a"),
    "itself": (workflow(action("a", "a"), "a"), "E0706", "there is a way round: a -> a"),
    "no join": (
        workflow(fork("f", "a", "b") + action("a", "fail") + action("b", "fail"), "f"),
        "E0730",
        "fork 'f' has no join",
    ),
    "end in a fork": (
        workflow(fork("f", "a", "b") + action("a", "j") + action("b", "j", "end") + join("j", "end"), "f"),
        "E0737",
        "end 'end' is reached inside fork 'f'",
    ),
    "join without a fork": (
        workflow(
            decision("d", "f", "j") + fork("f", "a", "b") + action("a", "j") + action("b", "j") + join("j", "end"), "d"
        ),
        "E0742",
        "join 'j' is reached outside of any fork",
    ),
    "shared": (
        workflow(fork("f", "a", "b") + action("a", "c") + action("b", "c") + action("c", "j") + join("j", "end"), "f"),
        "E0743",
        "action 'c' is in two branches of fork 'f'",
    ),
    "the same path twice": (
        workflow(fork("f", "a", "a") + action("a", "j") + join("j", "end"), "f"),
        "E0744",
        "action 'a' is in two branches of fork 'f'",
    ),
    "shared below a decision": (
        workflow(
            decision("d", "f", "fail")
            + fork("f", "a", "b")
            + action("a", "c")
            + action("b", "c")
            + action("c", "j")
            + join("j", "end"),
            "d",
        ),
        "",
        "action 'c' is in two branches of fork 'f'",
    ),
    "unreached": (workflow(action("a", "end") + action("b", "end"), "a"), "", "action 'b' is never reached"),
}
RIGHT: dict[str, str] = {
    "an action": workflow(action("a", "end"), "a"),
    "a fork": workflow(fork("f", "a", "b") + action("a", "j") + action("b", "j") + join("j", "end"), "f"),
    "forks inside": workflow(
        fork("f", "g", "b") + fork("g", "a", "c") + action("a", "k") + action("c", "k") + join("k", "j")
        + action("b", "j") + join("j", "end"), "f"
    ),
    "an action after failures of both branches": workflow(
        fork("f", "a", "b") + action("a", "j", "m") + action("b", "j", "m")
        + join("j", "end") + action("m", "fail"), "f"
    ),
}  # fmt: skip
