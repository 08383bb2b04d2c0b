"""The work folder of a search: what is complete is found again, what broke off is not there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError

from quantize.work import WorkFolder, key_of, source_digest


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "small" / ".search")


def test_a_trial_is_found_once_its_block_has_ended(work: WorkFolder) -> None:
    with work.building("abc-1") as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        assert work.find("abc-1") is None, "it is not complete yet"
    found = work.find("abc-1")
    assert found == work.folder / "abc-1"
    assert (found / "model.onnx").read_bytes() == b"graph"
    assert [path.name for path in work.folder.iterdir()] == ["abc-1"]


def test_a_trial_that_broke_off_leaves_nothing(work: WorkFolder) -> None:
    with pytest.raises(ZeroDivisionError), work.building("abc-1") as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise ZeroDivisionError
    assert work.find("abc-1") is None
    assert list(work.folder.iterdir()) == []


def test_a_trial_takes_the_place_of_one_of_the_same_key(work: WorkFolder) -> None:
    for text in ("first", "second"):
        with work.building("abc-1") as folder:
            (folder / text).touch()
    assert [path.name for path in (work.folder / "abc-1").iterdir()] == ["second"]


def test_what_a_killed_start_left_does_not_get_into_the_next_trial(work: WorkFolder) -> None:
    left = work.folder / f".abc-1.{os.getpid()}.part"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    with work.building("abc-1") as folder:
        assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file/\.search: Not a directory\. Choose a folder"):
        WorkFolder(tmp_path / "file" / ".search").building("abc").__enter__()


def test_an_array_is_made_once(work: WorkFolder) -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    work.folder.mkdir(parents=True)
    first, second = (work.array("float-1", make) for _ in range(2))
    assert made == [1]
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY"])
def test_a_damaged_array_is_made_again(work: WorkFolder, content: bytes) -> None:
    work.folder.mkdir(parents=True)
    (work.folder / "float-1.npy").write_bytes(content)
    np.testing.assert_array_equal(work.array("float-1", lambda: np.ones(3, np.float32)), [1, 1, 1])
    np.testing.assert_array_equal(np.load(work.folder / "float-1.npy"), [1, 1, 1])


def test_instruction_counts_are_kept_by_core(work: WorkFolder) -> None:
    work.folder.mkdir(parents=True)
    work.add_counts("cortex-a72", {"one": 10})
    work.add_counts("cortex-a76", {"one": 4})
    work.add_counts("cortex-a72", {"two": 20})
    assert (work.counts("cortex-a72"), work.counts("cortex-a76")) == ({"one": 10, "two": 20}, {"one": 4})
    assert work.counts("cortex-a53") == {}


def test_the_best_refused_trials_are_those_of_the_last_search(work: WorkFolder) -> None:
    work.folder.mkdir(parents=True)
    assert work.refused("onnx") is None
    work.set_refused({"onnx": "abc-1", "tflite": "abc-2"})
    work.set_refused({"tflite": "abc-3"})
    assert (work.refused("onnx"), work.refused("tflite")) == (None, "abc-3")


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_damaged_tables_count_as_empty(work: WorkFolder, content: str) -> None:
    work.folder.mkdir(parents=True)
    for name in ("instructions.json", "refused.json"):
        (work.folder / name).write_text(content)
    assert work.counts("cortex-a72") == {}
    assert work.refused("onnx") is None
    work.add_counts("cortex-a72", {"one": 1})
    assert json.loads((work.folder / "instructions.json").read_text()) == {"cortex-a72": {"one": 1}}


def test_trials_of_other_materials_are_removed_but_those_still_named(work: WorkFolder) -> None:
    for key in ("abc-1", "abc-2", "old-1", "old-2", ".abc-3.17.part"):
        (work.folder / key).mkdir(parents=True)
    (work.folder / "instructions.json").write_text("{}")
    work.keep_only("abc", ["old-2"])
    assert sorted(path.name for path in work.folder.iterdir()) == ["abc-1", "abc-2", "instructions.json", "old-2"]


def test_a_work_folder_that_is_not_there_has_nothing_to_remove(work: WorkFolder) -> None:
    work.keep_only("abc", [])
    assert not work.folder.exists()


def test_a_key_is_of_all_its_inputs_and_of_no_order_of_keys() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"a": 1}, None), key_of()}) == 4
    assert len(source_digest()) == 64 and source_digest() == source_digest()
