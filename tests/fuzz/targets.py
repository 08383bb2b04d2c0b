"""Every reader of what other people wrote, each with good inputs to start from. A new reader is a new entry here."""

import csv
import dataclasses
import functools
import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import onnx

from fer_edge.errors import FerEdgeError

from tests.fuzz import models
from tests.fuzz.mutation import VALUES, mutated, mutated_json

ROOT = Path(__file__).parent.parent.parent
Run = Callable[[Path], object]
Make = Callable[[Random], bytes]


@dataclass(frozen=True)
class Target:
    """One reader: `make` gives an input, `ready` prepares a folder and gives what takes the input's file."""

    name: str
    suffix: str
    make: Make
    ready: Callable[[Path], AbstractContextManager[Run]]


def _plain(run: Run) -> Callable[[Path], AbstractContextManager[Run]]:
    return lambda folder: nullcontext(run)


def _of_seeds(*seeds: bytes) -> Make:
    return lambda random: mutated(random.choice(seeds), random)


# --- Contracts and models -----------------------------------------------------------------------------------


@functools.cache
def _contract_texts() -> tuple[str, ...]:
    default = (ROOT / "runtime/fer_edge/data/fer-base.int8.tflite.json").read_text()
    return default, models.contract_of("int8", "NHWC").to_json(), models.foreign_contract().to_json()


def _make_contract(random: Random) -> bytes:
    text = random.choice(_contract_texts())
    return mutated(text.encode(), random) if random.random() < 0.4 else mutated_json(text, random)


def _run_contract(path: Path) -> None:
    """Parse it as metadata is parsed, and use the labels where they end up: in a picture, a row, a line."""
    from fer_edge.contract import parse_contract
    from fer_edge.drawing import draw
    from fer_edge.frames import Box, Face, Frame, FrameResult
    from fer_edge.sinks import CsvSink, JsonlSink, TerminalSink

    try:
        text = path.read_bytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return
    contract = parse_contract(text, "model")
    answers = contract.answers(np.zeros((1, len(contract.labels)), np.float32))
    name = contract.task_spec.name_of(answers[0], contract.labels)
    probabilities = tuple(float(value) for value in answers[0])
    face = Face(Box(5, 5, 40, 40), 0.9, 1, name, max(probabilities), probabilities, contract.labels, contract.task)
    frame = Frame(np.zeros((240, 320, 3), np.uint8), 0, 0.0, "x")
    result = FrameResult(0, 0.0, "x", 320, 240, contract.labels, (face,), task=contract.task)
    draw(frame.image_bgr, result)
    sinks = (CsvSink(path.with_suffix(".csv"), contract.labels), JsonlSink(path.with_suffix(".jsonl")))
    for sink in (*sinks, TerminalSink(io.StringIO())):
        with sink:
            sink.write(frame, result)


def _run_model(path: Path) -> None:
    from fer_edge.classifier import Classifier

    classifier = Classifier(path)
    spec = classifier.contract.input
    classifier.classify(np.zeros((2, spec.height_px, spec.width_px), np.uint8))


@functools.cache
def _tflite_seeds() -> tuple[bytes, ...]:
    """Mostly tiny ones, which load a hundred times faster."""
    tiny = (models.tiny_tflite(), models.tiny_tflite("int8"))
    return *tiny * 5, (ROOT / "runtime/fer_edge/data/fer-base.int8.tflite").read_bytes()


def _make_tflite_fields(random: Random) -> bytes:
    """A well-formed flatbuffer of a model that makes no sense."""
    model = models.unpacked(models.tiny_tflite(random.choice(("float32", "int8"))))
    for _ in range(random.choice((1, 1, 2, 4))):
        _mutate_object(model, random)
    try:
        return models.packed(model)
    except Exception:  # the builder refuses some values itself
        return models.tiny_tflite()


_FIELD_VALUES = (0, 1, -1, 2, 3, 4, 7, 16, 31, 127, -128, 255, 1000, 65536, 2**31 - 1, -(2**31))


def _mutate_object(node: Any, random: Random) -> None:
    """Change one field at some depth of an object of the schema."""
    while True:
        fields = [name for name, value in vars(node).items() if value is not None]
        name = random.choice(fields)
        value = getattr(node, name)
        if isinstance(value, list) and value and hasattr(value[0], "Pack"):
            if random.random() < 0.1:
                value.pop(random.randrange(len(value)))
                return
            node = random.choice(value)
        elif hasattr(value, "Pack"):
            node = value
        else:
            break
    setattr(node, name, _other_value(value, random))


