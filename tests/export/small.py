"""One small network, really trained on drawn faces, exported once a session for the tests of export and quantize."""

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from boards import lab as command
from train import architectures
from train.data import pixels
from train.fit import checkpoint
from train.fit.checkpoint import CheckpointInfo

NAME = "small"
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Large enough that weights, not the graph's own description, fill the file: the size ratio is then a real one.
ARGUMENTS = {"stem": 16, "widths": [16, 32, 96], "depths": [1, 1, 1]}
SPLIT_SIZES = {"Training": 210, "PublicTest": 140}


def drawn_faces(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 48, 48) uint8 and labels (count,): seven directions of stripes under noise, evenly many."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    rows, columns = np.mgrid[0:48, 0:48]
    angles = (labels * np.pi / len(LABELS))[:, None, None]
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    stripes = np.sin(0.6 * (rows * np.cos(angles) + columns * np.sin(angles)) + phase)
    images = 128 + 70 * stripes + generator.normal(0, 25, stripes.shape)
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64)


@functools.cache
def trained_state() -> dict[str, torch.Tensor]:
    """Weights that tell the drawn faces apart, after some seconds of training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network only waits for its threads when the machine is busy
    torch.manual_seed(0)
    network = architectures.build("fer_residual", ARGUMENTS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    images, labels = (torch.from_numpy(array) for array in drawn_faces(SPLIT_SIZES["Training"], seed=0))
    inputs = pixels.normalise(images).unsqueeze(1).contiguous(memory_format=torch.channels_last)
    for step in range(40):
        batch = torch.arange(step * 42, step * 42 + 42) % len(labels)
        loss = F.cross_entropy(network(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return {key: value.contiguous() for key, value in network.state_dict().items()}


def info(**changes: object) -> CheckpointInfo:
    """The header of the small checkpoint, with changes."""
    fields = {
        "name": NAME,
        "architecture": "fer_residual",
        "arguments": ARGUMENTS,
        "task": "expression7",
        "labels": LABELS,
        "trained_on": "drawn faces",
        "measured": {"PublicTest": {"n": 140, "accuracy": 0.99, "macro_f1": 0.98}},
        "recipe": {},
    }
    return CheckpointInfo(**{**fields, **changes})


def write_faces(path: Path) -> Path:
    """A face cache as `make data` writes it, of drawn faces."""
    parts = [drawn_faces(count, seed) for seed, count in enumerate(SPLIT_SIZES.values())]
    np.savez(
        path,
        images=np.concatenate([images for images, _ in parts]),
        labels=np.concatenate([labels for _, labels in parts]),
        splits=np.repeat(np.arange(len(SPLIT_SIZES)), list(SPLIT_SIZES.values())),
        label_names=np.array(LABELS),
        split_names=np.array(list(SPLIT_SIZES)),
    )
    return path


@functools.cache
def exported(folder: Path) -> Path:
    """Train, save folder/small.safetensors and export it; the artifact folder. Done once for each `folder`."""
    path = folder / "small.safetensors"
    checkpoint.save(path, trained_state(), info())
    assert command.main(["export", str(path), "--out", str(folder / "artifacts")]) == 0
    return folder / "artifacts" / NAME
