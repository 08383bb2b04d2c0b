"""A rehearsal, on the CPU and on a tiny dataset, of the commands that are run on a borrowed machine with a GPU.

That machine has PyTorch and a few scientific packages, no network, and no way to install what is missing; it goes away
after minutes. So the commands must run there as they are, stop in time, and go on later.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.data import cache
from train.data.fer2013 import SPLITS, Fer2013
from train.fit import checkpoint

REPOSITORY = Path(__file__).parents[2]
PACK = REPOSITORY.parent / "shared" / "gpu" / "pack.py"
# What such a machine lacks, beside everything the project does not use.
ABSENT = (
    "onnx",
    "onnxruntime",
    "onnxscript",
    "ai_edge_litert",
    "litert_torch",
    "tflite_runtime",
    "nncf",
    "transformers",
)


@pytest.fixture
def machine(tiny: Fer2013, tmp_path: Path) -> Path:
    """A folder with data/fer2013.npz and the recipes' models, where the packages of ABSENT cannot be imported."""
    cache.save(tiny, tmp_path / "data" / "fer2013.npz")
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))  # None: ModuleNotFoundError\n"
    )
    return tmp_path


def run(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = (machine / "absent", REPOSITORY / "runtime", REPOSITORY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=machine, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_teacher_trains_an_epoch_a_call_under_a_time_limit(machine: Path) -> None:
    fit = ["-m", "boards.lab", "train", "fer-teacher", "--runs", "runs", "--models", "trained", "--minutes", "0.01"]
    first, second = run(machine, *fit), run(machine, *fit)
    for epoch, done in enumerate((first, second), start=1):
        assert done.returncode == 2, done.stderr[-2000:]
        assert f"epoch {epoch}/200" in done.stdout
        assert "Start it again to go on" in done.stderr
    assert "resuming fer-teacher after epoch 1 of 200" in second.stdout
    assert {path.name for path in (machine / "runs" / "fer-teacher").iterdir()} >= {"state.pt", "log.csv"}


@pytest.mark.slow
def test_a_student_of_stored_answers_is_trained_and_published(machine: Path) -> None:
    teacher = "models/fer-nano/fer-nano.safetensors"
    answered = run(machine, "-m", "boards.lab", "answers", teacher, "--out", "answers.npz", "--views", "2", "--bf16")
    assert answered.returncode == 0, answered.stderr[-2000:]
    (machine / "student.toml").write_text(
        'name = "student"\narchitecture = "fer_residual"\n[arguments]\nstem = 4\nwidths = [4, 8]\ndepths = [1, 1]\n'
        '[schedule]\nepochs = 2\nbatch = 14\nprecision = "bf16"\n[distillation]\nanswers = "answers.npz"\n'
        '[noise]\nshare = 0.5\nkinds = ["jpeg", "blur"]\n'
    )
    fit = run(machine, "-m", "boards.lab", "train", "student.toml", "--runs", "runs", "--models", "trained")
    assert fit.returncode == 0, fit.stderr[-2000:]
    assert checkpoint.load(machine / "trained" / "student" / "student.safetensors").info.name == "student"


@pytest.mark.skipif(not PACK.is_file(), reason=f"{PACK} packs the data for such a machine, and is not there")
def test_the_data_arrives_in_parts_without_the_pixels_of_privatetest(tiny: Fer2013, machine: Path) -> None:
    data = machine / "data" / "fer2013.npz"
    assert run(machine, str(PACK), "split", str(data), "parts").returncode == 0
    data.unlink()
    joined = run(machine, str(PACK), "join", "parts/part0", "parts/part1", str(data))
    assert joined.returncode == 0, joined.stderr[-2000:]
    found = cache.load(data)
    private = tiny.usage == SPLITS.index("PrivateTest")
    assert np.array_equal(found.images[~private], tiny.images[~private])
    assert not found.images[private].any()
    assert np.array_equal(found.emotions, tiny.emotions)
