"""A picture of where a saliency-guided network looks, laid over the face."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fer_edge.errors import ModelError
from fer_edge.files import atomic_write

from train.architectures.saliency_cnn import SaliencyCnn, prior_of
from train.data.pixels import normalise
from train.data.readers.pictures import face_in, read_picture
from train.fit import checkpoint

_SIDE_PX = 384
_OPACITY = 0.5


def guided_network(model: Path) -> tuple[SaliencyCnn, checkpoint.CheckpointInfo]:
    """The saliency-guided network of a checkpoint, and its header. Raises ModelError for another network."""
    loaded = checkpoint.load(model)
    if not isinstance(loaded.network, SaliencyCnn):
        raise ModelError(f"{model}: its network is {type(loaded.network).__name__}, which predicts no saliency.")
    return loaded.network, loaded.info


def overlay(network: SaliencyCnn, face: NDArray[np.uint8], side_px: int = _SIDE_PX) -> NDArray[np.uint8]:
    """A grey face (48, 48) uint8 under its saliency in colours, (side_px, side_px, 3) uint8 BGR; red draws the eye."""
    with torch.inference_mode():
        prior = prior_of(network.eval().saliency(normalise(torch.from_numpy(face))[None, None]))[0, 0].numpy()
    spread = max(float(prior.max() - prior.min()), 1e-9)
    levels = np.rint(255 * (prior - prior.min()) / spread).astype(np.uint8)
    size = (side_px, side_px)
    colours = cv2.applyColorMap(cv2.resize(levels, size, interpolation=cv2.INTER_CUBIC), cv2.COLORMAP_JET)
    grey = cv2.cvtColor(cv2.resize(face, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(colours, _OPACITY, grey, 1 - _OPACITY, 0), dtype=np.uint8)


def write(model: Path, picture: Path, output: Path) -> None:
    """Draw `picture`, a face, under the saliency `model` sees in it. Raises ModelError, DataError."""
    network, _info = guided_network(model)
    _, encoded = cv2.imencode(".png", overlay(network, face_in(read_picture(picture))))
    with atomic_write(output) as temporary:
        temporary.write_bytes(encoded.tobytes())
