"""The robustness curve: the same noisy faces for every model, gains in points over the first."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.noise import NOISES, STEPS

from boards import lab as command
from train import architectures
from train.data import cache
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit import checkpoint, publish
from train.fit.evaluate import Candidate
from train.fit.recipe import Recipe
from train.studies import robustness


def by_brightness(name: str, blind: bool = False) -> Candidate:
    """Names a face of `tiny` by its mean grey value, which tells its class; the blind one always says angry."""

    def answers(images: np.ndarray) -> np.ndarray:
        classes = np.clip(np.rint((images.mean(axis=(1, 2)) - 20) / 30), 0, 6).astype(int)
        return np.eye(7, dtype=np.float32)[classes * (not blind)]

    return Candidate(name, f"{name}.onnx", "0" * 64, "expression7", EXPRESSIONS, answers)


def test_the_curve_begins_with_clean_faces_and_climbs_every_ladder(tiny: Fer2013) -> None:
    rows = robustness.measure([by_brightness("bright")], tiny)
    assert len(rows) == 1 + len(NOISES) * STEPS
    clean = rows[0]
    assert (clean.noise, clean.step, clean.accuracy, clean.n) == ("clean", 0, 1.0, 14)
    dark = [row.accuracy for row in rows if row.noise == "low light"]
    assert max(dark) < clean.accuracy  # it goes by brightness


def test_gains_are_points_over_the_first_model(tiny: Fer2013) -> None:
    rows = robustness.measure([by_brightness("blind", blind=True), by_brightness("bright")], tiny)
    gains = {(row.model, row.noise): gain for row, gain in robustness.gains(rows).items() if row.step == 0}
    assert gains["blind", "clean"] == 0
    assert gains["bright", "clean"] == pytest.approx(100 * (1 - 2 / 14))


def test_the_command_writes_table_and_picture(
    tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    small = Recipe("small", "fer_residual", {"stem": 4, "widths": [4], "depths": [1]})
    state = architectures.build(small.architecture, small.arguments).state_dict()
    checkpoint.save(tmp_path / "small.safetensors", state, publish.info_of(small))
    words = ["robustness", str(tmp_path / "small.safetensors"), "--faces", str(tmp_path / "data.npz")]
    assert command.main([*words, "--out", str(tmp_path / "r.csv")]) == 0
    with open(tmp_path / "r.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["split"], row["n"], row["dataset"]) for row in rows} == {("PublicTest", "14", "FER2013")}
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "| clean |" in capsys.readouterr().out


def test_models_of_values_have_no_such_curve(tiny: Fer2013) -> None:
    affect = Candidate("va", "va.onnx", "", "valence-arousal", ("valence", "arousal"), lambda images: images)
    with pytest.raises(UsageError, match="one task of classes; these are of valence-arousal"):
        robustness.measure([affect], tiny)
