"""Models in their two files: strict JSON and plain arrays, and what is said when they are not there or not whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrml import names
from mrml.arrays import Array
from mrml.data.block import Block
from mrml.errors import ConfigError, InputError
from mrml.model import Model, Prediction, describe, load, revive

RAN: list[str] = []


class Held(Model):
    """Holds any header and arrays."""

    def __init__(self, told: Mapping[str, Any], held: Mapping[str, Array]) -> None:
        self.told, self.held = dict(told), dict(held)

    def header(self) -> dict[str, Any]:
        return {"told": self.told}

    def arrays(self) -> dict[str, Array]:
        return self.held

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Held:
        return cls(header["told"], arrays)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return RAN.append, ("code",)


def block() -> Block:
    return Block(0, 0, np.arange(1), np.zeros((1, 1)))


def saved(folder: Path, told: Mapping[str, Any] | None = None, **held: Array) -> Path:
    folder.mkdir(exist_ok=True)
    Held(told or {}, held or {"coef": np.arange(6.0).reshape(2, 3)}).save(folder)
    return folder


ARRAYS = st.sampled_from([
    np.arange(6, dtype=np.int64).reshape(2, 3), np.zeros((0, 4)), np.array(1.5), np.array([np.nan, -0.0, np.inf]),
    np.arange(3, dtype=np.float32), np.array([True, False]), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
])  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    PLAIN | st.text(), lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=4), t, max_size=3)
)
NAMES = st.text("abcxyz._-0123456789é", min_size=1, max_size=8)


@given(told=st.dictionaries(st.text(max_size=4), TREES, max_size=4), held=st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_a_model_comes_back_as_it_was_and_saves_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, told: dict[str, Any], held: dict[str, Array]
) -> None:
    base = tmp_path_factory.getbasetemp()
    first, second = base / "first", base / "second"
    saved(first, told, **{"always": np.ones(1), **held})
    found = load(first)
    assert isinstance(found, Held) and found.told == told
    for name, array in held.items():
        assert found.held[name].dtype == array.dtype and found.held[name].tobytes() == array.tobytes()
    second.mkdir(exist_ok=True)
    found.save(second)
    for name in ("model.json", "model.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_order_of_a_header_and_of_arrays_makes_no_difference(tmp_path: Path) -> None:
    a, b = np.ones(2), np.zeros(3)
    one, two = saved(tmp_path / "1", {"x": 1, "a": 2}, a=a, b=b), saved(tmp_path / "2", {"a": 2, "x": 1}, b=b, a=a)
    for name in ("model.json", "model.npz"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_header_is_strict_json_that_a_person_can_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", {"nan": float("nan"), "list": [float("inf"), 1.5], "city": "røros ☃"})
    text = (folder / "model.json").read_text(encoding="utf-8")
    assert "røros ☃" in text and text.endswith("}\n") and "\n " in text
    header = json.loads(text, parse_constant=pytest.fail)
    assert header["told"] == {"nan": None, "list": [None, 1.5], "city": "røros ☃"}
    assert header["format"] == 2 and header["class"] == "tests.test_model:Held"


def test_arrays_are_read_without_pickle(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    np.savez(folder / "model.npz", coef=np.array([Evil()], dtype=object))
    with pytest.raises(InputError, match="cannot be read as a model"):
        load(folder)
    assert RAN == []


def test_an_array_of_objects_is_not_saved(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(ConfigError, match="Held: array 'coef' holds objects; put them into the header"):
        Held({}, {"coef": np.array([{"a": 1}], dtype=object)}).save(tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("name", ["model.json", "model.npz"])
def test_a_directory_without_one_of_the_files_says_which(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"m: has no {name}; give what `mrml train --output` wrote"):
        load(folder)


@pytest.mark.parametrize("path", ["nowhere", "file", "file/below"])
def test_what_is_no_directory_of_a_model_is_an_input_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        load(tmp_path / path)


@pytest.mark.parametrize("name", ["model.json", "model.npz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_torn_file_is_an_input_error_that_says_so(tmp_path: Path, name: str, share: float) -> None:
    folder = saved(tmp_path / "m")
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"m: cannot be read as a model: .*; copy it again"):
        load(folder)


def test_a_changed_bit_in_the_arrays_is_found(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", coef=np.zeros(1000))
    data = bytearray((folder / "model.npz").read_bytes())
    data[4000] ^= 1
    (folder / "model.npz").write_bytes(bytes(data))
    with pytest.raises(InputError, match="cannot be read as a model"):
        load(folder)


@pytest.mark.parametrize(("header", "finding"), [
    ("[]", "model format None"),
    ("null", "model format None"),
    ('{"format": 99, "class": "tests.test_model:Held"}', "model format 99, this mrml reads 1 and 2; use the version"),
    ("{}", "model format None"),
    ('{"format": 1}', "is not a complete model: KeyError: 'class'"),
    ('{"format": 1, "class": "tests.test_model:Held"}', "is not a complete model: KeyError: 'told'"),
])  # fmt: skip
def test_a_header_that_is_no_model_s_is_an_input_error(tmp_path: Path, header: str, finding: str) -> None:
    folder = saved(tmp_path / "m")
    (folder / "model.json").write_text(header)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert finding in str(caught.value)


@pytest.mark.parametrize(("path", "error"), [
    ("no_such_package.module:Class", ConfigError), ("tests.test_model:Nothing", ConfigError),
    ("builtins:print", InputError), ("os:system", InputError), ("tests.test_model:Evil", InputError),
    ("tests.test_model", InputError), (":", InputError), ("", InputError),
])  # fmt: skip
def test_a_class_that_is_not_there_or_no_model_is_refused_though_its_module_is_allowed(
    path: str, error: type[Exception]
) -> None:
    names.allow("no_such_package.module", "builtins", "os", "tests.test_model")
    with pytest.raises(error):
        revive({"class": path}, {})
    assert RAN == []


def test_a_model_says_what_it_does_not_do() -> None:
    model = Held({}, {})
    for call, finding in ((model.predict, "transforms and does not predict"),
                          (model.transform, "predicts and does not transform")):  # fmt: skip
        with pytest.raises(ConfigError, match=finding):
            call(block())
    with pytest.raises(ConfigError, match="Held: has no scikit-learn counterpart"):
        model.to_sklearn()


def test_describe_and_revive_are_inverse() -> None:
    class_of = describe(Held({"x": 1}, {}))
    found = revive(class_of, {"a": np.ones(2)})
    assert isinstance(found, Held) and found.told == {"x": 1} and found.held["a"].tolist() == [1, 1]
    assert Prediction(np.ones(1)).probability is None


def test_the_archive_holds_plain_arrays_dated_1980(tmp_path: Path) -> None:
    with zipfile.ZipFile(saved(tmp_path / "m") / "model.npz") as archive:
        assert [i.filename for i in archive.infolist()] == ["coef.npy"]
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
