"""Frames and results as the pipeline makes them, for tests of what comes after it."""

import dataclasses

import numpy as np

from fer_edge.frames import Box, Face, Frame, FrameResult

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def face(expression: str = "happy", confidence: float = 0.79, box: Box | None = None, track_id: int = 1) -> Face:
    rest = (1 - confidence) / (len(LABELS) - 1)
    probabilities = tuple(confidence if label == expression else rest for label in LABELS)
    return Face(box or Box(20.25, 16.0, 24.0, 24.5), 0.875, track_id, expression, confidence, probabilities, LABELS)


def face_of_values(values: tuple[float, ...], name: str = "anger", track_id: int = 1) -> Face:
    """A face as a task of values says it."""
    strength = max(map(abs, values))
    scales = {"probabilities": values, "labels": ("valence", "arousal"), "task": "valence-arousal"}
    return dataclasses.replace(face(name, track_id=track_id), confidence=strength, **scales)


def taken(
    index: int, *faces: Face, time_s: float | None = None, width: int = 96, height: int = 72
) -> tuple[Frame, FrameResult]:
    """A grey frame and what was found in it; ten frames a second unless `time_s` says otherwise."""
    at_s = index / 10 if time_s is None else time_s
    frame = Frame(np.full((height, width, 3), 128, np.uint8), index, at_s, "clip.mp4")
    result = FrameResult(index, at_s, "clip.mp4", width, height, LABELS, faces, {"detect": 4.25, "total": 6.5})
    return frame, result


def taken_of_values(index: int, *faces: Face) -> tuple[Frame, FrameResult]:
    """`taken`, of the task valence-arousal."""
    frame, result = taken(index, *faces)
    return frame, dataclasses.replace(result, task="valence-arousal", labels=("valence", "arousal"))
