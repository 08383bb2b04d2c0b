"""The parts the settings ask for: source, pipeline and sinks, each with the settings it was made from.

A part whose settings did not change is kept when the configuration is read again.
"""

import os
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

from fer_edge.arguments import STDOUT
from fer_edge.classifier import Classifier
from fer_edge.detectors import Detector, FollowingDetector
from fer_edge.errors import UsageError
from fer_edge.looking_range import AUTO, FAR, LookingRange, range_of
from fer_edge.options import keys
from fer_edge.picture_header import PictureLimit
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline
from fer_edge.program.service import Supervisor
from fer_edge.program.vitals import Vitals
from fer_edge.settings import OutputSettings, Settings
from fer_edge.sinks.base import Sink
from fer_edge.sinks.run_folder import RunFolder
from fer_edge.sources import Source
from fer_edge.sources.address import IMAGE_SUFFIXES

# Somebody at a terminal learns in three minutes that the camera is gone.
_TRIES = 10
# And in half a minute that there is none: its address may be wrong.
_FIRST_TRIES = 5
# A face that comes in is found within so many frames, a third of a second of most cameras.
_FOLLOWED_FRAMES = 10

MakeSink = Callable[[], Sink]


def make_pipeline(settings: Settings, classifier: Classifier | None = None) -> Pipeline:
    """Load the detector, and the classifier where none is given. Raises ModelError."""
    from fer_edge.detectors import open_detector

    model, detection = settings.model, settings.detection
    classifier = classifier or Classifier(model.file, threads=model.threads)
    detector = open_detector(detection.detector, detection.file, min_score=detection.min_score, threads=model.threads)
    return Pipeline(
        detector,
        classifier,
        smoothing=model.smoothing,
        hysteresis=model.hysteresis,
        detect_when=_detect_when(settings, detector),
        max_faces=detection.max_faces,
        min_face_px=detection.min_face_px,
        regions=detection.roi,
        watch_edges=settings.output.privacy == "blur",
        looks=_looks(settings),
    )


def _detect_when(settings: Settings, detector: Detector) -> int:
    """Frames from one look at the whole picture to the next: as given, or as the detector allows.

    With --privacy blur only frames that were looked at are shown, so that is each one.
    """
    if settings.detection.when is not None:
        return settings.detection.when
    follows = isinstance(detector, FollowingDetector) and detector.follows_at_most > 0
    return _FOLLOWED_FRAMES if follows and settings.output.privacy != "blur" else 1


def _looks(settings: Settings) -> LookingRange:
    """How far the detector looks. What is not found is not hidden, so with --privacy blur that is far."""
    chosen = settings.detection.range
    return range_of(FAR if chosen == AUTO and settings.output.privacy == "blur" else chosen)


def make_source(settings: Settings, supervisor: Supervisor, *, patient: bool = True) -> Source:
    """The source, not entered yet; one that is away at its start is waited for where `patient`. Raises SourceError.

    The supervisor is told while no frame comes. Where there is one, a source that is away is waited for without end
    unless --tries says otherwise: starting the program again would not bring it back.
    """
    from fer_edge.sources import open_pictures, open_source
    from fer_edge.sources.live import LiveOptions

    source, camera = settings.source, settings.camera
    is_watched = camera.tries is None and not supervisor.supervised
    limit = PictureLimit(source.max_megapixels, "--max-megapixels")
    live = LiveOptions(
        width_px=camera.width_px,
        height_px=camera.height_px,
        buffer_count=camera.buffer_count,
        snapshot_s=camera.snapshot_s,
        other_hosts=camera.other_hosts,
        limit=limit,
        first_frame_s=camera.first_frame_s,
        silence_s=camera.silence_s,
        tries=_TRIES if is_watched else camera.tries,
        first_tries=_FIRST_TRIES if is_watched else None,
        patient=patient,
        waiting=supervisor.waiting,
    )
    if source.pictures:
        paths = [Path(name) for name in source.pictures]
        return open_pictures(paths, limit=limit, rotation_deg=camera.rotation, mirror=camera.mirror)
    text = source.address if source.camera is None else str(source.camera)
    assert text is not None, "the command line sees to it that there is a source"
    return open_source(
        text,
        live,
        # A file that is only saved has nobody who watches it.
        real_time=not source.as_fast_as_possible and (settings.output.save is None or settings.web.address is not None),
        limit=limit,
        rotation_deg=camera.rotation,
        mirror=camera.mirror,
    )


