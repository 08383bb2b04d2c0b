"""Predict raw faces with a network."""

import numpy as np
import torch
from torch import nn

from train.data.pixels import normalise


def predict(network: nn.Module, images: np.ndarray, batch: int = 512) -> np.ndarray:
    """Logits (n, classes) float32 of raw grey faces (n, 48, 48) uint8, single crop, float arithmetic."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        parts = [
            network(normalise(torch.from_numpy(images[start : start + batch]).to(device)).unsqueeze(1))
            for start in range(0, len(images), batch)
        ]
    return torch.cat(parts).cpu().numpy()