def _other_value(value: Any, random: Random) -> Any:
    if random.random() < 0.1 and not isinstance(value, int | float | bool):
        return None
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return random.choice((0.0, -1.0, 1e-38, 1e38, float("inf"), float("nan")))
    if isinstance(value, int):
        return random.choice(_FIELD_VALUES)
    if isinstance(value, list | np.ndarray) and len(value):
        changed = list(value)
        match random.randrange(3):
            case 0:
                changed[random.randrange(len(changed))] = type(changed[0])(random.choice(_FIELD_VALUES) % 128)
            case 1:
                changed[random.randrange(len(changed))] = random.choice(_FIELD_VALUES)
            case 2:
                del changed[random.randrange(len(changed)) :]
        return np.array(changed).astype(value.dtype) if isinstance(value, np.ndarray) else changed
    return value


def _make_onnx_fields(random: Random) -> bytes:
    """A well-formed ONNX model that makes no sense."""
    model = onnx.load_from_string(models.tiny_onnx())
    graph = model.graph
    for _ in range(random.choice((1, 1, 2, 4))):
        node = random.choice(graph.node)
        match random.randrange(8):
            case 0:
                names = [name for one in graph.node for name in (*one.input, *one.output)]
                node.input[random.randrange(len(node.input))] = random.choice((*names, "", "no such tensor"))
            case 1:
                node.op_type = random.choice(("Add", "Loop", "Scan", "If", "Resize", "TopK", "Gather", "Pad", "Expand"))
            case 2 if node.attribute:
                attribute = random.choice(node.attribute)
                attribute.ints[:] = [random.choice(_FIELD_VALUES) for _ in attribute.ints]
                attribute.i = random.choice(_FIELD_VALUES)
            case 3:
                tensor = random.choice(graph.initializer)
                tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_FIELD_VALUES)
            case 4:
                tensor = random.choice(graph.initializer)
                tensor.data_type = random.randrange(24)
            case 5:
                shape = random.choice((*graph.input, *graph.output)).type.tensor_type.shape
                shape.dim[random.randrange(len(shape.dim))].dim_value = random.choice(_FIELD_VALUES)
            case 6:
                graph.node.remove(random.choice(graph.node)) if len(graph.node) > 1 else None
            case _:
                tensor = random.choice(graph.initializer)
                tensor.data_location = random.choice((0, 1))
                entry = tensor.external_data.add()
                entry.key, entry.value = "location", random.choice(("/etc/passwd", "../x", "input.onnx", "/dev/zero"))
    return bytes(model.SerializeToString())


# --- What people write: configuration, tables, recipes ------------------------------------------------------


@functools.cache
def _config_lines() -> tuple[str, ...]:
    from fer_edge.options import keys

    sections: dict[str, list[str]] = {}
    for key in keys():
        default = key.default if key.default not in (None, ()) else "x"
        text = str(default).lower() if isinstance(default, bool | int | float) else f'"{default}"'
        sections.setdefault(key.section, []).append(f"{key.name} = {text}")
    return tuple("\n".join((f"[{section}]", *lines)) for section, lines in sections.items())


def _make_config(random: Random) -> bytes:
    text = '[source]\naddress = "clip.mp4"\n' + "\n".join(section for section in _config_lines()[1:])
    if random.random() < 0.6:
        lines = [line for line in text.splitlines() if line.startswith("[") or random.random() < 0.3]
        for _ in range(random.choice((1, 2))):
            place = random.randrange(len(lines))
            lines[place] = f"{lines[place].partition(' = ')[0]} = {_toml_value(random)}"
        text = "\n".join(lines)
        if random.random() < 0.7:
            return text.encode("utf-8", "surrogatepass")
    return mutated(text.encode(), random)


def _toml_value(random: Random) -> str:
    value = random.choice(VALUES)
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    if isinstance(value, dict):
        return "{ x = 1 }"
    return str(value).lower() if value is not None else "2020-01-01"


def _run_config(path: Path) -> None:
    """Read the settings and make every part that is made before anything is opened."""
    import argparse

    from fer_edge.options import add_flags, parse
    from fer_edge.pictures import Pictures
    from fer_edge.program.parts import SinkContext, make_source, refuse_overwriting, sink_makers
    from fer_edge.program.service import Supervisor

    parser = argparse.ArgumentParser()
    add_flags(parser)
    settings = parse(parser, ["--config", str(path)])
    refuse_overwriting(settings)
    source = make_source(settings, Supervisor({}))
    context = SinkContext(source, ("a", "b"), lambda: None, Pictures(settings.output.privacy))  # type: ignore[arg-type,return-value]
    for make in sink_makers(settings, context).values():
        make()


