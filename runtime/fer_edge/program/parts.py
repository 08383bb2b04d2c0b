"""The parts the settings ask for: source, pipeline and sinks, each with the settings it was made from.

A part whose settings did not change is kept when the configuration is read again.
"""

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.picture_header import PictureLimit
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline
from fer_edge.program.vitals import Vitals
from fer_edge.redaction import redacted
from fer_edge.settings import OutputSettings, Settings
from fer_edge.sinks.base import Sink
from fer_edge.sources import Source

MakeSink = Callable[[], Sink]


def make_pipeline(settings: Settings) -> Pipeline:
    """Load detector and classifier. Raises ModelError."""
    from fer_edge.classifier import Classifier
    from fer_edge.detectors import open_detector

    model, detection = settings.model, settings.detection
    classifier = Classifier(model.file, threads=model.threads)
    detector = open_detector(detection.detector, detection.file, min_score=detection.min_score, threads=model.threads)
    return Pipeline(
        detector,
        classifier,
        smoothing=model.smoothing,
        hysteresis=model.hysteresis,
        detect_when=detection.when,
        max_faces=detection.max_faces,
        min_face_px=detection.min_face_px,
        regions=detection.roi,
    )


def make_source(settings: Settings, waiting: Callable[[], None]) -> Source:
    """The source, not entered yet. A live one calls `waiting` while no frame comes. Raises SourceError."""
    from fer_edge.sources import open_source
    from fer_edge.sources.latest import LiveOptions

    source, camera = settings.source, settings.camera
    live = LiveOptions(
        width_px=camera.width_px,
        height_px=camera.height_px,
        buffer_count=camera.buffer_count,
        first_frame_s=camera.first_frame_s,
        silence_s=camera.silence_s,
        tries=camera.tries,
        waiting=waiting,
    )
    text = source.address if source.camera is None else str(source.camera)
    assert text is not None, "the command line sees to it that there is a source"
    limit = PictureLimit(source.max_megapixels, "--max-megapixels")
    return open_source(text, live, real_time=not source.as_fast_as_possible, limit=limit)


@dataclass(frozen=True)
class SinkContext:
    """What sinks are made from beside the settings: the source, the model's labels, how the program fares."""

    source: Source
    labels: tuple[str, ...]
    vitals: Callable[[], Vitals]
    pictures: Pictures


def sink_makers(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """How to make every sink asked for, by all that it depends on.

    The one that can be refused for its name comes first, the terminal last: nothing is emptied or said in vain.
    """
    outward = {**listening_makers(settings, context), **_mqtt(settings, context)}
    return {**_video(settings, context), **outward, **_files(settings, context)}


def _video(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    from fer_edge.sinks.video import VideoSink

    video, fps = settings.output.video, context.source.fps
    if video is None:
        return {}
    if settings.output.privacy == "numbers":
        raise UsageError("--save-video saves pictures, which --privacy numbers forbids. Leave one of them out.")
    key = ("video", video, fps, settings.output.privacy)
    return {key: lambda: VideoSink(video, fps, context.pictures)}


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
    return {("mqtt", mqtt): lambda: MqttSink(broker, mqtt.topic, context.vitals, announce=announce, files=files)}


def _files(settings: Settings, context: SinkContext) -> dict[Hashable, MakeSink]:
    """JSONL, CSV, and the terminal."""
    from fer_edge import sinks
    from fer_edge.sinks.lines import Rotation

    makers: dict[Hashable, MakeSink] = {}
    output, labels, live = settings.output, context.labels, context.source.live
    rotation = None if output.rotate_mb is None else Rotation(int(output.rotate_mb * 1e6), output.keep_files)
    if output.jsonl is not None:
        jsonl = output.jsonl
        makers["jsonl", jsonl, rotation] = lambda: sinks.JsonlSink(jsonl, rotation)
    if output.csv is not None:
        csv = output.csv
        makers["csv", csv, rotation, labels] = lambda: sinks.CsvSink(csv, labels, rotation)
    if not output.quiet:
        makers["terminal", live] = lambda: sinks.TerminalSink(live=live)
    return makers


def refuse_overwriting(settings: Settings) -> None:
    """An output must not be the picture or video that is being read, nor another output. Raises UsageError."""
    outputs = [os.path.realpath(path) for path in _outputs(settings.output)]  # resolve() raises on a link to itself
    source = settings.source.address
    if source and os.path.realpath(source) in outputs:
        raise UsageError(f"{redacted(source)} is both source and output; choose another output.")
    if len(set(outputs)) < len(outputs):
        raise UsageError("two outputs have the same name; choose a file for each.")


def _outputs(output: OutputSettings) -> list[Path]:
    return [path for path in (output.jsonl, output.csv, output.video) if path is not None]
