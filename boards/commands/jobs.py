"""Jobs of several commands over many models: release, systems, every figure again. Their names: models/groups.toml."""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fer_edge.errors import FerEdgeError, ModelError, SourceError, UsageError

from boards.groups import SYSTEMS, Groups, load_groups
from boards.media import CLIP
from quantize.arguments import target_name
from train.command_files import INPUT_FILE
from train.command_line import ABLATIONS, ARTIFACTS, FACES, MODELS, Commands, checkpoint_path

# Exit codes of a command that refuses what it was given.
_REFUSALS = (UsageError.exit_code, SourceError.exit_code, ModelError.exit_code)
_RUNTIME_DATA = Path("runtime/fer_edge/data")


class JobError(FerEdgeError):
    """A program that a command started, and that failed; it has said why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    for name, run, help in (
        ("demo", _demo, "the whole chain on the sample clip: export, quantize, run"),
        ("search", _search, "every recipe on a model, kept with its figures in docs/; prints the table"),
        ("keep-figures", _keep_figures, "bench a model and keep its figures in docs/"),
        ("release-model", _release, "after training: calibration, INT8 files, figures and the runtime's own model"),
    ):
        job = commands.add_parser(name, help=help)
        job.add_argument(
            "model",
            nargs="?",
            default="fer-base",
            help="name of a model in models/ (fer-base)",
        )
        if run in (_demo, _search):
            job.add_argument("--target", type=target_name, default="x86", help="processor INT8 is built for (x86)")
        job.set_defaults(run=run)
    ablation = commands.add_parser("ablation", help="the variants of a plan: trained, as INT8, instructions, one table")
    ablation.add_argument("plan", type=INPUT_FILE, help="such as train/ablations/mobilenetv3.toml")
    ablation.set_defaults(run=_ablation)
    systems = commands.add_parser("systems", help="train and compare the published systems, one a core; resumes; hours")
    systems.set_defaults(run=_systems)
    count = commands.add_parser("count-instructions", help="instructions of every model in artifacts/, and of the loop")
    count.set_defaults(run=_count_instructions)
    remeasure = commands.add_parser("remeasure", help="regenerate every figure of docs/ from all of artifacts/")
    remeasure.set_defaults(run=_remeasure)


def _require_trained(model: str) -> None:
    """Raise UsageError unless `model` is the name of one that has a checkpoint."""
    path = MODELS / model / f"{model}.safetensors"
    if not path.is_file():
        names = sorted(path.stem for path in MODELS.glob("*/*.safetensors"))
        raise UsageError(f"{path} not found; expected the name of a model in {MODELS}/: {', '.join(names) or 'none'}.")


def lab(*words: object, threads: int | None = None, may_fail: bool = False) -> None:
    """Run a command of `fer-edge-lab` as a process of its own. Raises JobError where it fails and may not."""
    print("fer-edge-lab", *words, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)} if threads else None
    finished = subprocess.run([sys.executable, "-m", "boards.lab", *map(str, words)], env=environment)
    if finished.returncode and not may_fail:
        code = finished.returncode
        raise JobError(
            f"`fer-edge-lab {' '.join(map(str, words))}` ended with {code}.", code if code in _REFUSALS else 1
        )


def _demo(options: argparse.Namespace) -> None:
    _require_trained(options.model)
    folder = ARTIFACTS / options.model
    lab("export", options.model)
    lab("quantize", folder, "--target", options.target)
    demo = Path("demo")
    demo.mkdir(exist_ok=True)
    for old in demo.glob("annotated*.mp4"):
        old.unlink()
    program = [sys.executable, "-m", "fer_edge", "--model", folder / f"{options.model}.int8.tflite", "--source", CLIP]
    kept = ["--jsonl", demo / "faces.jsonl", "--csv", demo / "faces.csv", "--save-video", demo / "annotated.mp4"]
    if subprocess.run([*program, "--as-fast-as-possible", *kept]).returncode:
        raise JobError("fer-edge did not run the sample clip.")
    print("\nannotated video  demo/annotated.mp4\nresults          demo/faces.jsonl demo/faces.csv")
    print(f"models           {folder}/ (quantize.csv has the table above)")


def _search(options: argparse.Namespace) -> None:
    _require_trained(options.model)
    folder, kept = ARTIFACTS / options.model, load_groups().measured(options.model)
    checkpoint = checkpoint_path(options.model)
    lab("quantize", folder, "--recipes", "all", "--target", options.target, "--checkpoint", checkpoint)
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "quantize.csv", kept / "search.csv")
    lab("table", kept / "search.csv")


def _keep_figures(options: argparse.Namespace) -> None:
    from boards.bench import artifacts_in

    artifacts_in(ARTIFACTS / options.model)
    _keep(load_groups(), options.model)


def _keep(groups: Groups, model: str) -> None:
    """Bench a model, with noise where FER2013 is, and copy what was found to the folder of its figures."""
    folder, kept = ARTIFACTS / model, groups.measured(model)
    lab("bench", folder, "--source", CLIP)
    kept.mkdir(parents=True, exist_ok=True)
    if FACES.exists():
        files = [folder / f"{model}.{precision}.tflite" for precision in ("fp32", "int8")]
        lab("bench-noise", *(file for file in files if file.exists()), "--out", kept / "noise.csv")
    else:
        print("no noise ladder: FER2013 is not here")
    for name in ("bench.csv", "quantize.csv", "confusion.csv"):
        if (folder / name).exists():
            shutil.copy(folder / name, kept)


def _release(options: argparse.Namespace) -> None:
    _require_trained(options.model)
    groups, model = load_groups(), options.model
    lab("export", model)
    # A published system may be one that INT8 does not help; then its float files are measured alone.
    cache = checkpoint_path(model).with_name("calibration.json")
    lab("quantize", ARTIFACTS / model, "--save-calibration", cache, may_fail=model not in groups.family)
    _keep(groups, model)
    if model == groups.default:
        for suffix in ("int8.tflite", "int8.tflite.json"):
            shutil.copy(ARTIFACTS / model / f"{model}.{suffix}", _RUNTIME_DATA)
    lab("figures")


def _ablation(options: argparse.Namespace) -> None:
    name = options.plan.stem
    compared, kept = Path("build/compared") / name, ABLATIONS / name
    lab("ablate", options.plan)
    checkpoints = sorted(Path("runs").glob(f"ablation-{name}/*.safetensors"))
    lab("compare-int8", *checkpoints, "--artifacts", compared, "--out", kept / "int8.csv")
    files = [path for kind in ("fp32", "int8") for path in sorted(compared.glob(f"*/*.{kind}.tflite"))]
    lab("instructions", "--or-skip", "--fresh", *files, "--out", kept / "instructions.csv")
    lab("variants", kept)


def _systems(options: argparse.Namespace) -> None:
    groups = load_groups()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for training in [pool.submit(lab, "train", name, threads=1) for name in groups.systems]:
            training.result()
    for name in groups.folded[:1]:
        lab("kfold", name)
    lab("cost", *groups.systems, *groups.folded[:1], "--out", SYSTEMS / "cost.csv")
    compared = groups.compared
    for command, models, csv, *more in (
        ("robustness", compared.noise, "robustness"),
        ("robustness", compared.noise_in_small, "robustness-fer-small"),
        ("robustness", compared.positive_negative, "robustness-positive-negative"),
        ("probe", compared.identity, "probe"),
        ("probe", compared.identity, "probe-two-layer", "--kind", "two-layer"),
        ("maps", compared.saliency, "maps"),
        ("maps", compared.saliency, "maps-fer-base", "--teacher", checkpoint_path(groups.default)),
    ):
        lab(command, *models, *more, "--out", SYSTEMS / f"{csv}.csv")


def _count_instructions(options: argparse.Namespace) -> None:
    groups = load_groups()
    detector = _RUNTIME_DATA / "face_detection_full_range_sparse.tflite"
    peers = sorted(Path("build/peers").glob("*.tflite"))
    lab("instructions", "--fresh", *_files(groups.family), *peers, detector)
    lab("loop-instructions")
    systems = _files((*groups.systems, *groups.folded))
    if systems:
        lab("instructions", "--fresh", *systems, "--out", SYSTEMS / "instructions.csv")


def _files(models: tuple[str, ...]) -> list[Path]:
    return [
        path for name in models for kind in ("*.tflite", "*.onnx") for path in sorted((ARTIFACTS / name).glob(kind))
    ]


def _remeasure(options: argparse.Namespace) -> None:
    groups = load_groups()
    for name in (*groups.family, *groups.systems, *groups.folded):
        if (ARTIFACTS / name).is_dir():
            _keep(groups, name)
    ours = [ARTIFACTS / name / f"{name}.int8.tflite" for name in (groups.default, *groups.family[:-1])]
    lab("bench-peers", *(path for path in ours if path.exists()))
    _count_instructions(options)
    lab("figures")
