"""Optimizers: every parameter moves, Muon moves convolutions in their own memory."""

import pytest
import torch

from train import architectures
from train.fit.optimizer import ConvMuon, make_optimizers, uphill
from train.fit.recipe import Finetuning, Schedule


def _network() -> torch.nn.Module:
    arguments = {"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.0}
    return architectures.build("fer_residual", arguments).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_every_parameter_moves(muon: float) -> None:
    network = _network()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    network(torch.randn(4, 1, 48, 48)).square().sum().backward()
    for optimizer in make_optimizers(network, Schedule(muon_learning_rate=muon)):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"]
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(before[name], value) for name, value in network.named_parameters())
    assert all(value.grad is None for value in network.parameters())


def test_each_part_has_its_own_highest_rate() -> None:
    sgd, muon = make_optimizers(_network(), Schedule(learning_rate=0.1, muon_learning_rate=0.02))
    assert {group["peak"] for group in sgd.param_groups} == {0.1}
    assert {group["peak"] for group in muon.param_groups} == {0.02}
    assert [group["weight_decay"] for group in sgd.param_groups] == [5e-4, 0]


def test_a_part_that_is_fine_tuned_has_its_share_of_either_rate() -> None:
    schedule = Schedule(learning_rate=0.1, muon_learning_rate=0.02)
    sgd, muon = make_optimizers(_network(), schedule, Finetuning(body_rate=0.5))
    assert [group["peak"] for group in sgd.param_groups] == [0.1, 0.1, 0.05, 0.05]  # head, then body
    assert [group["peak"] for group in muon.param_groups] == [0.01]  # the head has no convolution


def test_a_step_is_the_nearest_orthogonal_matrix_whatever_the_gradients_size() -> None:
    """Of a gradient with singular values 1e-3 and 1e-5, both directions move by about the learning rate."""
    weight = torch.nn.Parameter(torch.zeros(2, 2, 1, 1).to(memory_format=torch.channels_last))
    optimizer = ConvMuon([weight], weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = 0.1
    weight.grad = torch.diag(torch.tensor([1e-3, 1e-5])).view(2, 2, 1, 1)
    optimizer.step()
    moved = -weight.detach().view(2, 2)
    assert moved[0, 0].item() == pytest.approx(0.1, rel=0.35)
    assert moved[1, 1].item() > 0.02
    assert moved[0, 1].abs().item() < 0.01


def test_a_weight_that_is_not_channels_last_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one that is"):
        ConvMuon([torch.nn.Parameter(torch.zeros(2, 3, 3, 3))], weight_decay=0.0)


def test_uphill_the_loss_is_higher_and_afterwards_nothing_has_moved() -> None:
    torch.manual_seed(0)
    network, faces = _network().train(), torch.randn(8, 1, 48, 48)

    def loss() -> torch.Tensor:
        return network(faces).square().mean()

    first = loss()
    first.backward()
    before = {name: value.clone() for name, value in network.state_dict().items() if "num_batches" not in name}
    with uphill(network, 0.05):
        moved = torch.stack([(value - before[name]).norm() for name, value in network.named_parameters()])
        assert moved.norm().item() == pytest.approx(0.05, rel=1e-3)
        assert loss() > first
    assert all(torch.equal(before[name], network.state_dict()[name]) for name in before)
    assert {module.momentum for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}
