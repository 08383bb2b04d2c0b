"""Attributes of faces beside their expression: sources of attributes, and the goals that separate the two.

Kim, Kim and Song (2024) retrieve gender, age and skin with CLIP. Here CLIP is one source among others, because its
weights are large and not everybody's: `clip` needs them in a local folder, FaceRes's come in a registry package
(`train.fit.pretrained`), a table may come from anywhere, and the photometric attributes need the pixels alone. These
last are this project's choice; they speak of skin tone, light and camera, not of gender or age.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fer_edge.arrays import read_arrays
from fer_edge.errors import DataError, ModelError
from fer_edge.files import atomic_write

from train import architectures
from train.architectures.information import info_nce, linear_information
from train.data import pixels
from train.data.annotated import Faces
from train.fit.recipe import Labels

# How fast the estimator of the upper bound learns beside the features it watches.
_ESTIMATOR_RATE = 10.0
# Enough for a regression on a hundred features to be fitted to a batch of a hundred faces.
_RIDGE = 0.3
# FaceRes was trained at this side.
_FACERES_SIDE_PX = 224
_FACERES_LAYERS = ("hidden", "gender", "age")
_PARTS = ("weight", "bias")
_IDENTITY_DIRECTIONS = 8
# Nothing of this was tuned on data: one neutral sentence a value, two or three values an attribute.
PROMPTS = {
    "gender": ("a photo of the face of a man", "a photo of the face of a woman"),
    "age": ("a photo of the face of a child", "a photo of a young adult's face", "a photo of an old person's face"),
    "skin": ("a photo of a face with light skin", "a photo of a face with dark skin"),
}


class AttributeSource(Protocol):
    """Knows attributes of faces by their pixels."""

    names: tuple[str, ...]

    def values(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Attributes of grey faces (n, 48, 48) uint8, as (n, names) float32 on any scale."""
        ...


