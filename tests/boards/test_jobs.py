"""Jobs over many models: which commands they run, in which order, and which of the results they keep."""

import shutil
from pathlib import Path

import pytest

from boards import lab as command
from boards.commands import jobs
from boards.groups import load_groups
from boards.media import CLIP
from tests.conftest import ROOT

NANO = Path("artifacts/fer-nano")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the names of the models and the checkpoints of three, and nothing else."""
    for model in ("fer-base", "fer-nano", "plain-va"):
        make(tmp_path / "models" / model, f"{model}.safetensors")
    shutil.copy(ROOT / "models/groups.toml", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collects the commands in the place of running them."""
    commands: list[list[str]] = []

    def note(*words: object, threads: int | None = None, may_fail: bool = False) -> None:
        limits = [f"threads={threads}"] if threads else []
        commands.append([*map(str, words), *limits, *(["may fail"] if may_fail else [])])

    monkeypatch.setattr(jobs, "lab", note)
    return commands


def make(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{folder.name} {name}")


def verbs(commands: list[list[str]]) -> list[str]:
    return [words[0] for words in commands]


def test_a_command_that_fails_ends_the_job_with_what_was_run(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(jobs.JobError, match="`fer-edge-lab no-such-command` ended with 2") as refused:
        jobs.lab("no-such-command")
    assert refused.value.exit_code == 2, "a refusal keeps its code"
    jobs.lab("no-such-command", may_fail=True)
    assert "no command 'no-such-command'" in capfd.readouterr().err
    assert jobs.JobError("failed").exit_code == 1


def test_a_finished_model_is_exported_quantized_measured_and_put_into_the_tables(ran: list[list[str]]) -> None:
    make(NANO, "bench.csv", "quantize.csv", "confusion.csv", "fer-nano.int8.tflite")
    assert command.main(["release-model", "fer-nano"]) == 0
    assert ran == [
        ["export", "fer-nano"],
        ["quantize", str(NANO), "--save-calibration", "models/fer-nano/calibration.json"],
        ["bench", str(NANO), "--source", str(CLIP)],
        ["figures"],
    ]
    kept = Path("docs/measured/fer-nano")
    assert {path.name for path in kept.iterdir()} == {"bench.csv", "quantize.csv", "confusion.csv"}
    assert (kept / "bench.csv").read_text() == "fer-nano bench.csv"
    assert not Path("runtime").exists(), "the runtime's own model is another"


def test_the_default_model_goes_into_the_runtime_with_its_contract(ran: list[list[str]]) -> None:
    names = ("fer-base.int8.tflite", "fer-base.int8.tflite.json")
    make(Path("artifacts/fer-base"), *names)
    Path("runtime/fer_edge/data").mkdir(parents=True)
    assert command.main(["release-model"]) == 0
    assert sorted(path.name for path in Path("runtime/fer_edge/data").iterdir()) == sorted(names)


def test_of_a_published_system_int8_may_fail_and_its_figures_have_a_place_of_their_own(ran: list[list[str]]) -> None:
    make(Path("artifacts/plain-va"), "bench.csv")
    assert command.main(["release-model", "plain-va"]) == 0
    assert ran[1][0] == "quantize" and ran[1][-1] == "may fail"
    assert Path("docs/systems/plain-va/bench.csv").is_file()


def test_noise_is_measured_where_fer2013_is_on_the_files_there_are(ran: list[list[str]]) -> None:
    make(NANO, "fer-nano.int8.tflite")
    make(jobs.FACES.parent, jobs.FACES.name)
    assert command.main(["keep-figures", "fer-nano"]) == 0
    noise = ["bench-noise", str(NANO / "fer-nano.int8.tflite"), "--out", "docs/measured/fer-nano/noise.csv"]
    assert ran[1:] == [noise]


def test_without_fer2013_the_noise_ladder_is_left_out_and_said_so(
    ran: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    make(NANO, "fer-nano.int8.tflite")
    assert command.main(["keep-figures", "fer-nano"]) == 0
    assert verbs(ran) == ["bench"]
    assert "no noise ladder: FER2013 is not here" in capsys.readouterr().out


def test_a_search_keeps_every_recipe_with_its_figures(ran: list[list[str]]) -> None:
    make(NANO, "quantize.csv")
    assert command.main(["search", "fer-nano", "--target", "armv8"]) == 0
    assert verbs(ran) == ["quantize", "table"]
    assert ran[0][2:6] == ["--recipes", "all", "--target", "armv8"]
    assert Path("docs/measured/fer-nano/search.csv").read_text() == "fer-nano quantize.csv"


def test_variants_of_a_plan_are_trained_compared_as_int8_and_counted(ran: list[list[str]]) -> None:
    make(Path("runs/ablation-head"), "wide.safetensors", "narrow.safetensors")
    make(Path("runs/ablation-other"), "wide.safetensors")
    for name in ("narrow", "wide"):
        make(Path("build/compared/head") / name, f"{name}.fp32.tflite", f"{name}.int8.tflite", f"{name}.int8.onnx")
    make(Path("plans"), "head.toml")
    assert command.main(["ablation", "plans/head.toml"]) == 0
    assert verbs(ran) == ["ablate", "compare-int8", "instructions", "variants"]
    assert ran[1][1:3] == ["runs/ablation-head/narrow.safetensors", "runs/ablation-head/wide.safetensors"]
    counted = [Path(word).name for word in ran[2] if word.endswith(".tflite")]
    assert counted == ["narrow.fp32.tflite", "wide.fp32.tflite", "narrow.int8.tflite", "wide.int8.tflite"]
    assert ran[3] == ["variants", "docs/ablations/head"]


def test_published_systems_train_on_one_core_each_before_they_are_compared(ran: list[list[str]]) -> None:
    groups = load_groups()
    assert command.main(["systems"]) == 0
    training = ran[: len(groups.systems)]
    assert sorted(training) == sorted(["train", name, "threads=1"] for name in groups.systems)
    assert verbs(ran[len(training) : len(training) + 2]) == ["kfold", "cost"]
    tables = [words[-1] for words in ran[len(training) + 2 :]]
    assert len(tables) == len(set(tables)) == 7
    assert all(table.startswith("docs/systems/") for table in tables)
    compared = {name for words in ran[len(training) + 2 :] for name in words}
    assert {*groups.compared.noise, *groups.compared.identity, *groups.compared.saliency} <= compared


def test_instructions_are_counted_of_every_file_there_is(ran: list[list[str]]) -> None:
    make(NANO, "fer-nano.fp32.tflite", "fer-nano.int8.onnx", "golden.npz")
    assert command.main(["count-instructions"]) == 0
    assert verbs(ran) == ["instructions", "loop-instructions"], "no published system is here"
    named = [Path(word).name for word in ran[0][2:]]
    assert named == ["fer-nano.fp32.tflite", "fer-nano.int8.onnx", "face_detection_full_range_sparse.tflite"]
    make(Path("artifacts/plain-va"), "plain-va.fp32.tflite")
    ran.clear()
    assert command.main(["count-instructions"]) == 0
    assert ran[-1][-2:] == ["--out", "docs/systems/instructions.csv"]


def test_all_figures_are_measured_again_of_the_models_that_are_there(ran: list[list[str]]) -> None:
    make(NANO, "bench.csv")
    make(Path("artifacts/xception"), "bench.csv")
    assert command.main(["remeasure"]) == 0
    assert [words[1] for words in ran if words[0] == "bench"] == [str(NANO), "artifacts/xception"]
    assert verbs(ran)[2:] == ["bench-peers", "instructions", "loop-instructions", "figures"]


def test_a_demo_that_cannot_run_its_clip_says_so(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The model was not made here, so the program refuses it."""
    make(Path("demo"), "annotated.mp4", "annotated-2.mp4")
    assert command.main(["demo", "fer-nano"]) == 1
    assert verbs(ran) == ["export", "quantize"]
    assert capfd.readouterr().err.splitlines()[-1] == "fer-edge-lab demo: fer-edge did not run the sample clip."
    assert list(Path("demo").glob("*.mp4")) == [], "videos of an earlier demo are gone"


@pytest.mark.parametrize("job", ["release-model", "keep-figures", "search", "remeasure", "systems"])
def test_a_job_needs_the_names_of_the_models(
    job: str, checkout: Path, ran: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    make(checkout / "artifacts/fer-base", "fer-base.int8.tflite")
    (checkout / "models/groups.toml").unlink()
    assert command.main([job]) == 2
    assert "models/groups.toml" in capsys.readouterr().err
    assert ran == []
