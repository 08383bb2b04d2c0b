"""Adopt a network: from its file and the answers to an artifact folder with the formats that can be had."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.contract import Measurement, ModelContract, OutputSpec, parse_contract
from fer_edge.errors import ModelError, UsageError
from fer_edge.face_pictures import holds_pictures
from fer_edge.faces import LabelledFaces, load_task_faces
from fer_edge.tables import read_json

from export.adopt.answers import (
    Answers,
    Feeding,
    face_crop_of,
    feedings,
    labels_for,
    meaning_of,
    raw_input,
    require_answers,
    task_of,
)
from export.adopt.conversion import tflite_of_network
from export.adopt.folding import keep_one_output, onnx_with_scaling, tflite_with_scaling
from export.adopt.measuring import Way, best_way, measured, predicted, require_right_labels
from export.adopt.network import Network
from export.artifacts import GOLDEN, contract_path, model_path, staged, write_contract
from export.contracts import PRODUCER, build_date
from export.golden import Golden, load_golden, sized_faces
from export.metadata import put_in_onnx, put_in_tflite
from export.parity import check_parity

CARD = "README.md"


@dataclass(frozen=True)
class Adopted:
    """Result of an adoption. `refused` says why a format is missing; `ways` how each way of feeding did."""

    folder: Path
    network: Network
    feeding: Feeding
    contract: ModelContract
    differences: dict[str, float]
    refused: dict[str, str]
    way: Way | None
    ways: tuple[Way, ...]


def adopt(
    network: Network, answers: Answers, out: Path, faces_at: Path | None = None, split: str = "PublicTest"
) -> Adopted:
    """Write `out`/<name>/ with float ONNX and TFLite, contracts, golden vectors, a model card and checksums.

    `faces_at` is a face cache, a folder with a sub-folder of images a class, or a CSV of path and label: colour and
    range that the answers leave open are then measured, and labels in another order are noticed. Raises UsageError for
    answers that are missing or wrong, ModelError for a network that cannot be published, ExportError where a file
    computes something else.
    """
    require_answers(network, answers, measured=faces_at is not None)
    labels = labels_for(network, answers)
    faces = None if faces_at is None else _faces(faces_at, split, labels, network)
    feeding, way, ways = _feeding(network, answers, faces)
    if faces is not None and way is not None:
        require_right_labels(way, faces, labels)
    golden = _golden(network, feeding)
    contract = _contract(network, answers, labels, feeding, golden, way, faces)
    folder = out / answers.name
    _require_own_folder(folder, network)
    _require_same_answers(folder, contract, golden)
    with staged(folder) as staging:
        differences, refused = _write(staging, network, feeding, contract, golden)
        golden.save(staging / GOLDEN)
        adopted = Adopted(folder, network, feeding, contract, differences, refused, way, ways)
        (staging / CARD).write_text(card(adopted))
    return adopted


def _faces(path: Path, split: str, labels: tuple[str, ...], network: Network) -> LabelledFaces:
    if not path.exists():
        raise UsageError(f"--faces {path}: not found. Give a folder with a sub-folder of pictures a label, or a CSV.")
    where = "all" if holds_pictures(path) else split
    faces = load_task_faces(path, where, task_of(labels), labels, network.size_px, colour=network.channels == 3)
    if not isinstance(faces, LabelledFaces) or len(np.unique(faces.labels)) < 2:
        raise UsageError(
            f"--faces {path}: faces of fewer than two of these labels. Give a folder with a sub-folder of pictures a "
            "label, or a CSV."
        )
    return faces


def _feeding(
    network: Network, answers: Answers, faces: LabelledFaces | None
) -> tuple[Feeding, Way | None, tuple[Way, ...]]:
    ways = feedings(network, answers)
    if faces is None:
        return ways[0], None, ()
    if len(ways) == 1:
        return ways[0], measured(network, ways[0], faces), ()
    best, every = best_way(network, ways, faces)
    return best.feeding, best, every


def _golden(network: Network, feeding: Feeding) -> Golden:
    """Synthetic faces, tinted where the network sees colour, and what the original file gives for them."""
    inputs = sized_faces(network.size_px)
    if network.channels == 3:
        inputs = _tinted(inputs)
    outputs = predicted(network, feeding, inputs)
    if not np.isfinite(outputs).all():
        raise ModelError(f"{network.source}: gives values that are not finite for synthetic faces. Check its weights.")
    if float(outputs.std(axis=0).max()) == 0:
        raise ModelError(f"{network.source}: gives the same output for every face. Check its weights and its range.")
    return Golden(inputs, outputs)


def _tinted(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey (n, h, w) -> BGR (n, h, w, 3) of warm and cold light, so that swapped colours show."""
    generator = np.random.default_rng(3)
    tints = generator.uniform(0.6, 1.0, (len(faces), 1, 1, 3))
    tints[:3] = 1.0
    return np.round(faces[..., None] * tints).astype(np.uint8)


