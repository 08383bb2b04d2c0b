"""Rules that every architecture keeps, at the smallest width: each was broken once by somebody's network elsewhere."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_edge.errors import UsageError

from train import architectures
from train.architectures.pretrained_networks import DlibBlock, PaddedConv, as_pixels
from train.architectures.saliency_cnn import DilatedInception
from train.data.pixels import normalise

SMALL = {
    "fer_residual": {"stem": 4, "widths": [4, 8], "depths": [1, 1]},
    "mobilenet_v3": {"width": 0.25, "blocks": 4},
    "saliency_cnn": {"stem": 4, "widths": [4, 8], "saliency_channels": 2},
    "xception": {"width": 0.05, "middle": 1, "stem_stride": 2},
    "identity_invariant": {"backbone_arguments": {"stem": 4, "widths": [4, 8], "depths": [1, 1]}},
}


def small(name: str, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    network = architectures.build(name, {**SMALL[name], **arguments})
    for module in network.modules():  # statistics that are not those of a fresh network
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval().requires_grad_(False)


def faces(count: int, side: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return normalise(torch.randint(0, 256, (count, 1, side, side), generator=generator))


@pytest.mark.parametrize("name", SMALL)
def test_a_face_has_one_answer_whoever_is_beside_it(name: str) -> None:
    """SimAM, GroupNorm and saliency take means: over a face's own pixels, and never over the batch."""
    network, batch = small(name), faces(4)
    alone = torch.cat([network(face[None]) for face in batch])
    torch.testing.assert_close(network(batch), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network(batch.flip(0)).flip(0), network(batch), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [2, 8])
def test_there_is_a_number_for_every_class(name: str, classes: int) -> None:
    assert small(name, classes=classes)(faces(3)).shape == (3, classes)


@pytest.mark.parametrize("name", ["fer_residual", "mobilenet_v3", "xception"])
def test_faces_of_32_pixels_are_taken_too(name: str) -> None:
    """Recipes train two thirds of the time on small ones (`schedule.sizes`)."""
    network = small(name)
    assert network(faces(2, 32)).shape == network(faces(2)).shape == (2, 7)


@pytest.mark.parametrize("name", SMALL)
def test_different_faces_have_different_answers_and_no_value_is_lost(name: str) -> None:
    answers = small(name)(faces(6))
    assert torch.isfinite(answers).all()
    assert len({tuple(row) for row in answers.tolist()}) == 6


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_face_of_one_shade_has_an_answer(name: str, shade: int) -> None:
    """Its variance is nothing, by which SimAM and GroupNorm divide."""
    plain = normalise(torch.full((1, 1, 48, 48), shade, dtype=torch.uint8))
    assert torch.isfinite(small(name)(plain)).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_makes_the_same_network(name: str) -> None:
    first, second = small(name).state_dict(), small(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", SMALL)
def test_dropout_is_for_training_alone(name: str) -> None:
    network, face = small(name), faces(1)
    assert torch.equal(network(face), network(face))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet", {}, "architecture 'resnet' is unknown; there are: dlib_resnet, "),
        ("fer_residual", {"depth": 3}, "architecture fer_residual: .*depth"),
        ("mobilenet_v3", {"attention": "eca"}, "'eca' is unknown; expected one of "),
        ("mobilenet_v3", {"norm": "layer"}, "'layer' is unknown; expected one of "),
        ("saliency_cnn", {"output": "gaze"}, "output is 'gaze'; expected task or saliency"),
        ("identity_invariant", {"backbone": "vgg"}, "backbone 'vgg' is unknown; expected one of fer_residual"),
    ],
)
def test_what_is_not_known_is_refused_by_name(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        architectures.build(name, arguments)


# Parts that must do what somebody else's do.
@pytest.mark.parametrize("side", [5, 6, 12, 13])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_padded_convolution_pads_as_tensorflow_says(side: int, stride: int, kernel: int) -> None:
    """SAME: as many outputs as strides begin, and of the pixels to add the smaller half first."""
    torch.manual_seed(0)
    convolution = PaddedConv(2, 3, kernel, stride)
    values = torch.randn(1, 2, side, side)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    ends = (total // 2, total - total // 2)
    by_hand = F.conv2d(F.pad(values, (*ends, *ends)), convolution.weight, stride=stride)
    torch.testing.assert_close(convolution(values), by_hand)
    assert by_hand.shape[-1] == -(-side // stride)


def test_pixels_come_back_from_normalised_faces() -> None:
    raw = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    torch.testing.assert_close(as_pixels(normalise(raw), 48), raw.float())
    larger = as_pixels(normalise(raw), 96)
    assert larger.shape == (2, 1, 96, 96) and 0 <= larger.min() <= larger.max() <= 255


@pytest.mark.parametrize(
    ("side", "halves", "out"), [(8, False, 8), (8, True, 4), (9, True, 4), (3, True, 1), (2, True, 1)]
)
def test_dlibs_blocks_keep_the_size_of_their_shortcut(side: int, halves: bool, out: int) -> None:
    block = DlibBlock(4, 6, halves).eval()
    assert block(torch.rand(1, 4, side, side)).shape == (1, 6, out, out)


@pytest.mark.parametrize(("rates", "reach"), [((1,), 1), ((1, 2), 2), ((1, 2, 4), 4)])
def test_dilation_is_what_widens_the_view(rates: tuple[int, ...], reach: int) -> None:
    """One pixel changes the outputs as far away as the largest rate, and no further."""
    torch.manual_seed(0)
    inception = DilatedInception(1, 2, rates).eval()
    plain, touched = torch.zeros(1, 1, 15, 15), torch.zeros(1, 1, 15, 15)
    touched[0, 0, 7, 7] = 5.0
    with torch.no_grad():
        changed = (inception(touched) - inception(plain)).abs().sum(dim=1)[0].numpy() > 0
    rows = np.flatnonzero(changed.any(axis=1))
    assert 7 + reach >= rows.max() >= 7 and rows.max() - 7 <= reach and rows.min() >= 7 - reach