@dataclass(frozen=True)
class SinkContext:
    """Context that sinks need beside the settings: the source, the model's labels, how the program fares.

    `expressions` are all that the model may say, nothing where it may combine labels.
    `started` is true once the program has written results, which a sink that is made again must not replace.
    """

    source: Source
    labels: tuple[str, ...]
    vitals: Callable[[], Vitals]
    pictures: Pictures
    started: bool = False
    run: RunFolder | None = None
    expressions: tuple[str, ...] = ()


def sink_makers(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """How to make every sink asked for, by all that it depends on.

    The one that can be refused for its name comes first, the terminal last: nothing is emptied or said in vain.
    """
    outward = {**listening_makers(settings, context), **_mqtt(settings, context)}
    return {**_video(settings, context), **outward, **_run_folder(settings, context), **_files(settings, context)}


def _video(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    from fer_edge.sinks.video_file import VideoSink

    video, fps = settings.output.video, context.source.fps
    if video is None:
        return {}
    if settings.output.privacy == "numbers":
        raise UsageError("--save-video saves pictures, which --privacy numbers forbids. Leave one of them out.")
    fsync_s = settings.output.fsync_s
    key = ("video", video, fps, settings.output.privacy, fsync_s)
    return {key: lambda: VideoSink(video, fps, context.pictures, fsync_s=fsync_s)}


def _run_folder(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """Sinks of --save, except for the timeline, which is made of the results at the end."""
    from fer_edge import sinks
    from fer_edge.sinks.line_file import LineOptions
    from fer_edge.sinks.run_folder import AnnotatedPicturesSink

    run, output, labels, pictures = context.run, settings.output, context.labels, context.pictures
    if run is None:
        return {}
    options = LineOptions(append=context.started, fsync_s=output.fsync_s)
    makers: dict[Hashable, MakeSink] = {
        ("save jsonl", run, output.fsync_s): lambda: sinks.JsonlSink(run.jsonl, options),
        ("save csv", run, output.fsync_s, labels): lambda: sinks.CsvSink(run.csv, labels, options),
    }
    if output.privacy == "numbers":
        return makers
    if not context.source.continuous:
        makers["save pictures", run, output.privacy] = lambda: AnnotatedPicturesSink(run.pictures, pictures)
        return makers
    fps = context.source.fps
    key = ("save video", run, output.privacy, fps, output.fsync_s)
    makers[key] = lambda: sinks.VideoSink(run.video, fps, pictures, fsync_s=output.fsync_s)
    return makers


def listening_makers(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """Sinks that others connect to; they depend on nothing that only an entered source knows."""
    makers: dict[Hashable, MakeSink] = {}
    web, metrics = settings.web, settings.metrics
    if web.address is not None:
        from fer_edge.sinks.web import WebSink

        address = web.address
        makers["web", web, settings.output.privacy] = lambda: WebSink(
            address, web.token, context.pictures, context.vitals, max_viewers=web.max_viewers
        )
    if metrics.address is not None:
        from fer_edge.sinks.prometheus import MetricsSink

        where = metrics.address
        makers["metrics", metrics, web.token] = lambda: MetricsSink(where, web.token, context.vitals)
    return makers


def _mqtt(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    mqtt = settings.mqtt
    if mqtt.address is None:
        return {}
    from fer_edge.broker import tls_files
    from fer_edge.sinks.mqtt import MqttSink

    broker, files, announce = mqtt.address, tls_files(mqtt), not mqtt.no_discovery
    expressions = context.expressions
    return {
        ("mqtt", mqtt, expressions): lambda: MqttSink(
            broker, mqtt.topic, context.vitals, announce=announce, expressions=expressions, files=files
        )
    }


def _files(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """JSONL, CSV, and the terminal."""
    from fer_edge import sinks
    from fer_edge.sinks.line_file import LineOptions, Rotation

    makers: dict[Hashable, MakeSink] = {}
    output, labels, live = settings.output, context.labels, context.source.live
    rotation = None if output.rotate_mb is None else Rotation(int(output.rotate_mb * 1e6), output.keep_files)
    # A file can be read again for what it gave; what a camera saw is gone.
    options = LineOptions(rotation=rotation, append=live or context.started, fsync_s=output.fsync_s)
    if output.jsonl is not None:
        jsonl = output.jsonl
        makers["jsonl", jsonl, rotation, output.fsync_s] = lambda: sinks.JsonlSink(jsonl, options)
    if output.csv is not None:
        csv = output.csv
        makers["csv", csv, rotation, output.fsync_s, labels] = lambda: sinks.CsvSink(csv, labels, options)
    if not output.quiet:
        # Results that go to standard output are read by a program.
        stream = sys.stderr if STDOUT in (output.jsonl, output.csv) else sys.stdout
        source = context.source
        makers["terminal", live, source.continuous, stream] = lambda: sinks.TerminalSink(
            stream, live=live, pictures=not source.continuous, frame_count=lambda: source.frame_count
        )
    return makers


def refuse_overwriting(settings: Settings) -> None:
    """An output must be no file that is read, and no other output, under whatever name. Raises UsageError."""
    if settings.output.jsonl == settings.output.csv == STDOUT:
        raise UsageError("--jsonl and --csv both go to standard output; choose a file for one of them.")
    outputs, rotates = _outputs(settings.output), settings.output.rotate_mb is not None
    for (flag, path), (other_flag, other) in product(outputs.items(), _inputs(settings).items()):
        if _same_file(path, other) or (rotates and _is_older(path, other)) or _is_picture_of(path, other):
            raise UsageError(f"{flag} {path} would overwrite what {other_flag} reads; choose another output.")
    for (flag, path), (other_flag, other) in permutations(outputs.items(), 2):
        if _same_file(path, other) or (rotates and _is_older(path, other)):
            raise UsageError(f"{flag} and {other_flag} name the same file; choose one for each.")


def _outputs(output: OutputSettings) -> dict[str, Path]:
    named = {"--jsonl": output.jsonl, "--csv": output.csv, "--save-video": output.video}
    return {flag: path for flag, path in named.items() if path is not None}


def _inputs(settings: Settings) -> dict[str, Path]:
    """Files that are read: the source, if it is one, the models, and those with secrets."""
    found = {"--source": Path(settings.source.address)} if settings.source.address else {}
    found |= {name: Path(name) for name in settings.source.pictures}
    for key in keys():
        value = getattr(getattr(settings, key.section), key.name)
        if isinstance(value, Path) and key.section != "output":
            found[key.option.flag or key.name] = value
    return found


def _same_file(path: Path, other: Path) -> bool:
    """Whether both names lead to one file: through links of either kind, or to where there is none yet."""
    try:
        return path.samefile(other) and not path.is_char_device()
    except (OSError, ValueError):
        return os.path.realpath(path) == os.path.realpath(other)  # resolve() raises on a link to itself


def _is_older(path: Path, other: Path) -> bool:
    """Whether `other` is a name that the file `path` gets when it is rotated."""
    found = os.path.realpath(other)
    number = found.removeprefix(f"{os.path.realpath(path)}.")
    return number != found and number.isdecimal()


def _is_picture_of(path: Path, folder: Path) -> bool:
    """Whether `path` is a picture that is there, in the folder `folder`."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.exists() and _same_file(path.parent, folder)
