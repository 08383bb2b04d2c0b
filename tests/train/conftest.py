"""A tiny FER2013 of random faces, in the forms people have it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from train.data.fer2013 import EXPRESSIONS, SPLITS, VOTES, Fer2013

COUNTS = {"Training": 42, "PublicTest": 14, "PrivateTest": 14}


@pytest.fixture
def tiny() -> Fer2013:
    """70 faces whose brightness tells their class, with votes that mostly agree."""
    generator = np.random.default_rng(1)
    usage = np.concatenate([np.full(COUNTS[name], i) for i, name in enumerate(SPLITS)])
    emotions = np.arange(len(usage)) % len(EXPRESSIONS)
    images = generator.integers(0, 40, (len(usage), 48, 48)) + emotions[:, None, None] * 30
    order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    votes = np.zeros((len(usage), len(VOTES)), dtype=np.int64)
    for row, emotion in enumerate(emotions):
        votes[row, VOTES.index(order[emotion])] = 8
        votes[row, VOTES.index("neutral")] += 2
    return Fer2013(images.astype(np.uint8), emotions.astype(np.int64), usage.astype(np.int64), votes)


def write_csv(path: Path, data: Fer2013, header: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> Path:
    """Write `data` as fer2013.csv, or with another order and spelling of the header as icml_face_data.csv."""
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for image, emotion, usage in zip(data.images, data.emotions, data.usage, strict=True):
            cells = {"emotion": emotion, "pixels": " ".join(map(str, image.ravel())), "Usage": SPLITS[usage]}
            writer.writerow([cells[name.strip()] for name in header])
    return path


def write_votes(path: Path, data: Fer2013) -> Path:
    """Write the votes of `data` as fer2013new.csv."""
    assert data.votes is not None
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Usage", "Image name", *VOTES])
        for index, (usage, votes) in enumerate(zip(data.usage, data.votes, strict=True)):
            writer.writerow([SPLITS[usage], f"fer{index:07d}.png", *votes])
    return path
