"""Contracts of every kind, for property tests."""

import unicodedata

from hypothesis import strategies as st

from fer_edge.contract import (
    DetectorMargin,
    FaceCrop,
    InputSpec,
    Measurement,
    ModelContract,
    OutputSpec,
    Quantization,
    TemplatePoint,
)
from fer_edge.tasks import CLASSES, TASKS, VALUES

# Any script: letters, marks, numbers, punctuation and symbols, such as emoji; a space inside.
LETTERS = st.characters(categories=("L", "M", "N", "P", "S"))
READABLE = st.text(LETTERS, min_size=1, max_size=64)
WORDS = st.text(LETTERS | st.just(" "), max_size=40)
FRACTIONS = st.floats(0, 1)


def labels_of(task: str) -> st.SearchStrategy[tuple[str, ...]]:
    count = TASKS[task].count
    least = count or (2 if TASKS[task].kind == CLASSES else 1)
    unique = st.lists(
        READABLE,
        min_size=least,
        max_size=count or 12,
        unique_by=lambda label: unicodedata.normalize("NFC", label),
    )
    return unique.map(tuple)


@st.composite
def inputs(draw: st.DrawFn) -> InputSpec:
    dtype = draw(st.sampled_from(("uint8", "int8", "float32", "float16")))
    colour = draw(st.sampled_from(("grey", "rgb", "bgr")))
    channels = 1 if colour == "grey" else 3
    scaled = dtype.startswith("float") and draw(st.booleans())
    means = st.lists(st.floats(-300, 300), min_size=channels, max_size=channels)
    stds = st.lists(st.floats(0.01, 300), min_size=channels, max_size=channels)
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    return InputSpec(
        height_px=draw(st.integers(1, 300)),
        width_px=draw(st.integers(1, 300)),
        colour=colour,
        layout=draw(st.sampled_from(("NCHW", "NHWC"))),
        dtype=dtype,
        low=low,
        high=high,
        mean=tuple(draw(means)) if scaled else (),
        std=tuple(draw(stds)) if scaled else (),
    )


@st.composite
def face_crops(draw: st.DrawFn) -> FaceCrop:
    kind = draw(st.sampled_from(("none", "template", "points")))
    places = st.floats(0.3, 0.7)
    points = [TemplatePoint(x=0.3, y=draw(places)), TemplatePoint(x=0.7, y=draw(places))]
    points += [TemplatePoint(x=draw(places), y=draw(places)) for _ in range(3)]
    margins = draw(st.lists(st.floats(-0.4, 2), max_size=2))
    return FaceCrop(
        margin=draw(st.floats(-0.4, 2)),
        square=draw(st.booleans()),
        alignment="none" if kind == "none" else "five-point",
        detector_margins=tuple(DetectorMargin(detector=f"d{n}", margin=m) for n, m in enumerate(margins)),
        template="arcface-112" if kind == "template" else None,
        template_points=tuple(points) if kind == "points" else (),
    )


@st.composite
def outputs(draw: st.DrawFn, task: str) -> OutputSpec:
    meanings = ("values",) if TASKS[task].kind == VALUES else ("logits", "probabilities")
    which = draw(st.sampled_from(("only", "name", "index")))
    return OutputSpec(
        meaning=draw(st.sampled_from(meanings)),
        temperature=draw(st.floats(0.001, 1000)),
        name=draw(WORDS) if which == "name" else None,
        index=draw(st.integers(0, 9)) if which == "index" else None,
    )


@st.composite
def contracts(draw: st.DrawFn) -> ModelContract:
    """Any contract, in the lowest schema that expresses it."""
    task = draw(st.sampled_from(tuple(TASKS)))
    measurements = st.builds(
        Measurement,
        dataset=WORDS,
        split=WORDS,
        n=st.integers(0, 10**6),
        crops=WORDS,
        accuracy=FRACTIONS,
        macro_f1=FRACTIONS,
    )
    quantized = st.builds(
        Quantization,
        recipe=WORDS,
        target=WORDS,
        max_accuracy_drop_points=st.none() | FRACTIONS,
        max_macro_f1_drop_points=st.none() | FRACTIONS,
        min_agreement=FRACTIONS,
        forced=st.booleans(),
        failed=st.none() | WORDS,
    )
    return ModelContract(
        name=draw(WORDS),
        task=task,
        labels=draw(labels_of(task)),
        input=draw(inputs()),
        face_crop=draw(face_crops()),
        output=draw(outputs(task)),
        precision=draw(st.sampled_from(("fp32", "fp16", "int8"))),
        checkpoint_sha256="0" * 64,
        trained_on=draw(WORDS),
        calibrated_on=draw(st.none() | WORDS),
        measured=tuple(draw(st.lists(measurements, max_size=2))),
        quantization=draw(st.none() | quantized),
        licence=draw(WORDS),
        producer=draw(WORDS),
        created="2026-11-26",
    ).in_lowest_schema()
