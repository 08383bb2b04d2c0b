"""The family: teachers that differ by seed, students they teach live, every run resumable."""

import json
from pathlib import Path

import pytest

from boards import lab as command
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import checkpoint

RECIPE = """name = "{name}"
architecture = "fer_residual"
[arguments]
stem = 4
widths = [4, {width}]
depths = [1, 1]
[schedule]
epochs = 1
batch = 14
"""


@pytest.mark.slow
def test_teachers_then_students(tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    for name, width in (("large", 12), ("student", 6)):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(name=name, width=width))
    words = ["family", "--teacher", str(tmp_path / "large.toml"), "--seeds", "2"]
    words += ["--students", str(tmp_path / "student.toml"), "--faces", str(tmp_path / "data.npz")]
    words += ["--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]
    assert command.main(words) == 0
    teachers = [checkpoint.load(tmp_path / f"runs/teachers/large-seed{s}/large-seed{s}.safetensors") for s in (0, 1)]
    assert teachers[0].sha256 != teachers[1].sha256
    student = checkpoint.load(tmp_path / "models/student/student.safetensors")
    assert student.info.trained_on.endswith("taught by large-seed0 and large-seed1")
    assert json.loads((tmp_path / "models/student/recipe.json").read_text())["distillation"]["live"] is True
    assert "student.safetensors" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "models").glob("*/")] == ["student"]
