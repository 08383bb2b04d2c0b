"""Small networks of the published systems with random weights, exported once a session."""

import functools
from pathlib import Path

import torch

from boards import lab as command
from train import architectures
from train.fit import checkpoint, tasks
from train.fit.checkpoint import CheckpointInfo

SYSTEMS = {
    "mobilenet_v3": ("expression8", {"width": 0.25, "blocks": 3, "classes": 8}),
    "xception": ("expression7", {"width": 0.06, "middle": 1, "stem_stride": 2}),
    "identity_invariant": (
        "valence-arousal",
        {"classes": 2, "attached": True, "backbone_arguments": {"stem": 8, "widths": [8], "depths": [1]}},
    ),
    "saliency_cnn": ("smile-intensity", {"classes": 1, "stem": 8, "widths": [8, 8], "saliency_channels": 4}),
}


def network_of(architecture: str) -> torch.nn.Module:
    """The untrained network, its normalisations with the statistics of some faces, in eval mode."""
    torch.manual_seed(0)
    network = architectures.build(architecture, SYSTEMS[architecture][1])
    with torch.no_grad():
        network.train()(torch.randn(32, 1, 48, 48))
    return network.eval()


@functools.cache
def exported_system(architecture: str, folder: Path) -> Path:
    """Save folder/<architecture>.safetensors and export it; the artifact folder."""
    task, arguments = SYSTEMS[architecture]
    values = {
        f"{figure}_{label}": 0.5
        for figure in ("ccc", "pcc", "icc", "rmse", "mae", "sagr")
        for label in tasks.labels_of(task)
    }
    info = CheckpointInfo(
        name=architecture,
        architecture=architecture,
        arguments=arguments,
        task=task,
        labels=tasks.labels_of(task),
        trained_on="nothing",
        measured={"PublicTest": {"n": 3, "accuracy": 0.5, "macro_f1": 0.5, "figures": values}},
        recipe={},
    )
    path = folder / f"{architecture}.safetensors"
    checkpoint.save(path, network_of(architecture).state_dict(), info)
    assert command.main(["export", str(path), "--out", str(folder / "artifacts")]) == 0
    return folder / "artifacts" / architecture
