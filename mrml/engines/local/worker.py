"""A worker process of the local engine: reads messages on stdin, answers on stdout, ends with its driver."""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mrml import names, pin, wire
from mrml.algorithm import Algorithm, State, from_spec
from mrml.data.dataset import Dataset
from mrml.data.store import DirectoryStore
from mrml.data.without_pandas import keep_pandas_out
from mrml.engines import scratch
from mrml.engines.local.delta import apply, delta
from mrml.engines.task import (
    Report,
    Sink,
    blocks,
    go_ahead,
    in_task,
    map_split,
    send_exact,
    source_of,
    task_error,
    tell,
)
from mrml.engines.write import Scoring, write_split
from mrml.model import Model, load, received
from mrml.statistic import Node, Statistic

#: a message larger than this goes through a file, so that the driver holds one key at a time
SPILL_BYTES = 256 << 10
_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, tree: Any) -> None:
    """One framed message."""
    send_bytes(stream, wire.dumps(tree))


def send_bytes(stream: BinaryIO, message: bytes) -> None:
    """One framed message that is encoded already."""
    put_bytes(stream, message)
    stream.flush()


def put_bytes(stream: BinaryIO, message: bytes) -> None:
    """One framed message that is encoded already, to be sent with what comes after it."""
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)


def receive(stream: BinaryIO) -> Any:
    """The next framed message; EOFError when the other side is gone."""
    (n_bytes,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return wire.loads(_exactly(stream, n_bytes))


def _exactly(stream: BinaryIO, n_bytes: int) -> memoryview:
    message, done = memoryview(bytearray(n_bytes)), 0
    while done < n_bytes:
        n = stream.readinto(message[done:])  # type: ignore[attr-defined]
        if not n:
            raise EOFError
        done += n
    return message.toreadonly()


class Worker:
    """Keeps the Dataset, the Algorithm and the State between messages; what it decodes is below ``folder``, or where
    the driver says."""

    def __init__(self, folder: Path = Path()) -> None:
        self.folder = folder
        self.dataset: Dataset
        self.split_bytes = 0
        self.store: DirectoryStore
        #: where large statistics go that the driver reads as files
        self.spill: Path | None = None
        self.algorithm: Algorithm
        self.state: State
        self.told: dict[str, Any] = {}
        self.model: Model
        self.scoring: Scoring

    def handle(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to one message; only messages that bring work have one."""
        answer: dict[str, Any] | None = getattr(self, "on_" + message["op"])(message)
        return answer

    def on_dataset(self, message: dict[str, Any]) -> None:
        sys.path += [p for p in message["path"] if p not in sys.path]
        self.dataset = Dataset.from_json(message["dataset"])
        self.split_bytes = message["split_bytes"]
        self.store = DirectoryStore(self.folder / message["store"], alone=True)
        self.spill = Path(message["spill"]) if message["spill"] else None

    def on_algorithm(self, message: dict[str, Any]) -> None:
        names.allow(*message["allow"])
        self.algorithm = from_spec(message["algorithm"])

    def on_state(self, message: dict[str, Any]) -> None:
        self.told, self.state = message, State.from_wire(message["state"])
        self.exact: dict[str, Statistic] = {}

    def on_change(self, message: dict[str, Any]) -> None:
        """The next State, from the one before: arrays that stayed are the same objects."""
        self.on_state(apply(self.told, message["change"]))

    def on_map(self, message: dict[str, Any]) -> dict[str, Any]:
        """Map some splits; what is exact stays for those after them, unless it is asked for."""
        parts, sink = self._sink(str(message["tasks"][0]))
        report = Report()
        for number in message["tasks"]:
            with in_task(f"split {number}"):
                source = source_of(self.algorithm, self.state, self.dataset, self.split_bytes, number, self.store)
                report.merge(map_split(self.algorithm, self.state, source, sink, self.exact))
        if message["collect"]:
            report.merge(send_exact(self.exact, sink))
        return {"parts": parts, "report": vars(report), "holds": bool(self.exact)}

    def on_collect(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send what stayed of the splits of this round."""
        parts, sink = self._sink(f"exact{message['tasks'][0]}")
        return {"parts": parts, "report": vars(send_exact(self.exact, sink))}

    def on_ahead(self, message: dict[str, Any]) -> dict[str, Any]:
        """Go on by itself, as the only worker; what changed of the State, None where there was no shorter way."""
        after, report = go_ahead(self.algorithm, self.state, self.dataset, self.split_bytes, self.store)
        change = None if after is None else delta(self.told["state"], after.to_wire())
        return {"parts": [], "report": vars(report), "change": change}

    def _sink(self, name: str) -> tuple[list[list[Any]], Sink]:
        parts: list[list[Any]] = []

        def sink(key: str, node: Node, statistic: Any) -> int:
            message = wire.dumps(statistic)
            parts.append([key, list(node), self._body(message, f"{name}-{len(parts)}")])
            return len(message)

        return parts, sink

    def _body(self, statistic: bytes, name: str) -> Any:
        if self.spill is None or len(statistic) <= SPILL_BYTES:
            return np.frombuffer(statistic, np.uint8)
        path = self.spill / name
        with scratch.room(path.parent, len(statistic)):
            path.write_bytes(statistic)
        return str(path)

    def on_model(self, message: dict[str, Any]) -> None:
        names.allow(*message["allow"])
        told = message["model"]  # its directory, or what is in it
        self.model = load(told) if isinstance(told, str) else received(told)
        self.scoring = Scoring.from_wire(message["scoring"])

    def on_write(self, message: dict[str, Any]) -> dict[str, Any]:
        report = Report()
        for number in message["tasks"]:
            with in_task(f"split {number}"):
                source = blocks(self.dataset, self.dataset.splits(self.split_bytes)[number], self.store)
                report.merge(write_split(self.model, source, self.scoring, number))
        return {"parts": [], "report": vars(report)}


def preload() -> None:
    """Import what decoding needs while the driver still plans: pyarrow takes a worker 0.1 s."""
    import pyarrow.parquet  # noqa: F401

    keep_pandas_out()


def end_with(driver: int) -> None:
    """Exit when the driver is gone, also when it was killed while this process starts or computes."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run(driver: int, number: int, source: BinaryIO, sink: BinaryIO) -> None:
    """Serve as worker ``number`` until the source ends, or the driver."""
    import signal

    pin.worker = number  # workers of one machine take its GPUs in turn
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    end_with(driver)
    os.dup2(2, 1)  # what an algorithm prints must not end up between messages
    preload()
    serve(Worker(), source, lambda answer: send(sink, answer))


def serve(worker: Worker, source: BinaryIO, answers: Callable[[dict[str, Any]], None]) -> bool:
    """Do what the messages of a driver say; whether it said that there is nothing more to do, and is not just gone."""
    while True:
        try:
            message = receive(source)
        except (EOFError, OSError):
            return False
        if message["op"] == "end":
            return True
        try:
            answer = worker.handle(message)
        except Exception as error:
            answer = tell(task_error(error, str(message.get("op"))))
        if answer is not None:
            try:
                answers({**answer, "tasks": message.get("tasks", [])})
            except OSError:
                return False


def main() -> None:
    """Serve as the process that the driver started, which gave its own id, the worker's number and pinned kernels."""
    run(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