def _contract(
    network: Network,
    answers: Answers,
    labels: tuple[str, ...],
    feeding: Feeding,
    golden: Golden,
    way: Way | None,
    faces: LabelledFaces | None,
) -> ModelContract:
    figures = ()
    if way is not None and faces is not None:
        figures = (
            Measurement(
                dataset=faces.dataset,
                split=faces.split,
                n=len(faces),
                crops="single",
                accuracy=way.accuracy,
                macro_f1=way.macro_f1,
            ),
        )
    contract = ModelContract(
        name=answers.name,
        task=task_of(labels),
        labels=labels,
        input=raw_input(network, feeding),
        face_crop=face_crop_of(answers),
        output=OutputSpec(meaning=meaning_of(answers, golden.logits), temperature=1.0),
        precision="fp32",
        checkpoint_sha256=network.sha256,
        trained_on=answers.trained_on,
        measured=figures,
        licence=answers.licence or "",
        producer=PRODUCER,
        created=build_date(),
    )
    return parse_contract(contract.in_lowest_schema().to_json(), answers.name)


def _write(
    staging: Path, network: Network, feeding: Feeding, contract: ModelContract, golden: Golden
) -> tuple[dict[str, float], dict[str, str]]:
    """Both formats where they can be had: the largest difference of each, and why another is missing."""
    differences, refused = {}, {}
    if network.graph is not None:
        path = model_path(staging, contract.name, "fp32", "onnx")
        model = onnx_with_scaling(network, feeding)
        put_in_onnx(model, contract)
        onnx.save(model, path)
        differences["onnx"] = _checked(path, contract, golden)
    else:
        refused["onnx"] = "adopt makes none of a .tflite, which goes on alone; docs/own-model.md says how tf2onnx does"
    try:
        content = _tflite(network, feeding)
        path = model_path(staging, contract.name, "fp32", "tflite")
        layout = "NHWC" if network.tflite is None else network.layout
        laid_out = dataclasses.replace(contract, input=dataclasses.replace(contract.input, layout=layout))
        path.write_bytes(put_in_tflite(content, laid_out))
        differences["tflite"] = _checked(path, laid_out, golden)
    except ModelError as error:
        if not differences:
            raise
        refused["tflite"] = str(error)
    return differences, refused


def _tflite(network: Network, feeding: Feeding) -> bytes:
    if network.tflite is None:
        return tflite_of_network(network, feeding)
    if network.takes_raw_pixels:
        return keep_one_output(network.tflite, network.output.name)
    return tflite_with_scaling(keep_one_output(network.tflite, network.output.name), feeding, network.layout)


def _checked(path: Path, contract: ModelContract, golden: Golden) -> float:
    write_contract(path, contract)
    return check_parity(path, golden)


def _require_own_folder(folder: Path, network: Network) -> None:
    """A folder belongs to one model. Raises UsageError where another one lies there."""
    for suffix in ("onnx", "tflite"):
        kept = contract_path(model_path(folder, folder.name, "fp32", suffix))
        if not kept.is_file():
            continue
        table = read_json(kept, UsageError)
        digest = str(table.get("checkpoint_sha256", "")) if isinstance(table, dict) else ""
        if digest != network.sha256:
            raise UsageError(
                f"{folder} holds another model ({digest[:12]}) than {network.source} ({network.sha256[:12]}). Give "
                f"another --name or --out, or remove {folder}."
            )


def _require_same_answers(folder: Path, contract: ModelContract, golden: Golden) -> None:
    """INT8 and fp16 files are made of the float ones here. Raises UsageError where other answers made those."""
    made = sorted(path.name for kind in ("int8", "fp16") for path in folder.glob(f"{folder.name}.{kind}.*[xe]"))
    if not made:
        return
    floats = (model_path(folder, folder.name, "fp32", suffix) for suffix in ("onnx", "tflite"))
    kept = [parse_contract(contract_path(path).read_text(), str(path)) for path in floats if path.is_file()]
    before = load_golden(folder / GOLDEN)
    same = all(
        (one.labels, one.input.colour, one.face_crop, one.output.meaning)
        == (contract.labels, contract.input.colour, contract.face_crop, contract.output.meaning)
        for one in kept
    )
    fits = before.inputs.shape == golden.inputs.shape and before.logits.shape == golden.logits.shape
    if not (same and fits and np.allclose(before.logits, golden.logits, rtol=1e-3, atol=1e-3)):
        raise UsageError(
            f"{folder} holds {made[0]}, made with other answers than these. Remove {folder}, or give another --name."
        )


def card(adopted: Adopted) -> str:
    """The model card, Markdown."""
    contract, network = adopted.contract, adopted.network
    lines = [
        f"# {contract.name}",
        "",
        f"Adopted from `{Path(network.source).name}` (SHA-256 `{network.sha256[:16]}`): {network.description()}.",
        "",
        f"- labels: {', '.join(contract.labels)}",
        f"- input: {contract.input.colour}, {contract.input.height_px}x{contract.input.width_px} px; folded into the "
        f"graph: pixels {adopted.feeding.name}, mean {_numbers(adopted.feeding.mean)}, std "
        f"{_numbers(adopted.feeding.std)}",
        f"- output: {contract.output.meaning}",
        f"- licence: {contract.licence}; trained on: {contract.trained_on}",
    ]
    if adopted.way is not None and contract.measured:
        figures = contract.measured[0]
        lines.append(
            f"- {figures.dataset} {figures.split}, n {figures.n}, single crop: accuracy {figures.accuracy:.2%}, "
            f"macro-F1 {figures.macro_f1:.2%}"
        )
    lines += [
        f"- {suffix}: differs from the original by at most {most:.1e}" for suffix, most in adopted.differences.items()
    ]
    lines += [f"- no {suffix}: {why}" for suffix, why in adopted.refused.items()]
    return "\n".join(lines) + "\n"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
