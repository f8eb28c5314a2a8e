"""Splits go to tasks on the hosts that hold their rows, where that is known, and evenly."""

from __future__ import annotations

from mrml.data.dataset import Dataset, Range
from mrml.data.files import File
from mrml.engines.resident.near import Held, called, deal, holders
from mrml.schema import Column, Format, Schema


def test_a_host_is_known_by_every_name_that_somebody_calls_it() -> None:
    assert called(["Node7.rack.example", "10.0.0.7", None]) == {"node7.rack.example", "node7", "10.0.0.7"}
    assert called(["node7"]) & called(["NODE7.rack.example"]) and not called(["10.0.0.7"]) & called(["10.0.0.8"])


def test_a_split_is_held_by_the_hosts_with_most_of_its_bytes() -> None:
    files = (File("a", "a", 1000, n_blocks=10), File("b", "b", 100, n_blocks=1, splittable=False))
    dataset = Dataset(Schema((Column("x"),), Format(), 100), files)
    held = [[Held(0, 256, frozenset("pq")), Held(256, 512, frozenset("qr")), Held(512, 1000, frozenset("s"))], []]
    splits = [(Range(0, 0, 2),), (Range(0, 2, 4),), (Range(0, 4, 10),), (Range(1, 0, None),)]
    # blocks 2 and 3: 56 bytes lie on p and q, 144 on q and r; blocks 4 to 9: 112 on q and r, 488 on s
    assert holders(dataset, splits, held) == [{"p", "q"}, {"q", "r"}, {"s"}, frozenset()]


def test_splits_go_to_those_near_to_them_up_to_a_fair_share_and_stay_where_they_are() -> None:
    tasks = {5: frozenset("p"), 6: frozenset("q"), 7: frozenset("z")}
    near = [frozenset(hosts) for hosts in ("p", "pq", "pq", "q", "q", "x", "")]
    owners = {3: 7}
    deal(owners, near, tasks, share=2)
    assert owners == {3: 7, 0: 5, 1: 6, 2: 5, 4: 6}
    deal(owners, near, {8: frozenset("x")}, share=2)
    assert owners == {3: 7, 0: 5, 1: 6, 2: 5, 4: 6, 5: 8}
