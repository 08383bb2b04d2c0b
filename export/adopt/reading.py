"""Open a network from elsewhere: .onnx, .tflite, .pt2, or `module:function` with a file of weights."""

from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import ModelError, UsageError

from export.adopt.network import Hints, Network
from export.adopt.onnx_reading import read_onnx_network
from export.adopt.tflite_reading import read_tflite_network
from export.adopt.torch_reading import read_function, read_program

_KERAS = "Keras 3 exports it: model = load_model(...), model.export('model.onnx', format='onnx'), or format='litert'"
_PICKLE = "a pickle runs code when it is opened; give module:function and --weights, or torch.export.save's .pt2"
_REMEDIES = {
    **dict.fromkeys((".keras", ".h5", ".hdf5"), _KERAS),
    **dict.fromkeys((".pt", ".pth", ".pkl", ".ckpt", ".bin", ".joblib"), _PICKLE),
    ".torchscript": "give module:function and --weights, or torch.export.save's .pt2",
    ".safetensors": "weights alone are no network; give module:function and --weights",
    ".pb": "TensorFlow's converter makes a .tflite of it: tf.lite.TFLiteConverter.from_saved_model",
}


def open_network(source: str, hints: Hints) -> Network:
    """Open what `source` names. Raises ModelError for what cannot be adopted, with the reason."""
    path = Path(source)
    readers: dict[str, Callable[[Path, Hints], Network]] = {
        ".onnx": read_onnx_network,
        ".tflite": read_tflite_network,
        ".pt2": read_program,
    }
    for flag, value in (("--weights", hints.weights), ("--channels", hints.channels)):
        if path.suffix.lower() in readers and value is not None:
            raise UsageError(
                f"{flag} {value}: goes with module:function alone; {path} says it itself. Leave {flag} out."
            )
    suffix = path.suffix.lower()
    if suffix in readers:
        if not path.is_file():
            raise UsageError(f"{path}: no such file. Give an .onnx, .tflite or .pt2 file, or module:function.")
        _require_content(path)
        return readers[suffix](path, hints)
    if ":" in source and not path.exists():
        return read_function(source, hints)
    remedy = _REMEDIES.get(suffix, "give an .onnx, .tflite or .pt2 file, or module:function")
    if (path / "saved_model.pb").is_file():
        remedy = _REMEDIES[".pb"]
    raise UsageError(f"{source}: expected .onnx, .tflite, .pt2 or module:function; {remedy}.")


def _require_content(path: Path) -> None:
    """Raise ModelError for what downloads and checkouts leave in the place of a model."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise ModelError(f"{path}: empty. Copy it again.")
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a pointer of Git LFS, and not the model itself. Run git lfs pull.")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ModelError(f"{path}: a web page, and no model. Download it again.")
    if head.startswith(b"PK") and path.suffix.lower() != ".pt2":
        raise ModelError(f"{path}: a zip archive. Unpack it, and give the file in it by its own suffix.")
