# ruff: noqa: RUF009 (what `_setting` returns is a dataclasses.field)
"""Every setting of the camera program, once: its flag, its key in the configuration file, its type and its default.

`fer_edge.options` turns this into the command line and the reader of fer-edge.toml.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_edge.arguments import (
    camera_index,
    detect_when,
    file_path,
    fraction,
    looking_range,
    number,
    output_file,
    picture_side,
    plain_text,
    positive,
    region,
    rotation,
    seconds,
    source_address,
    sync_period,
    whole,
    whole_number,
)
from fer_edge.detectors import AUTO, DETECTORS
from fer_edge.engines import MOST_THREADS
from fer_edge.files import DEFAULT_FSYNC_S
from fer_edge.looking_range import AUTO as AUTO_RANGE
from fer_edge.models import DEFAULT_MODEL
from fer_edge.regions import Region
from fer_edge.smoother import DEFAULT_HYSTERESIS, DEFAULT_SMOOTHING

PRIVACY = ("none", "blur", "numbers")


@dataclass(frozen=True, kw_only=True)
class Option:
    """How one setting is written. `parse` takes the text after the flag; None makes the flag a switch.

    One without a flag stands in the file alone, or comes of the words that follow no flag.

    The value of one that is `secret` is shown nowhere.
    """

    flag: str | None
    help: str
    parse: Callable[[str], Any] | None = str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    repeated: bool = False
    secret: bool = False


def _setting(default: Any, flag: str | None, help: str, **how: Any) -> Any:
    return field(default=default, metadata={"option": Option(flag=flag, help=help, **how)})


def _switch(flag: str, help: str) -> Any:
    return _setting(False, flag, help, parse=None)


_FILE: dict[str, Any] = {"parse": file_path, "metavar": "FILE"}


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Where frames come from: one of `camera`, `address` (which `address_file` may hold) and `pictures`."""

    camera: int | None = _setting(
        None, "--camera", "camera number; a CSI camera is found by itself", parse=camera_index, metavar="N"
    )
    address: str | None = _setting(
        None,
        "--source",
        "video, photo, folder, rtsp:// or http:// address, picamera2",
        parse=source_address,
        metavar="WHAT",
        secret=True,
    )
    pictures: tuple[str, ...] = _setting(
        (), None, "several pictures", parse=source_address, metavar="FILE", repeated=True
    )
    address_file: Path | None = _setting(
        None, "--source-file", "a file whose one line is the address, for one with a password", **_FILE
    )
    password_file: Path | None = _setting(
        None, "--source-password-file", "a file with the password of the USER in the address", **_FILE
    )
    as_fast_as_possible: bool = _switch("--as-fast-as-possible", "read a video file without waiting for its clock")
    max_frames: int | None = _setting(None, "--max-frames", "stop after N frames", parse=positive, metavar="N")
    max_megapixels: float = _setting(
        25.0,
        "--max-megapixels",
        "refuse larger pictures, which could take all memory; frames of a video may have 36 %% of it",
        parse=number(0.01, 1000),
        metavar="MP",
    )


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """Settings of a camera, and how long to wait for a camera or stream."""

    width_px: int = _setting(640, "--width", "picture width asked of a camera", parse=picture_side, metavar="PX")
    height_px: int = _setting(480, "--height", "picture height asked of a camera", parse=picture_side, metavar="PX")
    rotation: int = _setting(
        0,
        "--rotation",
        "turn the picture of any source clockwise by so many degrees, where the camera is mounted otherwise",
        parse=rotation,
        metavar="0|90|180|270",
    )
    mirror: bool = _switch("--mirror", "mirror the picture of any source left to right, after --rotation")
    buffer_count: int = _setting(
        2, "--buffer-count", "picamera2's buffers; 1 saves memory", parse=whole_number(1, 64), metavar="N"
    )
    first_frame_s: float = _setting(
        10.0, "--first-frame", "seconds to wait for the first frame", parse=seconds, metavar="S"
    )
    silence_s: float = _setting(
        20.0, "--silence", "seconds without a frame before it is opened again", parse=seconds, metavar="S"
    )
    snapshot_s: float = _setting(
        1.0,
        "--snapshot-interval",
        "seconds between two requests to a camera that sends one picture a request",
        parse=seconds,
        metavar="S",
    )
    other_hosts: bool = _switch(
        "--other-hosts", "let redirects and playlists (HLS, DASH) of an http:// address lead to other hosts"
    )
    tries: int | None = _setting(
        None,
        "--tries",
        "give up after N failed reopenings (default 10, 5 before the first frame; endless under systemd)",
        parse=whole,
        metavar="N",
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The classifier, and how its answers are smoothed."""

    file: Path = _setting(DEFAULT_MODEL, "--model", ".tflite or .onnx with a contract", parse=file_path, metavar="FILE")
    threads: int = _setting(1, "--threads", "threads of each engine", parse=whole_number(1, MOST_THREADS), metavar="N")
    smoothing: float = _setting(
        DEFAULT_SMOOTHING, "--smoothing", "weight of the newest frame (1: off)", parse=fraction, metavar="0..1"
    )
    hysteresis: float = _setting(
        DEFAULT_HYSTERESIS,
        "--hysteresis",
        "how much likelier another expression must be before the label changes (0: off)",
        parse=fraction,
        metavar="0..1",
    )


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """How, when and where faces are looked for."""

    detector: str = _setting(
        AUTO,
        "--detector",
        "the face detector; auto: yunet where its file was made, else mediapipe; none takes every picture for one face",
        choices=DETECTORS,
    )
    file: Path | None = _setting(
        None,
        "--detector-file",
        "a local copy of the detector's file; for yunet also a .tflite made of it",
        parse=file_path,
        metavar="FILE",
    )
    min_score: float | None = _setting(
        None, "--min-score", "detections below it are dropped", parse=fraction, metavar="0..1"
    )
    when: int | None = _setting(
        None,
        "--detect",
        "look at the whole picture each N-th frame and follow faces between, or only where something moves (default 10 "
        "where the detector can follow faces, 1 where it cannot and with --privacy blur)",
        parse=detect_when,
        metavar="N|on-motion",
    )
    range: str | int = _setting(
        AUTO_RANGE,
        "--range",
        "how small a face yunet finds: near from 40 px in 640, far from 20 px for twice the work, auto as the smallest "
        "face and --target-fps ask for, or the side of its canvas in pixels; with --privacy blur, auto is far",
        parse=looking_range,
        metavar="near|far|auto|PX",
    )
    max_faces: int = _setting(16, "--max-faces", "faces a frame at most", parse=whole_number(1, 1000), metavar="N")
    min_face_px: int = _setting(0, "--min-face", "smaller faces are left out", parse=whole, metavar="PX")
    roi: tuple[Region, ...] = _setting(
        (),
        "--roi",
        "only faces whose centre lies here: left,top,right,bottom or x,y,x,y,x,y,... from 0 to 1; may be repeated",
        parse=region,
        metavar="REGION",
        repeated=True,
    )


@dataclass(frozen=True, kw_only=True)
class RateSettings:
    """How fast to go."""

    target_fps: float | None = _setting(
        None,
        "--target-fps",
        "hold this rate: frames beyond it are left out, and the detector runs less often where the board is too slow",
        parse=number(0.01, 1000),
        metavar="FPS",
    )


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Files, terminal and privacy."""

    save: Path | None = _setting(
        None,
        "--save",
        "write all about the run into this folder: annotated pictures or video (this keeps faces), results.jsonl, "
        "results.csv, timeline.html",
        parse=file_path,
        metavar="DIR",
    )
    jsonl: Path | None = _setting(
        None, "--jsonl", "write one JSON object a frame; - is standard output", parse=output_file, metavar="FILE"
    )
    csv: Path | None = _setting(
        None, "--csv", "write one row a face; - is standard output", parse=output_file, metavar="FILE"
    )
    rotate_mb: float | None = _setting(
        None,
        "--rotate-mb",
        "begin a new JSONL or CSV file at this size, and go on with an existing one whatever the source",
        parse=number(0.001, 1_000_000),
        metavar="MB",
    )
    keep_files: int = _setting(
        5, "--keep-files", "older files kept when rotating", parse=whole_number(0, 1000), metavar="N"
    )
    fsync_s: float = _setting(
        DEFAULT_FSYNC_S,
        "--fsync-s",
        "seconds of results that a power cut may cost; 0 writes every result through to the disk",
        parse=sync_period,
        metavar="S",
    )
    video: Path | None = _setting(
        None,
        "--save-video",
        "write the annotated video (this keeps faces); where the name is taken, FILE-2.mp4",
        parse=file_path,
        metavar="FILE.mp4",
    )
    privacy: str = _setting(
        "none",
        "--privacy",
        "blur: hide faces in every picture shown or saved (docs/privacy.md says how well); numbers: no picture at all",
        choices=PRIVACY,
    )
    quiet: bool = _switch("--quiet", "no line a frame on the terminal")


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """The web page."""

    address: str | None = _setting(
        None,
        "--web",
        "serve the web page here; a port alone listens on this machine only, any other address asks for a token",
        parse=plain_text,
        metavar="[HOST:]PORT",
    )
    token: str | None = _setting(
        None,
        "--web-token",
        "the token; else one is made and printed at the start. Other users see it in `ps`",
        parse=plain_text,
        metavar="TEXT",
        secret=True,
    )
    token_file: Path | None = _setting(None, "--web-token-file", "a file with the token", **_FILE)
    max_viewers: int = _setting(
        8, "--web-viewers", "how many may watch at a time; one more is told so", parse=positive, metavar="N"
    )


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """Prometheus."""

    address: str | None = _setting(
        None,
        "--metrics",
        "serve /metrics for Prometheus here; the rules are those of --web",
        parse=plain_text,
        metavar="[HOST:]PORT",
    )


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """MQTT."""

    address: str | None = _setting(
        None,
        "--mqtt",
        "send events to this broker",
        parse=plain_text,
        metavar="mqtt://[USER:PASSWORD@]HOST[:PORT]",
        secret=True,
    )
    password_file: Path | None = _setting(
        None, "--mqtt-password-file", "a file with the password of the USER in the address", **_FILE
    )
    ca_file: Path | None = _setting(
        None, "--mqtt-ca-file", "PEM certificate to trust for mqtts://, in place of the system's authorities", **_FILE
    )
    cert_file: Path | None = _setting(
        None, "--mqtt-cert-file", "PEM certificate of this client, where the broker asks for one", **_FILE
    )
    key_file: Path | None = _setting(
        None, "--mqtt-key-file", "its PEM key, where it does not stand in the same file", **_FILE
    )
    topic: str | None = _setting(
        None,
        "--mqtt-topic",
        "topic prefix (default fer-edge/HOSTNAME-ID, this board's own)",
        parse=plain_text,
        metavar="PREFIX",
    )
    no_discovery: bool = _switch(
        "--no-discovery", "do not announce to Home Assistant, and take earlier announcements of this prefix back"
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of them. Field names are the sections of fer-edge.toml."""

    source: SourceSettings = SourceSettings()
    camera: CameraSettings = CameraSettings()
    model: ModelSettings = ModelSettings()
    detection: DetectionSettings = DetectionSettings()
    rate: RateSettings = RateSettings()
    output: OutputSettings = OutputSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    mqtt: MqttSettings = MqttSettings()