class PhotometricAttributes:
    """Six numbers any face has: how bright its skin is, how the light falls, how sharp and framed the picture is.

    A mirror image has the same. Another brightness or contrast has not: leave those out of a recipe's augmentation.
    """

    names = ("skin tone", "contrast", "sharpness", "light from one side", "light from above", "surround")

    def values(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `AttributeSource`; grey values as fractions of 255."""
        pixels = images.astype(np.float32) / 255
        half = images.shape[1] // 2
        cheeks = pixels[:, half - 6 : half + 12, half - 14 : half + 14]
        rim = np.concatenate([pixels[:, :, :3], pixels[:, :, -3:]], axis=2)
        detail = np.array([cv2.Laplacian(face, cv2.CV_32F).std() for face in pixels])
        columns = [
            np.median(cheeks, axis=(1, 2)),
            pixels.std(axis=(1, 2)),
            np.log(detail + 1e-3),
            np.abs(pixels[:, :, :half].mean(axis=(1, 2)) - pixels[:, :, half:].mean(axis=(1, 2))),
            pixels[:, :half].mean(axis=(1, 2)) - pixels[:, half:].mean(axis=(1, 2)),
            rim.mean(axis=(1, 2)),
        ]
        return np.stack(columns, axis=1).astype(np.float32)


class ClipAttributes:
    """Zero-shot CLIP (Radford et al., 2021): for each attribute, how probable each of its sentences is of a face.

    `folder` holds weights, configuration and tokenizer as transformers saves them. Raises ModelError.
    """

    def __init__(self, folder: Path, *, batch: int = 32) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder}: no CLIP model (no config.json). Give a folder transformers saved one in.")
        from transformers import CLIPModel, CLIPTokenizer  # takes seconds to import

        try:
            self._model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(f"{folder}: not a readable CLIP model ({str(error).splitlines()[0]}).") from None
        sentences = [sentence for prompts in PROMPTS.values() for sentence in prompts]
        self._words = tokenizer(sentences, padding=True, return_tensors="pt")
        self._batch = batch
        self.names = tuple(f"{name}: {prompt}" for name, prompts in PROMPTS.items() for prompt in prompts)

    def values(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `AttributeSource`; probabilities, with sum 1 within each attribute."""
        parts = [self._scores(images[start : start + self._batch]) for start in range(0, len(images), self._batch)]
        scores = torch.cat(parts)
        groups = torch.split(scores, [len(prompts) for prompts in PROMPTS.values()], dim=1)
        return torch.cat([group.softmax(dim=1) for group in groups], dim=1).numpy()

    @torch.inference_mode()
    def _scores(self, images: NDArray[np.uint8]) -> Tensor:
        side = self._model.config.vision_config.image_size
        grey = torch.from_numpy(images).float().div(255).unsqueeze(1)
        large = torch.nn.functional.interpolate(grey, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        # CLIP's own mean and deviation of red, green and blue.
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
        deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
        answer = self._model(pixel_values=(large - mean) / deviation, **self._words)
        return answer.logits_per_image


class FaceResAttributes:
    """Gender and age by FaceRes's two other layers, skin tone by the pixels, and identity as FaceRes's embedding.

    `weights` is the file `fer-edge-lab pretrained faceres` writes. Gender is the probability of a man, age the
    expected one in years; of the embedding those directions are kept in which the faces at hand differ most. Raises
    ModelError.
    """

    names = ("gender", "age", "skin tone", *(f"identity {number + 1}" for number in range(_IDENTITY_DIRECTIONS)))

    def __init__(self, weights: Path, *, batch: int = 64) -> None:
        try:
            tensors = load_file(weights)
            self._layers = {f"{name}.{part}": tensors[f"{name}.{part}"] for name in _FACERES_LAYERS for part in _PARTS}
            self._network = architectures.build("mobilenet_v1", {"side": _FACERES_SIDE_PX}).eval()
            body = {key: value for key, value in tensors.items() if key not in self._layers}
            self._network.load_state_dict({**self._network.state_dict(), **body})
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"{weights}: not FaceRes's weights ({error}). Make them with `fer-edge-lab pretrained faceres`."
            ) from None
        self._batch = batch

    def values(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `AttributeSource`."""
        starts = range(0, len(images), self._batch)
        embeddings = torch.cat([self._embedding(images[start : start + self._batch]) for start in starts])
        hidden = self._layer("hidden", embeddings).relu()
        gender = self._layer("gender", hidden).sigmoid()
        probabilities = self._layer("age", hidden).softmax(dim=1)
        years = probabilities @ torch.arange(float(probabilities.shape[1]))
        skin = PhotometricAttributes().values(images)[:, :1]
        identity = _principal_components(embeddings, _IDENTITY_DIRECTIONS)
        return np.concatenate([gender.numpy(), years.numpy()[:, None], skin, identity.numpy()], axis=1)

    @torch.inference_mode()
    def _embedding(self, images: NDArray[np.uint8]) -> Tensor:
        return self._network.features(pixels.normalise(torch.from_numpy(images)).unsqueeze(1))

    def _layer(self, name: str, values: Tensor) -> Tensor:
        return torch.nn.functional.linear(values, self._layers[f"{name}.weight"], self._layers[f"{name}.bias"])


def _principal_components(values: Tensor, count: int) -> Tensor:
    """The `count` directions of greatest variance of values (n, d), and where each row lies on them, (n, count)."""
    centred = values - values.mean(dim=0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    return centred @ directions[:, -count:].flip(1)


def open_network(path: Path) -> AttributeSource:
    """CLIP in a folder, or FaceRes in a .safetensors file. Raises ModelError."""
    return FaceResAttributes(path) if path.suffix == ".safetensors" else ClipAttributes(path)


class TableAttributes:
    """Attributes computed before and kept in a file, found by a digest of the pixels. Raises DataError."""

    def __init__(self, path: Path) -> None:
        remedy = "Make one with `fer-edge-lab attributes`."
        arrays = read_arrays(path, DataError, what="a table of attributes", remedy=remedy)
        digests, values, names = (arrays.get(name, np.zeros(())) for name in ("digests", "values", "names"))
        if values.dtype.kind not in "fiu" or (*digests.shape, *names.shape) != values.shape or values.ndim != 2:
            raise DataError(f"{path}: not a table of attributes (its arrays do not fit each other). {remedy}")
        self._values, self.names = values, tuple(names.tolist())
        self._path, self._rows = path, {digest: row for row, digest in enumerate(digests.tolist())}

    def values(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `AttributeSource`."""
        rows = [self._rows.get(digest) for digest in digests_of(images)]
        if None in rows:
            raise DataError(f"{self._path}: {rows.count(None)} of {len(rows)} faces are not in this table.")
        return self._values[rows].astype(np.float32)


def write_table(source: AttributeSource, images: NDArray[np.uint8], path: Path) -> None:
    """Compute the attributes of all `images` and keep them for `TableAttributes`, atomically."""
    values = source.values(images)
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, digests=np.array(digests_of(images)), values=values, names=np.array(source.names))


def digests_of(images: NDArray[np.uint8]) -> list[str]:
    """A name for the pixels of each face."""
    return [hashlib.blake2b(np.ascontiguousarray(image), digest_size=12).hexdigest() for image in images]


def open_source(name: str) -> AttributeSource:
    """`photometric`, or the path of a table ending in .npz. Raises DataError."""
    if name == "photometric":
        return PhotometricAttributes()
    if name.endswith(".npz"):
        return TableAttributes(Path(name))
    raise DataError(f"attributes {name!r}: expected photometric, or a table ending in .npz.")


def standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each column (n, k) moved and scaled to mean 0 and deviation 1; a constant one becomes 0."""
    deviation = values.std(axis=0)
    return ((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


@dataclass(frozen=True)
class AttributeGoal:
    """Keep the attributes in the identity features: maximise the InfoNCE bound on what they share.

    The network's outputs are keys (n, k), its identity features in the space of the k attributes.
    """

    source: Callable[[str], AttributeSource] = open_source

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """Standardised attributes, (n, k)."""
        return torch.from_numpy(standardised(self.source(labels.attributes).values(data.images)))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Minus the bound."""
        if outputs.shape[1] != targets.shape[1]:
            raise DataError(f"{targets.shape[1]} attributes, but the network was built for {outputs.shape[1]}.")
        return -info_nce(outputs, targets)


@dataclass(frozen=True)
class InvarianceGoal:
    """Keep the attributes out of the expression features: minimise what a linear regression finds of them there.

    The network's outputs are the features, (n, d).
    """

    source: Callable[[str], AttributeSource] = open_source

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """Standardised attributes, (n, k)."""
        return AttributeGoal(self.source).targets(data, labels)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the attributes, in nats."""
        return linear_information(outputs, targets, ridge=_RIDGE).mean()


class IndependenceGoal:
    """Make expression and identity features share nothing: minimise the CLUB bound on what they do.

    The network's outputs are (n, 2): the bound of each pair, and the estimator's negative log likelihood, by which the
    estimator learns at the same time. The data has no targets. A bound below 0 says that the estimator is behind,
    as no information is less than none; it moves nothing.
    """

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """Zeros, (n, 1)."""
        return torch.zeros(len(data.images), 1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See the class."""
        bound, estimator = outputs.mean(dim=0)
        return bound.clamp(min=0) + _ESTIMATOR_RATE * estimator
