"""Discovery: names, order, hidden files, partitions, side files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml.data.files import File, discover
from mrml.errors import InputError


def write(root: Path, *names: str, text: str = "1\n") -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def names(*paths: str) -> list[str]:
    return [f.name for f in discover(paths)]


def test_files_are_sorted_by_the_bytes_of_their_names(tmp_path):
    root = write(tmp_path, "b.csv", "B.csv", "sub/a.csv", "é.csv", "part-10.csv", "part-2.csv")
    assert names(root) == ["B.csv", "b.csv", "part-10.csv", "part-2.csv", "sub/a.csv", "é.csv"]


def test_markers_and_hidden_files_are_skipped_at_every_level(tmp_path):
    root = write(
        tmp_path, "a.csv", "_SUCCESS", ".a.csv.crc", "b.csv.crc", "_temporary/0/part-0", "d/_committed_1", "d/.x/y"
    )
    assert names(root) == ["a.csv"]
    assert names(str(tmp_path / "*")) == ["a.csv"]


def test_a_hidden_directory_may_be_the_root(tmp_path):
    assert names(write(tmp_path / "_run" / ".data", "a.csv")) == ["a.csv"]


def test_empty_files_change_nothing(tmp_path):
    root = write(tmp_path, "a.csv", "c.csv")
    before = discover([root])
    write(tmp_path, "b.csv", "0.csv", text="")
    assert discover([root]) == before


def test_a_directory_a_glob_and_a_list_name_the_same_files_alike(tmp_path):
    root = write(tmp_path / "d", "a.csv", "b.csv")
    whole = discover([root])
    assert discover([root + "/*.csv"]) == whole
    assert discover([root + "/b.csv", root + "/a.csv"]) == whole


def test_names_do_not_depend_on_where_the_root_lies(tmp_path):
    one, two = write(tmp_path / "x" / "d", "a.csv", "s/b.csv"), write(tmp_path / "y" / "z" / "d", "a.csv", "s/b.csv")
    assert names(one) == names(two) == ["a.csv", "s/b.csv"]
    assert names(one, write(tmp_path / "x" / "e", "a.csv")) == names(two, write(tmp_path / "y" / "z" / "e", "a.csv"))


def test_several_directories_keep_their_names_apart(tmp_path):
    write(tmp_path, "2010/a.csv", "2011/a.csv")
    assert names(str(tmp_path / "2011"), str(tmp_path / "2010")) == ["2010/a.csv", "2011/a.csv"]


def test_inputs_of_equal_names_are_numbered(tmp_path):
    write(tmp_path, "x/d/a.csv", "y/d/a.csv")
    assert names(str(tmp_path / "y/d"), str(tmp_path / "x/d")) == ["0000/d/a.csv", "0001/d/a.csv"]


def test_a_file_named_twice_is_refused(tmp_path):
    root = write(tmp_path, "a.csv")
    with pytest.raises(InputError, match="count twice"):
        discover([root, root + "/a.csv"])


@pytest.mark.parametrize("path", ["nothing", "*.parquet", "hidden", "empty", "all_empty"])
def test_nothing_to_read_is_an_input_error_that_names_the_path(tmp_path, path):
    write(tmp_path, "a.csv", "hidden/_SUCCESS")
    write(tmp_path, "all_empty/a.csv", text="")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        discover([str(tmp_path / path)])
    assert caught.value.exit_code == 3 and path in caught.value.place and caught.value.remedy


def test_a_name_with_brackets_that_exists_is_no_pattern(tmp_path):
    write(tmp_path, "a[1].csv", "a1.csv")
    assert names(str(tmp_path / "a[1].csv")) == ["a[1].csv"]


def test_hive_directories_become_partition_values(tmp_path):
    root = write(
        tmp_path, "dt=2026-11-20/country=A%20b%2Fc/p.csv", "dt=2026-11-21/country=__HIVE_DEFAULT_PARTITION__/p.csv"
    )
    assert [f.partition for f in discover([root])] == [
        (("dt", "2026-11-20"), ("country", "A b/c")),
        (("dt", "2026-11-21"), ("country", None)),
    ]


def test_one_partition_given_as_the_root_keeps_its_values(tmp_path):
    root = write(tmp_path, "dt=1/country=A/p.csv", "dt=1/country=B/p.csv", "dt=2/country=A/p.csv")
    whole = {f.path: f for f in discover([root])}
    for pattern in ("dt=1", "dt=1/country=B", "dt=*", "dt=2/country=A/p.csv"):
        for file in discover([f"{root}/{pattern}"]):
            assert file.partition == whole[file.path].partition
    assert discover([root + "/dt=1", root + "/dt=2"]) == tuple(whole.values())


def test_side_files_are_no_data(tmp_path):
    root = write(tmp_path, "x.train", "x.train.weight", "x.train.query", "lonely.weight")
    for paths in ([root], [root + "/*"], [root + "/x.train", root + "/lonely.weight", root + "/x.train.query"]):
        lonely, file = discover(paths)
        assert (lonely.name, lonely.weight) == ("lonely.weight", "")
        assert (file.weight, file.query) == (root + "/x.train.weight", root + "/x.train.query")


def test_compressed_files_are_known_by_their_names(tmp_path):
    root = write(tmp_path, "a.csv.gz", "b.csv.bz2", "c.csv.zst", "d.csv", "e.gz.parquet")
    files = discover([root])
    assert [f.compression for f in files] == ["gz", "bz2", "zst", "", ""]
    assert [f.splittable for f in files] == [False, False, False, True, True]
    assert [f.stem for f in files][:1] == ["a.csv"]


PARTS = st.lists(st.tuples(st.text(min_size=1), st.none() | st.text()), max_size=3).map(tuple)


@given(PARTS, st.none() | st.integers(0, 9), st.lists(st.integers(0, 9)).map(tuple))
def test_a_file_travels_as_json(partition, n_blocks, row_groups):
    file = File("/p", "n", 3, partition=partition, n_blocks=n_blocks, row_groups=row_groups)
    assert File.from_json(json.loads(json.dumps(dataclasses.asdict(file)))) == file
