"""A network of 224 px RGB, as torchvision's are, from its file to an installed bundle, and what it costs in accuracy.

The evaluator (`tests.export.by_hand`) shares no code with the chain.
"""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fer_edge.classifier import Classifier

from boards.lab import main as lab
from tests.boards.conftest import bundle_for_this_machine
from tests.conftest import sample
from tests.export import by_hand, strangers

LABELS = ("warm", "cold", "level", "upright")
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INSTALL_TIMEOUT_S = 1500

pytestmark = pytest.mark.slow


def picture(label: int, generator: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A noisy RGB picture that is a little red or blue, or has faint stripes, some of them too faint to tell."""
    image = generator.normal(110, 30, (side, side, 3))
    if label < 2:
        image += np.array([1, 0, -1]) * generator.uniform(0, 12) * (1 if label == 0 else -1)
    else:
        wave = np.sin(np.arange(side) * 2 * np.pi / 9 + generator.uniform(0, 6)) * generator.uniform(0, 20)
        image += (wave[:, None] if label == 2 else wave[None, :])[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def pictures(count: int, seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """RGB pictures (n, side, side, 3) and their labels, as many of each."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    return np.stack([picture(int(label), generator, side) for label in labels]), labels


def normalised(pixels: np.ndarray) -> np.ndarray:
    """(n, 3, h, w) from 0 to 255 as torchvision wants it."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STD))
    return ((pixels / 255 - mean) / std).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV2 for one picture of 224 px, trained on small cuts, which its pooling allows; an .onnx."""
    network = strangers.mobilenet_v2(len(LABELS)).train()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # twenty times faster on a machine whose cores are busy
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(80):
        images, labels = pictures(32, 100 + step, 64)
        optimizer.zero_grad()
        scores = network(torch.from_numpy(normalised(images.transpose(0, 3, 1, 2))))
        nn.functional.cross_entropy(scores, torch.from_numpy(labels)).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    path = tmp_path_factory.mktemp("chain") / "mobile.onnx"
    torch.onnx.export(network.eval(), (torch.zeros(1, 3, SIDE, SIDE),), path, dynamo=False)
    return path


@pytest.fixture(scope="module")
def folder(source: Path) -> Path:
    """Evaluate what `adopt` and `quantize` made of it on a folder of pictures."""
    for index, name in enumerate(LABELS):
        (source.parent / "faces" / name).mkdir(parents=True)
        images, labels = pictures(400, 1)
        for number, image in enumerate(images[labels == index]):
            cv2.imwrite(str(source.parent / f"faces/{name}/{number}.png"), image[..., ::-1])
    words = ("--labels", ",".join(LABELS), "--colour", "rgb", "--range", "imagenet", "--licence", "MIT")
    assert lab(["adopt", str(source), *words, "--out", str(source.parent)]) == 0
    recipes = ("--recipes", "qdq-u8-quantile,tflite-quantile", "--accept-too-few", "--force", "--count", "100")
    assert lab(["quantize", str(source.parent / "mobile"), "--faces", str(source.parent / "faces"), *recipes]) == 0
    return source.parent / "mobile"


def test_float_and_int8_are_as_right_as_the_original(source: Path, folder: Path) -> None:
    images, labels = pictures(1000, 2)
    before = by_hand.accuracy(source, (images, labels), normalised)
    assert 0.7 < before < 0.99, "neither by chance nor perfect"
    for precision, allowed in (("fp32", 0.001), ("int8", 0.02)):
        for suffix in ("onnx", "tflite"):
            file = folder / f"mobile.{precision}.{suffix}"
            alone = by_hand.accuracy(file, (images, labels))
            by_chain = float((Classifier(file).classify(images[..., ::-1]).argmax(axis=1) == labels).mean())
            assert abs(alone - by_chain) <= 0.001, (file.name, alone, by_chain)
            assert abs(alone - before) <= allowed, (file.name, alone, before)


def test_the_bundle_installs_and_names_a_photograph_as_the_workbench_does(folder: Path, tmp_path: Path) -> None:
    photo, model = sample("astronaut.png"), folder / "mobile.int8.tflite"
    here = named(Path(sys.executable).with_name("fer-edge"), photo, "--model", str(model))
    archive = bundle_for_this_machine("mobile", folder.parent, tmp_path)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    bundle = archive.with_name(archive.name.removesuffix(".tar.gz"))
    assert (bundle / "model/mobile.int8.tflite").read_bytes() == model.read_bytes()
    places = ("--prefix", str(tmp_path / "fer-edge"), "--bin", str(tmp_path / "bin"), "--no-service")
    run("sh", str(bundle / "install.sh"), "install", *places)
    assert named(tmp_path / "bin/fer-edge", photo) == here


def named(program: Path, photo: Path, *words: str) -> str:
    """The name of the one face in a photograph."""
    (name,) = re.findall(rf"\b({'|'.join(LABELS)}) +\d+%", run(str(program), str(photo), *words))
    return name


def run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_FIND_LINKS")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
