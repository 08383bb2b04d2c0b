"""Writing the contract into a model file: ONNX metadata_props, or a TFLite metadata buffer."""

from typing import Any

import flatbuffers
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from fer_edge.contract import METADATA_KEY, ModelContract


def conventional_keys(contract: ModelContract) -> dict[str, str]:
    """The keys that Ultralytics' exporters write and model viewers show."""
    return {
        "description": f"{contract.name}: facial expression classifier, {contract.precision}",
        "author": "fer-edge",
        "date": contract.created,
        "version": contract.producer,
        "license": contract.licence,
        "task": "classify",
        "imgsz": str([contract.input.height_px, contract.input.width_px]),
        "names": str(dict(enumerate(contract.labels))),
    }


def put_in_onnx(model: onnx.ModelProto, contract: ModelContract) -> None:
    """Replace the metadata of `model` by the contract and the conventional keys."""
    onnx.helper.set_model_props(model, {**conventional_keys(contract), METADATA_KEY: contract.to_json()})
    model.producer_name, model.producer_version = "fer-edge", contract.producer.removeprefix("fer-edge ")


def put_in_tflite(content: bytes, contract: ModelContract) -> bytes:
    """The .tflite file `content` with the contract as its metadata buffer, replacing one that is there."""
    description = conventional_keys(contract)["description"]
    return put_text_in_tflite(content, METADATA_KEY, contract.to_json(), description=description)


def put_text_in_tflite(content: bytes, key: str, text: str, *, description: str | None = None) -> bytes:
    """The .tflite file `content` with `text` as its metadata buffer `key`, replacing one that is there."""
    model = read_tflite(content)
    if description is not None:
        model.description = description.encode()
    entries = model.metadata or []
    entry = next((entry for entry in entries if entry.name == key.encode()), None)
    if entry is None:
        model.buffers.append(schema.BufferT())
        entry = schema.MetadataT()
        entry.name, entry.buffer = key.encode(), len(model.buffers) - 1
        model.metadata = [*entries, entry]
    model.buffers[entry.buffer].data = list(text.encode())
    return write_tflite(model)


def read_tflite(content: bytes) -> Any:
    """The model a .tflite file holds, as the flatbuffer object API's ModelT."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write_tflite(model: Any) -> bytes:
    """Serialise a ModelT."""
    builder = _AlignedBuilder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Puts weights on 16 bytes, as the schema asks and the Python library forgets: vector loads may rely on it."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        """See flatbuffers.Builder."""
        return super().StartVector(elemSize, numElems, max(alignment, 16) if elemSize == 1 else alignment)
