"""The folder of a run: log, lock, and a state that only its own recipe and data resume."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.errors import UsageError

from train.data.fer2013 import Fer2013
from train.fit import recipe as recipes
from train.fit.run_state import EpochLog, Origin, load_state, origin_of, save_state, single_run, write_log

CPU = torch.device("cpu")
RECIPE = recipes.Recipe(name="tiny", architecture="fer_residual")
LOGS = [
    EpochLog(1, 0.05, 1.9, 1.8, {"accuracy": 0.3, "macro_f1": 0.2}, 4.0),
    EpochLog(2, 0.025, 1.5, 1.4, {"accuracy": 0.5, "macro_f1": 0.4}, 3.0),
]
STATE = {"average": {"weight": torch.arange(4.0)}, "steps_done": 12}


def test_a_log_is_judged_by_the_first_figure_of_its_task() -> None:
    assert LOGS[1].score == 0.5


def test_a_log_is_flat_in_a_file_and_the_same_again() -> None:
    assert list(LOGS[0].row()) == [
        *("epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "seconds"),
    ]
    assert [EpochLog.of_row(log.row()) for log in LOGS] == LOGS


def test_the_csv_has_a_row_an_epoch_with_six_decimals(tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", LOGS)
    with open(tmp_path / "log.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[1]["learning_rate"] == "0.025000"


def test_a_state_comes_back_as_it_was_kept_with_the_log_beside_it(tmp_path: Path) -> None:
    origin = Origin(RECIPE, "digest")
    assert load_state(tmp_path, origin, CPU) is None
    save_state(tmp_path, origin, LOGS, STATE)
    found = load_state(tmp_path, origin, CPU)
    assert found is not None
    state, logs = found
    assert torch.equal(state["average"]["weight"], torch.arange(4.0)) and state["steps_done"] == 12
    assert logs == LOGS
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_another_recipe_and_other_data_are_refused_with_the_folder_to_remove(tmp_path: Path) -> None:
    save_state(tmp_path, Origin(RECIPE, "digest"), LOGS, STATE)
    other = dataclasses.replace(RECIPE, schedule=dataclasses.replace(RECIPE.schedule, epochs=3))
    with pytest.raises(UsageError, match=rf"another recipe\. Remove {tmp_path} to start again, or restore the recipe"):
        load_state(tmp_path, Origin(other, "digest"), CPU)
    with pytest.raises(UsageError, match=r"from other data, or the files its recipe names have changed since"):
        load_state(tmp_path, Origin(RECIPE, "another"), CPU)


def test_an_option_that_a_recipe_could_not_name_yet_is_at_its_default(tmp_path: Path) -> None:
    """A run that was begun before `balance` existed goes on; one that an unknown option shaped does not."""
    origin = Origin(RECIPE, "digest")
    save_state(tmp_path, origin, LOGS, STATE)
    path = tmp_path / "state.pt"
    state = torch.load(path, weights_only=True)
    assert '"balance": 0.0' in state["recipe"]
    torch.save({**state, "recipe": state["recipe"].replace('"balance": 0.0, ', "")}, path)
    assert load_state(tmp_path, origin, CPU) is not None
    torch.save({**state, "recipe": state["recipe"].replace('"balance"', '"unheard_of"')}, path)
    with pytest.raises(UsageError, match="another recipe"):
        load_state(tmp_path, origin, CPU)


def test_a_run_comes_from_every_pixel_label_and_file_its_recipe_names(tiny: Fer2013, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(b"first")
    taught = dataclasses.replace(RECIPE, distillation=recipes.Distillation((str(teacher),)))
    before = origin_of(taught, tiny)
    assert origin_of(taught, dataclasses.replace(tiny, images=tiny.images.copy())) == before
    pixel = tiny.images.copy()
    pixel[3, 5, 7] ^= 1
    changed = [
        dataclasses.replace(tiny, images=pixel),
        dataclasses.replace(tiny, emotions=np.roll(tiny.emotions, 1)),
        dataclasses.replace(tiny, votes=None),
    ]
    digests = {origin_of(taught, data).digest for data in changed}
    teacher.write_bytes(b"second")
    digests.add(origin_of(taught, tiny).digest)
    teacher.unlink()
    digests.add(origin_of(taught, tiny).digest)
    assert len(digests | {before.digest}) == 6


def test_what_a_killed_run_left_half_written_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    for name in (".state.pt.part", "state.pt", "notes.part"):
        (tmp_path / name).touch()
    with single_run(tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {"state.pt", "notes.part", "lock"}


def test_a_run_that_ended_lets_the_next_one_begin(tmp_path: Path) -> None:
    with single_run(tmp_path), pytest.raises(UsageError, match="already works in"), single_run(tmp_path):
        pass
    with single_run(tmp_path):
        pass
