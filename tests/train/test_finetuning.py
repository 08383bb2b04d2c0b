"""Beginning from weights that exist: what is taken, what learns in which epoch, and at which rate."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fer_edge.errors import ModelError

from tests.conftest import ROOT
from train import architectures
from train.fit import checkpoint, finetuning
from train.fit.recipe import Finetuning

SMALL = {"stem": 4, "widths": [4, 8], "depths": [1, 1]}


def network(classes: int = 7) -> nn.Module:
    return architectures.build("fer_residual", {**SMALL, "classes": classes})


def weights(path: Path, source: nn.Module, prefix: str = "") -> Path:
    state = {f"{prefix}{key}": value.contiguous() for key, value in source.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3}, path)
    return path


@pytest.mark.parametrize(("name", "prefix"), [("a.safetensors", ""), ("a.pth", ""), ("a.pth", "module.")])
def test_every_tensor_that_fits_is_taken(name: str, prefix: str, tmp_path: Path) -> None:
    """Also from a file of DataParallel, which writes `module.` before every name."""
    source, target = network(), network()
    taken = finetuning.start_from(target, Finetuning(weights=str(weights(tmp_path / name, source, prefix))))
    assert taken == len(source.state_dict())
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_a_head_of_another_number_of_classes_stays_new(tmp_path: Path) -> None:
    source, target = network(classes=8), network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    finetuning.start_from(target, Finetuning(weights=str(weights(tmp_path / "a.safetensors", source))))
    after = target.state_dict()
    heads = {key for key in after if finetuning.is_head(target, key)}
    assert heads and all(torch.equal(after[key], before[key]) for key in heads)
    assert all(torch.equal(after[key], source.state_dict()[key]) for key in after.keys() - heads)


def test_without_a_file_nothing_is_taken() -> None:
    assert finetuning.start_from(network(), Finetuning()) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "pre-trained weights not found"),
        (b"", "not a readable safetensors file"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "none of its 0 tensors fits"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        finetuning.start_from(network(), Finetuning(weights=str(path)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(ModelError, match="none of its 2 tensors fits this network"):
        finetuning.start_from(network(), Finetuning(weights=str(path)))


def test_a_head_alone_is_nothing_to_begin_from(tmp_path: Path) -> None:
    source = network()
    state = {key: value for key, value in source.state_dict().items() if finetuning.is_head(source, key)}
    save_file(state, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match=f"none of its {len(state)} tensors fits"):
        finetuning.start_from(network(), Finetuning(weights=str(tmp_path / "head.safetensors")))


def test_at_first_the_head_alone_learns_and_statistics_stand_still() -> None:
    target, settings = network(), Finetuning(weights="a", head_epochs=2)
    norms = [module for module in target.modules() if isinstance(module, nn.BatchNorm2d)]
    for epoch in (0, 1):
        finetuning.set_stage(target, settings, epoch)
        learning = {name for name, parameter in target.named_parameters() if parameter.requires_grad}
        assert learning and all(finetuning.is_head(target, name) for name in learning)
        assert not any(norm.training for norm in norms) and target.training
    finetuning.set_stage(target, settings, 2)
    assert all(parameter.requires_grad for parameter in target.parameters())
    assert all(norm.training for norm in norms)


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_every_parameter_is_in_one_part(rate: float) -> None:
    target = network()
    parts = finetuning.parts(target, Finetuning(body_rate=rate))
    ids = [id(parameter) for part in parts for parameter in part.parameters]
    assert len(ids) == len(set(ids)) == len(list(target.parameters()))
    assert [part.rate for part in parts] == ([1.0] if rate == 1.0 else [1.0, 0.2])


def test_a_checkpoint_is_told_from_other_peoples_weights(tmp_path: Path) -> None:
    """By its header: folds must not begin from one, and may from the others."""
    plain = weights(tmp_path / "plain.safetensors", network())
    assert not checkpoint.is_one(plain)
    assert not checkpoint.is_one(tmp_path / "absent.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"\xff" * 64)
    assert not checkpoint.is_one(tmp_path / "noise.safetensors")
    assert checkpoint.is_one(ROOT / "models/fer-nano/fer-nano.safetensors")
