"""Fine-tuning: starting from weights in a local file, the head first and the rest after it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_edge.errors import ModelError

from train.fit.recipe import Finetuning

# Architectures whose last layer has another name say so in `head_name`.
_HEAD = "head"


@dataclass(frozen=True)
class Part:
    """Parameters that share a factor on the learning rate."""

    parameters: list[nn.Parameter]
    rate: float


def start_from(network: nn.Module, settings: Finetuning) -> int:
    """Fill `network` from `settings.weights`, where name and shape agree; how many tensors were taken.

    An architecture with a method `adapted` sees the file's tensors first: it knows what others call its layers. Raises
    ModelError for a file that is none, or that has nothing for this network but perhaps its head.
    """
    if not settings.weights:
        return 0
    path = Path(settings.weights)
    state = _read(path)
    adapted = getattr(network, "adapted", None)
    state = adapted(state) if adapted is not None else state
    own = network.state_dict()
    taken = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    if not any(not is_head(network, key) for key in taken):
        raise ModelError(f"{path}: none of its {len(state)} tensors fits this network by name and shape.")
    network.load_state_dict(taken, strict=False)
    return len(taken)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"pre-trained weights not found: {path}. Give a local .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = "safetensors" if isinstance(error, SafetensorError) else "weights"
        raise ModelError(f"{path}: not a readable {kind} file ({reason}).") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    return {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def is_head(network: nn.Module, name: str) -> bool:
    """Whether the parameter or buffer `name` belongs to the last layer."""
    return name.startswith(f"{getattr(network, 'head_name', _HEAD)}.")


def parts(network: nn.Module, settings: Finetuning) -> list[Part]:
    """All parameters in one part, or where the rest has a rate of its own, the head and the rest."""
    named = list(network.named_parameters())
    if settings.body_rate == 1.0:
        return [Part([parameter for _, parameter in named], 1.0)]
    head = [parameter for name, parameter in named if is_head(network, name)]
    body = [parameter for name, parameter in named if not is_head(network, name)]
    return [Part(head, 1.0), Part(body, settings.body_rate)]


def set_stage(network: nn.Module, settings: Finetuning, epoch: int) -> None:
    """Before `epoch`, counted from 0: let everything learn, or the head alone. Leaves the network in training mode.

    Without gradients a parameter keeps its value; in eval mode a normalisation keeps its statistics.
    """
    network.train()
    head_only = epoch < settings.head_epochs
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not head_only or is_head(network, name))
    if head_only:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
