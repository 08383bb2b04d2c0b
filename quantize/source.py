"""The float models to quantize: an artifact folder, a checkpoint, or a float ONNX that carries a contract."""

import functools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxsim
from numpy.typing import NDArray

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError, UsageError
from fer_edge.files import sha256_of

from export import pipeline as export_pipeline
from export.artifacts import CHECKSUMS, GOLDEN, model_path, staged, write_contract
from export.golden import Golden, load_golden, sized_faces
from export.metadata import put_in_onnx
from export.parity import check_parity
from quantize import onnx_graph, tflite_graph
from quantize.graph_facts import graph_digest
from quantize.onnx_graph import FloatGraph
from quantize.tflite_graph import FloatModel


@dataclass(frozen=True)
class FloatModels:
    """The float half of an artifact folder, opened and found to be of one checkpoint.

    `classifiers`: "onnx" and "tflite", those there are. `golden`: (n, h, w) or (n, h, w, 3) uint8.
    """

    folder: Path
    name: str
    classifiers: dict[str, Classifier]
    golden: NDArray[np.uint8] = field(repr=False)

    @property
    def checkpoint_sha256(self) -> str:
        """SHA-256 of the checkpoint the models come from."""
        return self.contract.checkpoint_sha256

    @property
    def contract(self) -> ModelContract:
        """Contract common to all files of the model; layout and type of the input are those of the first."""
        return next(iter(self.classifiers.values())).contract

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each float graph without its metadata, by suffix."""
        return {suffix: graph_digest(model.path) for suffix, model in self.classifiers.items()}

    @functools.cached_property
    def file_digests(self) -> dict[str, str]:
        """SHA-256 of each float file, by suffix."""
        return {suffix: sha256_of(model.path) for suffix, model in self.classifiers.items()}

    @functools.cached_property
    def graph(self) -> FloatGraph:
        """The float ONNX, ready to quantize. Raises ModelError."""
        return onnx_graph.float_graph(self.classifiers["onnx"].path)

    @functools.cached_property
    def tflite(self) -> FloatModel:
        """The float TFLite, ready to quantize. Raises ModelError."""
        return tflite_graph.float_model(self.classifiers["tflite"].path, self.classifiers["tflite"].contract)


def open_source(path: Path, out: Path) -> FloatModels:
    """Open an artifact folder, named by itself or a float file in it; a .safetensors or .onnx becomes one under `out`.

    Raises ModelError where something is missing, damaged, without contract or of different checkpoints.
    """
    if path.suffix == ".safetensors":
        name = export_pipeline.export(path, out).models[0].path.parent.name
        return open_artifacts(out / name)
    if _is_of_artifacts(path):
        return open_artifacts(path.resolve().parent)
    if path.suffix == ".onnx":
        return open_artifacts(adopt(path, out))
    if path.is_file():
        raise ModelError(
            f"{path}: expected an artifact folder, a checkpoint (.safetensors) or an .onnx with a contract. Make a "
            f"folder of it with `fer-edge-lab adopt {path}`; docs/own-model.md says how."
        )
    return open_artifacts(path)


def _is_of_artifacts(path: Path) -> bool:
    """Whether it is a float file of an artifact folder."""
    folder = path.resolve().parent
    files = [model_path(folder, folder.name, "fp32", suffix) for suffix in ("onnx", "tflite")]
    return path.resolve() in files and (folder / GOLDEN).is_file()


def open_artifacts(folder: Path) -> FloatModels:
    """Open what `export` or `adopt` wrote. Raises ModelError as `open_source` does."""
    name = folder.resolve().name
    if folder.name != name:  # such as ".", beside which nothing can be staged
        folder = folder.resolve()
    paths = {suffix: model_path(folder, name, "fp32", suffix) for suffix in ("onnx", "tflite")}
    sums = folder / CHECKSUMS
    listed = sums.read_text() if sums.is_file() else ""
    # A model of the user's own may have one format alone; one that was there must not be lost unnoticed.
    for suffix in ("tflite", "onnx"):
        if len(paths) > 1 and not paths[suffix].is_file() and paths[suffix].name not in listed:
            del paths[suffix]
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise ModelError(f"{missing[0]} not found. Make it with `make export`, or name another artifact folder.")
    models = {suffix: Classifier(path) for suffix, path in paths.items()}
    if len({model.contract.checkpoint_sha256 for model in models.values()}) > 1:
        raise ModelError(f"{folder}: the two float models are of different checkpoints. Run `make export` again.")
    return FloatModels(folder, name, models, load_golden(folder / GOLDEN).inputs)


def require_checkpoint(models: FloatModels, checkpoint: Path) -> None:
    """Raise ModelError unless the float models were exported from that very file."""
    if not checkpoint.is_file():
        raise ModelError(f"checkpoint not found: {checkpoint}.")
    if sha256_of(checkpoint) != models.checkpoint_sha256:
        raise ModelError(f"{models.folder} was exported from another checkpoint than {checkpoint}. Run `make export`.")


def adopt(path: Path, out: Path) -> Path:
    """Make an artifact folder of a float ONNX from elsewhere: simplified, BatchNorm folded, with golden vectors.

    Raises ModelError where it has no fitting contract, is not float, or does not survive simplifying; UsageError where
    a model of another origin lies under its name.
    """
    original = Classifier(path)
    if original.contract.precision != "fp32":
        raise ModelError(f"{path}: precision {original.contract.precision}, expected fp32. Give the float model.")
    batch = original.engine.input.shape[0]
    if batch not in (1, -1):
        raise ModelError(f"{path}: takes exactly {batch} faces at once, expected 1 or any number. Export it again.")
    name = path.stem.removesuffix(".fp32")
    golden = _golden_of(original)
    try:
        model, same = onnxsim.simplify(onnx.load(path))
    except Exception as error:  # native code raises what it likes
        raise ModelError(f"{path}: onnxsim cannot read it ({_first_line(error)}). Export it again.") from None
    if not same:
        raise ModelError(f"{path}: onnxsim changed what it computes. Export it again with another opset.")
    folder = out / name
    if model_path(folder, name, "fp32", "tflite").exists():
        raise UsageError(
            f"{folder} holds a model that was exported from a checkpoint. Rename {path.name}, or give another --out."
        )
    _require_same_model(model_path(folder, name, "fp32", "onnx"), model, path)
    with staged(folder) as staging:
        target = model_path(staging, name, "fp32", "onnx")
        put_in_onnx(model, original.contract)
        onnx.save(model, target)
        write_contract(target, original.contract)
        golden.save(staging / GOLDEN)
        check_parity(target, golden)
    export_pipeline.remove_stale(folder, original.contract.checkpoint_sha256)
    return folder


def _require_same_model(kept: Path, model: onnx.ModelProto, path: Path) -> None:
    """A folder belongs to one float model. Raises UsageError where `kept` is another one than `model`."""
    if not kept.is_file():
        return
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary) / kept.name
        onnx.save(model, new)
        first, second = graph_digest(kept), graph_digest(new)
    if first != second:
        raise UsageError(
            f"{kept.parent} holds another float model ({first[:12]}) than {path} ({second[:12]}). Rename {path.name}, "
            f"give another --out, or remove {kept.parent} if it is no longer needed."
        )


def _golden_of(model: Classifier) -> Golden:
    spec = model.contract.input
    inputs = sized_faces(spec.size_px)
    logits = model.logits(inputs)
    if not np.isfinite(logits).all():
        raise ModelError(f"{model.path}: gives values that are no numbers for synthetic faces. Export it again.")
    return Golden(inputs, logits)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