def _make_words(random: Random) -> bytes:
    from fer_edge.options import keys

    words = ["--source", "clip.mp4"]
    for key in random.sample(list(keys()), 3):
        value = random.choice(VALUES)
        text = value if isinstance(value, str) else str(value)
        words += [key.option.flag] if key.option.parse is None else [f"{key.option.flag}={text}"]
    return "\n".join(words).replace("\0", "").encode("utf-8", "surrogatepass")


def _run_words(path: Path) -> None:
    from fer_edge.arguments import ArgumentParser
    from fer_edge.options import add_flags, parse

    parser = ArgumentParser()
    add_flags(parser)
    with redirect_stderr(io.StringIO()):
        try:
            parse(parser, [os.fsdecode(word) for word in path.read_bytes().split(b"\n")])
        except SystemExit as end:
            if end.code != 2:
                raise


def _csv_text(kind: type, rows: int) -> bytes:
    """A table whose columns are the fields of a dataclass."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = dataclasses.fields(kind)
    writer.writerow([field.name for field in fields])
    for row in range(rows):
        writer.writerow([_cell(str(field.type), row) for field in fields])
    return text.getvalue().encode()


def _cell(kind: str, row: int) -> str:
    return str(row) if "int" in kind else "0.5" if "float" in kind else "True" if "bool" in kind else f"word {row}"


@functools.cache
def _report_tables() -> tuple[bytes, ...]:
    from fer_edge.bench.rows import BenchRow
    from fer_edge.bench.sustained import SustainedRow

    from boards.confusion import ConfusionRow
    from boards.instructions import InstructionRow
    from boards.noise import NoiseRow
    from boards.peers.paired import PeerRow

    kinds = (BenchRow, SustainedRow, NoiseRow, PeerRow, ConfusionRow, InstructionRow)
    made = [_csv_text(kind, 2) for kind in kinds]
    return *made, *(path.read_bytes()[:20_000] for path in sorted((ROOT / "docs/measured").rglob("bench.csv"))[:2])


def _run_report_table(path: Path) -> None:
    from boards.report.reading import read_measured

    read_measured([path])


def _fer2013_csv() -> bytes:
    pixels = " ".join(str(value % 256) for value in range(48 * 48))
    rows = [f"{row % 7},{pixels},{split}" for row, split in enumerate(("Training", "PublicTest", "PrivateTest"))]
    return "\n".join(("emotion,pixels,Usage", *rows, "")).encode()


def _run_fer2013(path: Path) -> None:
    from train.data.fer2013 import read_fer2013

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        read_fer2013(path, None, expected_counts=None)


def _ferplus_csv() -> bytes:
    from train.data.fer2013 import VOTES

    rows = [f"{split},,{','.join('1' * len(VOTES))}" for split in ("Training", "PublicTest", "PrivateTest")]
    return "\n".join((f"Usage,Image name,{','.join(VOTES)}", *rows, "")).encode()


def _run_ferplus(path: Path) -> None:
    from train.data.fer2013 import read_ferplus

    read_ferplus(path, np.array([0, 1, 2]))


def _run_profile(path: Path) -> None:
    from boards.profiles import load_profile

    load_profile(path.stem, path.parent)


def _run_recipe(path: Path) -> None:
    from train.fit import recipe

    recipe.load(str(path))


def _run_plan(path: Path) -> None:
    from train.studies import ablation

    ablation.load_plan(path)


def _run_replay(path: Path) -> None:
    from quantize.replay import load_replay

    load_replay(path)


def _run_calibration(path: Path) -> None:
    from quantize.calibration import load_cache

    load_cache(path, "0" * 64)


@functools.cache
def _replays() -> tuple[str, ...]:
    recipe = {"name": "qdq-u8-quantile", "backend": "onnxruntime", "ops": ["Conv", "Add"], "exclude": [], "steps": 300}
    made_on = {"source": "FER2013 Training", "count": 512, "seed": 0, "percentile": 99.0}
    return (
        json.dumps({"recipe": recipe, "target": "x86", "calibration": made_on, "max_drop_points": 0.3, "names": {}}),
    )


@functools.cache
def _calibrations() -> tuple[str, ...]:
    return ((ROOT / "models/fer-nano/calibration.json").read_text(),)


def _files(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(ROOT.glob(pattern)))


def _make_results(random: Random) -> bytes:
    """Lines of --jsonl, some of them damaged or of other types."""
    face = {"box_px": [1.5, 2, 30, 40], "score": 0.9, "track_id": 1, "expression": "happy", "confidence": 0.8}
    face["probabilities"] = dict.fromkeys(models.LABELS, 1 / 7)
    line = {"frame_index": 0, "time_s": 0.0, "source": "clip.mp4", "width_px": 64, "height_px": 48, "faces": [face]}
    lines = [json.dumps({**line, "frame_index": n, "time_s": n / 10, "stage_ms": {"total": 5.5}}) for n in range(6)]
    place = random.randrange(len(lines))
    found = [text.encode() for text in lines]
    found[place] = mutated_json(lines[place], random)
    return b"\n".join((*found, b""))


def _run_results(path: Path) -> None:
    """The page of a run, and going on with its file."""
    from fer_edge.sinks import JsonlSink
    from fer_edge.sinks.line_file import LineOptions
    from fer_edge.sinks.timeline_page import write_page

    write_page(path, path.with_suffix(".html"))
    with JsonlSink(path, LineOptions(append=True)):
        pass


# --- Arrays and pictures ------------------------------------------------------------------------------------


@functools.cache
def _cache_arrays() -> dict[str, np.ndarray]:
    count, random = 24, np.random.default_rng(0)
    return {
        "images": random.integers(0, 256, (count, 8, 8), dtype=np.uint8),
        "labels": (np.arange(count) % 7).astype(np.int8),
        "splits": (np.arange(count) % 3).astype(np.int8),
        "label_names": np.array(models.LABELS),
        "split_names": np.array(["Training", "PublicTest", "PrivateTest"]),
        "votes": random.integers(0, 3, (count, 10)).astype(np.int8),
    }


def _make_cache(random: Random) -> bytes:
    """A cache whose arrays do not fit each other, or whose bytes are damaged."""
    arrays = dict(_cache_arrays())
    for _ in range(random.choice((0, 1, 1, 2))):
        _mutate_arrays(arrays, random)
    stream = io.BytesIO()
    (np.savez_compressed if random.random() < 0.2 else np.savez)(stream, **arrays)  # type: ignore[arg-type]
    return mutated(stream.getvalue(), random) if random.random() < 0.5 else stream.getvalue()


def _mutate_arrays(arrays: dict[str, np.ndarray], random: Random) -> None:
    name = random.choice(list(arrays))
    array = arrays[name]
    match random.randrange(9):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array[: random.randrange(len(array) + 1)] if array.ndim else array
        case 2:
            arrays[name] = array.reshape(-1)
        case 3:
            arrays[name] = array[None]
        case 4:
            arrays[name] = np.array(random.choice((7, 1.5, "x", True, None, b"x")))
        case 5:
            kinds = ("f8", "O", "S4", "U3", "c16", "i8", "?") if array.dtype.kind in "iuf" else ("O", "S4", "U3")
            arrays[name] = array.astype(random.choice(kinds))
        case 6 if array.dtype.kind in "iu":
            arrays[name] = array + np.asarray(random.choice((100, 3, 7)), array.dtype)
        case 7:
            arrays[random.choice(("dataset", "truth_expression7", "truth_valence-arousal", "votes"))] = array
        case _:
            arrays[name] = np.zeros(random.choice(((0,), (0, 8, 8), (24, 0), (24,), (1, 1, 1, 1))), array.dtype)


def _run_cache(path: Path) -> None:
    from fer_edge.faces import load_faces, load_task_faces

    failed = None
    for task in (None, "expression7", "expression8", "positive-negative", "valence-arousal"):
        try:
            if task is None:
                load_faces(path, "Training").balanced(2, 0)
            else:
                load_task_faces(path, "PublicTest", task, models.LABELS)
        except FerEdgeError as error:
            failed = error
    if failed is not None:
        raise failed


@functools.cache
def _pictures() -> tuple[bytes, ...]:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    found = []
    for suffix in (".png", ".jpg", ".bmp", ".gif", ".webp", ".tiff", ".ppm", ".pgm", ".jp2", ".hdr", ".exr", ".ras"):
        try:
            whole, data = cv2.imencode(suffix, image.astype(np.float32) if suffix in (".hdr", ".exr") else image)
        except cv2.error:  # a format that this build cannot write
            continue
        if whole:
            found.append(data.tobytes())
    return tuple(found)


def _run_picture(path: Path) -> None:
    from fer_edge.picture_file import read_image

    read_image(path)


@functools.cache
def _videos() -> tuple[bytes, ...]:
    import tempfile

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")):
            path = Path(folder) / name
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (32, 24))
            for level in range(5):
                writer.write(np.full((24, 32, 3), 40 * level, np.uint8))
            writer.release()
            found.append(path.read_bytes())
    return tuple(found)


def _run_video(path: Path) -> None:
    from fer_edge.sources.video import VideoSource

    with VideoSource(path) as source:
        for _ in zip(range(20), source, strict=False):
            pass


# --- The network --------------------------------------------------------------------------------------------

_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /events?token=x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nCookie: fer_edge_token=x\r\n\r\n",
    b"POST /?a=b%20c HTTP/1.0\r\nHost: [::1]:8000\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
    b"HEAD /page.css HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nRange: bytes=0-1\r\n\r\n",
)


@contextmanager
def _web_server(folder: Path) -> Iterator[Run]:
    from fer_edge.pictures import Pictures
    from fer_edge.sinks.web import WebSink

    printed = io.StringIO()
    sys.stdout = sys.stderr = printed
    with WebSink("0", None, Pictures(), lambda: None) as sink:  # type: ignore[arg-type,return-value]

        def run(path: Path) -> None:
            _asked(sink.server.port, path.read_bytes())
            if b"200" not in _asked(sink.server.port, _REQUESTS[0])[:20]:
                raise AssertionError("an honest request is not answered any more")
            if "Traceback" in printed.getvalue():
                text = printed.getvalue()
                printed.truncate(printed.seek(0))
                raise AssertionError(f"a traceback was printed:\n{text[-1500:]}")

        yield run


def _asked(port: int, request: bytes) -> bytes:
    """Return the server's response to `request`, after which nothing follows."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        try:
            line.sendall(request)
            line.shutdown(socket.SHUT_WR)
            line.settimeout(0.5)
            while len(answer) < 1000 and (part := line.recv(4096)):
                answer += part
        except OSError:
            pass
    return answer


