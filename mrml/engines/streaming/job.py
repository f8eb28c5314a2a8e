"""The mrjob job of one round: map tasks send up nodes of the merge tree, reducers complete it.

mrjob ships this file and runs it as a script, so it imports by full names and ends in a ``__main__`` guard.  Input
lines are numbers of splits.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from mrml import pin
from mrml.engines.streaming import mrjob_compat

pin.pin()  # before NumPy loads: a task that was started by hand has no other's variables
mrjob_compat.install()

from mrjob.job import MRJob  # noqa: E402
from mrjob.protocol import RawValueProtocol  # noqa: E402
from mrjob.step import MRStep  # noqa: E402

from mrml import names, wire  # noqa: E402
from mrml.algorithm import State, from_spec  # noqa: E402
from mrml.data.block import Block  # noqa: E402
from mrml.data.dataset import Dataset  # noqa: E402
from mrml.data.kept import KeptBlocks  # noqa: E402
from mrml.data.shards import Shard  # noqa: E402
from mrml.data.store import DirectoryStore  # noqa: E402
from mrml.data.without_pandas import keep_pandas_out  # noqa: E402
from mrml.engines.local.worker import end_with  # noqa: E402
from mrml.engines.streaming.feed import fed_split  # noqa: E402
from mrml.engines.streaming.protocol import (  # noqa: E402
    ERROR,
    KEY,
    REPORT,
    Fields,
    FieldsProtocol,
    grouped,
    read_raw,
    write_raw,
)
from mrml.engines.task import Report, blocks, map_split, reduce_key, source_of, task_error, tell  # noqa: E402
from mrml.errors import TaskFailed  # noqa: E402
from mrml.fs.folder import Folder  # noqa: E402
from mrml.statistic import Node  # noqa: E402

#: of standard input at a time
CHUNK_BYTES = 4 << 20


def error_fields(error: Exception, place: str) -> Fields:
    """What went wrong, as the driver raises it again; of what nobody expected also the container and its log."""
    found, environment = task_error(error, place), pin.environment()
    if isinstance(found, TaskFailed) and (container := environment.get("CONTAINER_ID")):
        from mrml.engines.hadoop.diagnose import log_of

        node = f"{environment.get('NM_HOST', '?')}:{environment.get('NM_HTTP_PORT', '?')}"
        found.place += f" on {node} ({container})"
        found.remedy = log_of(container, node, environment.get("yarn_log_aggregation_enable") == "true")
    return [json.dumps(tell(found)).encode()]


def report_field(report: Report) -> bytes:
    """What a task counted."""
    return json.dumps(vars(report)).encode()


class RoundJob(MRJob):  # type: ignore[misc]
    """One round, or with ``--scoring`` one map-only scoring of the splits."""

    INPUT_PROTOCOL = RawValueProtocol
    INTERNAL_PROTOCOL = FieldsProtocol
    OUTPUT_PROTOCOL = FieldsProtocol
    #: of Hadoop's runner, unless the command line says otherwise: a line is a map task, and its offset no part of it
    JOBCONF: ClassVar = {"stream.map.input.ignoreKey": "true", "mapreduce.input.lineinputformat.linespermap": "1"}

    def configure_args(self) -> None:
        super().configure_args()
        self.add_file_arg("--task", help="dataset and algorithm, staged once a run")
        self.add_file_arg("--state", help="the State of the round, by the distributed cache")
        self.add_file_arg("--scoring", help="model and output of a map-only scoring")
        self.add_file_arg("--resident", help="where the driver of a run is, for tasks that stay until its end")
        self.add_passthru_arg("--fed", action="store_true", help="input is the rows, as Hadoop reads them")

    def hadoop_input_format(self) -> str:
        """One line of split numbers is one map task, unless Hadoop feeds the rows."""
        return f"org.apache.hadoop.mapred.{'TextInputFormat' if self.options.fed else 'lib.NLineInputFormat'}"

    def _runner_class(self) -> Any:
        if self.options.runner != "local":
            return super()._runner_class()
        from mrml.engines.streaming.runner import LocalRunner

        return LocalRunner

    def steps(self) -> list[Any]:
        if self.options.resident:
            return [MRStep(mapper=self.stay)]
        if self.options.scoring:
            return [MRStep(mapper_init=self.task_init, mapper=self.score_splits)]
        return [
            MRStep(mapper_init=self.task_init, mapper=self.map_splits, reducer_init=self.task_init, reducer=self.reduce)
        ]

    def run_mapper(self, step_num: int = 0) -> None:
        """As mrjob does, but what goes to a reducer of Hadoop goes as bytes."""
        if not _raw("stream.map.output"):
            return super().run_mapper(step_num)  # type: ignore[no-any-return]
        read_lines, _ = self._wrap_protocols(step_num, "mapper")
        pairs = self.map_fed() if self.options.fed else self.map_pairs(read_lines(), step_num=step_num)
        for key, fields in pairs:
            write_raw(self.stdout, key, fields)

    def run_reducer(self, step_num: int = 0) -> None:
        """As mrjob does, but what comes from a mapper of Hadoop comes as bytes."""
        if not _raw("stream.reduce.input"):
            return super().run_reducer(step_num)  # type: ignore[no-any-return]
        self.task_init()
        _, write_line = self._wrap_protocols(step_num, "reducer")
        for name, values in grouped(read_raw(self.stdin)):
            for key, fields in self.reduce(name, values):
                write_line(key, fields)

    def task_init(self) -> None:
        if {"--mapper", "--reducer"} & set(sys.argv):  # a process of its own: nobody reads what it does after its job
            end_with(os.getppid())
            keep_pandas_out()
        if not isinstance(sys.stderr, io.TextIOBase):  # mrjob's inline runner hands a binary file, and words are text
            sys.stderr = io.TextIOWrapper(sys.stderr, "utf-8", "backslashreplace", write_through=True)
        task = wire.loads(Path(self.options.task).read_bytes())
        names.allow(*task["allow"])
        self.dataset = Dataset.from_json(task["dataset"])
        self.split_bytes = task["split_bytes"]
        self.store = DirectoryStore(Path(task["store"])) if task["store"] else None
        self.kept = task["kept"]
        self.heads = task["heads"]
        if not self.options.scoring:
            self.algorithm = from_spec(task["algorithm"])
            self.state = State.from_wire(wire.loads(Path(self.options.state).read_bytes()))

    def map_splits(self, _: None, line: str) -> Iterator[tuple[str, Fields]]:
        """A line holds the numbers of the splits to map."""
        for number in line.split():
            yield from self.map_split(int(number))

    def map_split(self, number: int) -> Iterator[tuple[str, Fields]]:
        """Read a split and map it."""
        yield from self.mapped(lambda: self.source(number), f"split {number}")

    def source(self, number: int) -> Iterable[Block] | Shard:
        """What a split holds, with what earlier jobs have computed of it where the algorithm asks for that."""
        names = self.algorithm.keeps(self.state) if self.kept else ()
        if not names:
            return source_of(self.algorithm, self.state, self.dataset, self.split_bytes, number, self.store)
        kept = KeptBlocks(Folder(self.kept), number, Path("kept-blocks"), names)  # the working directory is the task's
        return kept.blocks(self.dataset, self.dataset.splits(self.split_bytes)[number])

    def map_fed(self) -> Iterator[tuple[str, Fields]]:
        """Map the rows on standard input, to its end: Hadoop fails a task that leaves some."""
        self.task_init()
        chunks = iter(lambda: self.stdin.read(CHUNK_BYTES), b"")
        environment = pin.environment()

        def source() -> Iterator[Block]:
            number, head, split = fed_split(self.dataset, self.heads, environment)
            return self.dataset.fed(number, head, split.windows(chunks))

        yield from self.mapped(source, environment.get("mapreduce_map_input_file", "split"))
        for _ in chunks:
            pass

    def mapped(self, source: Callable[[], Iterable[Block] | Shard], place: str) -> Iterator[tuple[str, Fields]]:
        """What the blocks of a source send up; what goes wrong is a record too."""
        sent: list[tuple[str, Fields]] = []

        def sink(key: str, node: Node, statistic: Any) -> int:
            message = wire.dumps(statistic)
            sent.append((KEY + key, [",".join(map(str, node)).encode(), message]))
            return len(message)

        try:
            report = map_split(self.algorithm, self.state, source(), sink)
        except Exception as error:
            yield ERROR, error_fields(error, place)
            return
        if not sent:
            yield REPORT, [report_field(report)]
        for i, (key, fields) in enumerate(sent):
            # what the task counted rides on its first record: no key, and so no reduce task, of its own
            yield key, fields + ([report_field(report)] if i == 0 else [])

    def reduce(self, name: str, values: Iterator[Fields]) -> Iterator[tuple[str, Fields]]:
        if name in (ERROR, REPORT):
            yield from ((name, fields) for fields in values)
            return
        report, key = Report(), name.removeprefix(KEY)
        try:
            with report.spending("reduce"):
                message = reduce_key(self.algorithm, self.state, key, _parts(values, report))
        except Exception as error:
            yield ERROR, error_fields(error, f"key {key!r}")
            return
        yield name, [message, report_field(report)]

    def stay(self, _: None, line: str) -> None:
        """Serve the driver's rounds until it says that there are no more."""
        from mrml.engines.resident.task import stay

        end_with(os.getppid())
        keep_pandas_out()
        stay(Path(self.options.resident), int(line), Path("mrml-resident"), reports=sys.stderr)

    def score_splits(self, _: None, line: str) -> Iterator[tuple[str, Fields]]:
        """A line holds the numbers of the splits to score."""
        for number in line.split():
            yield from self.score(int(number))

    def score(self, number: int) -> Iterator[tuple[str, Fields]]:
        from mrml.engines.write import Scoring, write_split
        from mrml.model import received

        try:
            scoring = wire.loads(Path(self.options.scoring).read_bytes())
            source = blocks(self.dataset, self.dataset.splits(self.split_bytes)[number], self.store)
            model = received(scoring["model"])
            report = write_split(model, source, Scoring.from_wire(scoring["scoring"]), number)
        except Exception as error:
            yield ERROR, error_fields(error, f"split {number}")
            return
        yield REPORT, [report_field(report)]


def _raw(key: str) -> bool:
    """Whether Hadoop was told to carry bytes: a task finds the job's properties in its environment."""
    return pin.environment().get(key.replace(".", "_")) == "rawbytes"


def _parts(values: Iterator[Fields], report: Report) -> Iterator[tuple[Node, Any]]:
    for node, message, *counted in values:
        for text in counted:
            report.merge(Report(**json.loads(text)))
        file, level, position = map(int, node.split(b","))
        yield Node(file, level, position), wire.loads(message)


def main() -> None:
    """Run as a task: records go to standard output, and what a library writes there goes to standard error."""
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    RoundJob.run()


if __name__ == "__main__":
    main()
