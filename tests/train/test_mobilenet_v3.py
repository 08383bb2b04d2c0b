"""Improved MobileNetV3: its equations by hand, its switches, its gradient."""

import itertools

import numpy as np
import pytest
import torch

from fer_edge.errors import UsageError

from train import architectures
from train.architectures.mobilenet_v3 import GroupNorm, InvertedResidual, simam
from train.fit.cost import cost_of

SMALL = {"width": 0.25, "blocks": 5}


def minimal_energy(value: float, mean: float, variance: float, regulariser: float) -> float:
    """Equation 5 of Yang et al. (2021)."""
    return 4 * (variance + regulariser) / ((value - mean) ** 2 + 2 * variance + 2 * regulariser)


def test_simam_weighs_a_neuron_by_the_inverse_of_its_energy() -> None:
    """Channel (1, 1, 1, 5): mean 2, and the variance over n - 1 = 3 is 12 / 3 = 4."""
    features = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    weights = [1 / (1 + np.exp(-1 / minimal_energy(value, 2.0, 4.0, 1e-4))) for value in (1.0, 1.0, 1.0, 5.0)]
    expected = np.array([1.0, 1.0, 1.0, 5.0]) * weights
    np.testing.assert_allclose(simam(features).flatten().numpy(), expected, rtol=1e-6)
    assert weights[3] > weights[0]  # the one that stands out


def test_the_trained_form_of_group_norm_gives_the_same_numbers() -> None:
    norm = GroupNorm(3, 24)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    features = torch.randn(2, 24, 5, 4) * 3 + 1
    torch.testing.assert_close(norm.eval()(features), norm.train()(features), atol=1e-5, rtol=1e-4)


def test_the_shortcut_sees_two_pixels_further_when_it_is_dilated() -> None:
    """With every weight of the main path at zero, a pixel reaches what its shortcut looks at: itself, or 5 x 5."""
    reached = {}
    for dilated in (False, True):
        block = InvertedResidual(
            8, 8, 8, 3, 1, attention="none", norm="batch", activation=torch.nn.ReLU, dilated=dilated
        ).eval()
        for parameter in block.layers.parameters():
            torch.nn.init.zeros_(parameter)
        features = torch.zeros(1, 8, 9, 9)
        features[0, 0, 4, 4] = 1
        moved = block(features) - block(torch.zeros_like(features))
        rows, columns = (moved[0, 0].abs() > 1e-9).nonzero(as_tuple=True)
        reached[dilated] = sorted({*rows.tolist(), *columns.tolist()})
    assert reached == {False: [4], True: [2, 4, 6]}


@pytest.mark.parametrize(
    ("attention", "norm", "dilated"), itertools.product(("simam", "se", "none"), ("group", "batch"), (True, False))
)
def test_every_switch_builds_answers_and_learns(attention: str, norm: str, dilated: bool) -> None:
    network = architectures.build(
        "mobilenet_v3", {**SMALL, "attention": attention, "norm": norm, "dilated_shortcut": dilated, "classes": 8}
    )
    answers = network(torch.randn(4, 1, 32, 32))
    assert answers.shape == (4, 8)
    answers.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_simam_has_no_parameters_and_se_has() -> None:
    sizes = {
        name: cost_of(architectures.build("mobilenet_v3", {**SMALL, "attention": name})).parameters
        for name in ("none", "simam", "se")
    }
    assert sizes["simam"] == sizes["none"] < sizes["se"]


@pytest.mark.parametrize("argument", ["attention", "norm", "activation"])
def test_an_unknown_part_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="'magic' is unknown; expected one of"):
        architectures.build("mobilenet_v3", {argument: "magic"})


def test_it_is_for_small_boards() -> None:
    cost = cost_of(architectures.build("mobilenet_v3", {"width": 1.0}))
    assert cost.parameters < 500_000
    assert cost.mmac < 10