@functools.cache
def _camera_answers() -> tuple[bytes, ...]:
    """Respond as cameras do: pictures one after another, one picture, a redirect, a challenge, a playlist."""
    picture = cv2.imencode(".jpg", np.full((24, 32, 3), 90, np.uint8))[1].tobytes()
    multipart = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    head = b"--frame\r\nContent-Type: image/jpeg\r\n"
    parts = (head + b"Content-Length: %d\r\n\r\n" % len(picture) + picture + b"\r\n") * 3
    return (
        multipart + b"\r\n" + parts,
        multipart + b"\r\n" + (head + b"\r\n" + picture + b"\r\n") * 3 + b"--frame--\r\n",
        multipart + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(parts) + parts + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture,
        b"HTTP/1.1 302 Found\r\nLocation: /live\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="a", nonce="b", qop="auth", algorithm=MD5\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-mpegurl\r\n\r\n#EXTM3U\n#EXTINF:1,\nx.ts\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: video/x-msvideo\r\n\r\n" + _videos()[0],
    )


@contextmanager
def _http_camera(folder: Path) -> Iterator[Run]:
    """A camera that answers every request with what stands in the file."""
    from fer_edge.sources import open_source
    from fer_edge.sources.live import LiveOptions

    options = LiveOptions(tries=0, first_frame_s=2.0, silence_s=2.0, snapshot_s=0.01)
    answer = [b""]

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                line = listener.accept()[0]
            except OSError:
                return
            with line, suppress(OSError):
                line.settimeout(2)
                line.recv(4096)
                line.sendall(answer[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        address = f"http://user:password@127.0.0.1:{listener.getsockname()[1]}/"

        def run(path: Path) -> None:
            answer[0] = path.read_bytes()
            with open_source(address, options) as source:
                next(iter(source), None)

        yield run
        listener.shutdown(socket.SHUT_RDWR)


_PACKETS = (
    b'\x20\x02\x00\x00\x90\x04\x00\x01\x00\x00\x30\x18\x00\x10fer-edge/x/stats{"board": "y"}',
    b"\x20\x02\x00\x00\x31\x1f\x00\x14fer-edge/x/availableoffline",
    b"\x20\x02\x00\x05",
    b"\x20\x02\x00\x00\x40\x02\x00\x01\x50\x02\x00\x02\x62\x02\x00\x02\x70\x02\x00\x02\xd0\x00\xe0\x00",
    b"\x20\x02\x01\x00\x32\x0b\x00\x01x\x00\x01payload",
)


@contextmanager
def _mqtt_broker(folder: Path) -> Iterator[Run]:
    """A broker that says what stands in the file; the sink's thread has to come back each time."""
    from fer_edge.sinks import mqtt, outbox

    outbox._FIRST_WAIT_S = outbox._LONGEST_WAIT_S = 0.001  # it waits longer for a broker that does not answer
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(9)
        address = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        with mqtt.MqttSink(address, "fer-edge/x", lambda: None):  # type: ignore[arg-type,return-value]

            def run(path: Path) -> None:
                _say_and_hang_up(listener, path.read_bytes())

            yield run


def _say_and_hang_up(listener: socket.socket, data: bytes) -> None:
    with listener.accept()[0] as line:
        line.settimeout(9)
        try:
            line.recv(4096)  # the client's CONNECT
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass
        except OSError:
            pass


@contextmanager
def _mqtt_clearing(folder: Path) -> Iterator[Run]:
    """The same broker, for the errand of `fer-edge mqtt-clear`."""

    from fer_edge.settings import MqttSettings
    from fer_edge.sinks.mqtt import clear_broker

    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = MqttSettings(address=f"mqtt://127.0.0.1:{listener.getsockname()[1]}", topic="fer-edge/x")

        def run(path: Path) -> None:
            broker = threading.Thread(target=_say_and_hang_up, args=(listener, path.read_bytes()), daemon=True)
            broker.start()
            clear_broker(settings)

        yield run


TARGETS = {
    target.name: target
    for target in (
        Target("contract", ".json", _make_contract, _plain(_run_contract)),
        Target("tflite", ".tflite", lambda random: mutated(random.choice(_tflite_seeds()), random), _plain(_run_model)),
        Target("tflite-fields", ".tflite", _make_tflite_fields, _plain(_run_model)),
        Target("onnx", ".onnx", lambda random: mutated(models.tiny_onnx(), random), _plain(_run_model)),
        Target("onnx-fields", ".onnx", _make_onnx_fields, _plain(_run_model)),
        Target("configuration", ".toml", _make_config, _plain(_run_config)),
        Target("command-line", ".txt", _make_words, _plain(_run_words)),
        Target(
            "report-table",
            ".csv",
            lambda random: mutated(random.choice(_report_tables()), random),
            _plain(_run_report_table),
        ),
        Target("fer2013", ".csv", _of_seeds(_fer2013_csv()), _plain(_run_fer2013)),
        Target("ferplus", ".csv", lambda random: mutated(_ferplus_csv(), random), _plain(_run_ferplus)),
        Target("profile", ".toml", _of_seeds(*_files("boards/profiles/*.toml")), _plain(_run_profile)),
        Target("recipe", ".toml", _of_seeds(*_files("train/recipes/*.toml")), _plain(_run_recipe)),
        Target("plan", ".toml", _of_seeds(*_files("train/ablations/*.toml")), _plain(_run_plan)),
        Target("timeline", ".jsonl", _make_results, _plain(_run_results)),
        Target("replay", ".json", lambda random: mutated_json(random.choice(_replays()), random), _plain(_run_replay)),
        Target(
            *("calibration", ".json", lambda random: mutated_json(random.choice(_calibrations()), random)),
            _plain(_run_calibration),
        ),
        Target("face-cache", ".npz", _make_cache, _plain(_run_cache)),
        Target("picture", ".png", lambda random: mutated(random.choice(_pictures()), random), _plain(_run_picture)),
        Target("video", ".mp4", lambda random: mutated(random.choice(_videos()), random), _plain(_run_video)),
        Target("camera", ".http", lambda random: mutated(random.choice(_camera_answers()), random), _http_camera),
        Target("http", ".http", _of_seeds(*_REQUESTS), _web_server),
        Target("mqtt", ".mqtt", _of_seeds(*_PACKETS), _mqtt_broker),
        Target("mqtt-clear", ".mqtt", _of_seeds(*_PACKETS), _mqtt_clearing),
    )
}


def _sabotage(path: Path) -> None:
    """Do what a test of the harness has a bad input do."""
    if path.read_bytes() == b"bad":
        exec(os.environ["FUZZ_SABOTAGE"], {"FerEdgeError": FerEdgeError})


SABOTAGE = Target("sabotage", ".txt", lambda random: b"bad" if random.random() < 0.3 else b"good", _plain(_sabotage))
