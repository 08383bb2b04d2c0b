"""Identity-invariant representation: the bounds on Gaussians of known information, who learns from what, what leaks."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fer_edge.errors import DataError, ModelError, UsageError

from boards import lab as command
from train import architectures
from train.architectures.information import club, gaussian_nll, info_nce, linear_information
from train.data import cache
from train.data.fer2013 import Fer2013
from train.fit import attributes, checkpoint, finetuning, loop, publish
from train.fit.recipe import Finetuning, Recipe, Schedule
from train.studies import probe

BACKBONE = {"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.0}
ARGUMENTS = {"backbone_arguments": BACKBONE, "classes": 2, "attributes": 6}
INVARIANT = Recipe(
    name="invariant",
    architecture="identity_invariant",
    arguments=ARGUMENTS,
    task="valence-arousal",
    beside={"attached": 0.5, "independence": 0.1, "invariance": 1.0, "attributes": 0.1},
    schedule=Schedule(epochs=2, batch=14, learning_rate=0.02, warmup_epochs=0.5, ema_decay=0.5),
)


def correlated(rho: float, n: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard Gaussians (n, 1) with correlation rho: their information is -log(1 - rho^2) / 2."""
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, n, 1, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_club_bounds_the_information_of_gaussians_from_above(rho: float) -> None:
    """With the true conditional it is rho^2 / (1 - rho^2): from E(y_j - rho x_i)^2 = 1 + rho^2 over 2 (1 - rho^2)."""
    x, y = correlated(rho)
    bound = club(rho * x, torch.full_like(x, math.log(1 - rho**2)), y).mean().item()
    assert bound == pytest.approx(rho**2 / (1 - rho**2), rel=0.05, abs=0.02)
    assert bound >= -0.5 * math.log(1 - rho**2) - 0.02


def test_info_nce_bounds_the_information_of_gaussians_from_below() -> None:
    """Scored by the log density ratio, terms of the query alone left out: (rho x y - rho^2 x^2 / 2) / (1 - rho^2)."""
    rho, n = 0.8, 256
    x, y = correlated(rho, n * 40)
    bounds = []
    for a, b in zip(x.split(n), y.split(n), strict=True):
        keys = torch.cat([rho * a, -(rho**2) * a.square() / 2], dim=1) / (1 - rho**2)
        bounds.append(info_nce(keys, torch.cat([b, torch.ones_like(b)], dim=1)).item())
    information = -0.5 * math.log(1 - rho**2)
    assert 0.8 * information < np.mean(bounds) <= information + 0.02


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_a_linear_model_finds_the_whole_information_of_gaussians(rho: float) -> None:
    x, y = correlated(rho)
    found = linear_information(x, torch.cat([y, y[torch.randperm(len(y))]], dim=1), ridge=1e-6)
    assert found.tolist() == pytest.approx([-0.5 * math.log(1 - rho**2), 0], abs=0.02)


def test_no_feature_hides_the_others_by_growing() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(256, 3), torch.randn(256, 1)
    x[:, :1] += y
    found = [linear_information(x * torch.tensor([1.0, 1.0, scale]), y, ridge=0.3).item() for scale in (1.0, 1e3)]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_ridge_finds_less_of_chance() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 60), torch.randn(64, 3)
    free, held = (linear_information(x, y, ridge=ridge).mean() for ridge in (1e-6, 0.3))
    assert held < 0.5 * free


def test_a_bound_below_nothing_moves_no_feature() -> None:
    outputs = torch.tensor([[-2.0, 0.5], [1.0, 0.5]], requires_grad=True)
    attributes.IndependenceGoal().loss(outputs, torch.zeros(2, 1)).backward()
    assert outputs.grad is not None and outputs.grad[:, 0].tolist() == [0, 0] and outputs.grad[:, 1].min() > 0


def test_attributes_do_not_shape_the_backbone() -> None:
    network = architectures.build("identity_invariant", ARGUMENTS)
    network.train()(torch.randn(8, 1, 48, 48))["attributes"].sum().backward()
    moved = {key.split(".")[0] for key, p in network.named_parameters() if p.grad is not None}
    assert moved == {"identity", "keys"}


def test_info_nce_is_at_most_the_logarithm_of_the_batch() -> None:
    certain = torch.eye(8) * 100
    assert info_nce(certain, certain).item() == pytest.approx(math.log(8), abs=1e-4)
    assert info_nce(torch.zeros(8, 8), certain).item() == pytest.approx(0, abs=1e-6)


def test_gaussian_likelihood_by_hand() -> None:
    """One value 3 under mean 1, variance e^2: (4 / e^2 + 2) / 2."""
    nll = gaussian_nll(torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    assert nll.item() == pytest.approx((4 / math.e**2 + 2) / 2)


def test_training_starts_from_a_checkpoint_of_the_bare_backbone(tmp_path: Path) -> None:
    plain = architectures.build("fer_residual", {**BACKBONE, "classes": 7})
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    network = architectures.build("identity_invariant", ARGUMENTS)
    taken = finetuning.start_from(network, Finetuning(weights=str(tmp_path / "plain.pth")))
    own, theirs = network.backbone.state_dict(), plain.state_dict()
    assert taken == len(own) == len([key for key in theirs if not key.startswith("head.")])
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_the_bound_teaches_the_features_and_the_likelihood_the_estimator() -> None:
    network = architectures.build("identity_invariant", ARGUMENTS)
    bound, likelihood = network.train()(torch.randn(8, 1, 48, 48))["independence"].mean(dim=0)
    learners = {}
    for name, loss in (("bound", bound), ("likelihood", likelihood)):
        network.zero_grad()
        loss.backward(retain_graph=True)
        moved = [key for key, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        learners[name] = {key.split(".")[0] for key in moved}
    assert learners["bound"] == {"backbone", "expression", "identity"}
    assert learners["likelihood"] == {"estimator"}


def test_gradient_reaches_every_parameter() -> None:
    network = architectures.build("identity_invariant", ARGUMENTS)
    sum(output.square().mean() for output in network(torch.randn(8, 1, 48, 48)).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("backbone", "arguments"),
    [
        ("fer_residual", BACKBONE),
        ("mobilenet_v3", {"width": 0.25, "blocks": 2}),
        ("xception", {"width": 0.06, "middle": 1}),
    ],
)
def test_any_backbone_will_do(backbone: str, arguments: dict[str, object]) -> None:
    network = architectures.build(
        "identity_invariant", {"backbone": backbone, "backbone_arguments": arguments, "classes": 2}
    )
    assert network.eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 2)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match="backbone 'spine' is unknown; expected one of fer_residual"):
        architectures.build("identity_invariant", {"backbone": "spine"})


def test_detached_answers_do_not_see_the_identity() -> None:
    detached = architectures.build("identity_invariant", ARGUMENTS).eval()
    attached = architectures.build("identity_invariant", {**ARGUMENTS, "attached": True}).eval()
    attached.load_state_dict(detached.state_dict())
    faces = torch.randn(3, 1, 48, 48)
    before = detached(faces), attached(faces)
    for network in (detached, attached):
        for parameter in network.identity.parameters():
            torch.nn.init.normal_(parameter)
    torch.testing.assert_close(detached(faces), before[0])
    assert not torch.allclose(attached(faces), before[1])


@pytest.mark.slow
def test_it_trains_publishes_and_resumes(tiny: Fer2013, tmp_path: Path) -> None:
    trainer = loop.fit(INVARIANT, tiny, tmp_path / "unbroken")
    broken = loop.Trainer(INVARIANT, tiny, tmp_path / "broken")
    (tmp_path / "broken").mkdir()
    broken.finish_epoch(broken.train_epoch())
    loop.fit(INVARIANT, tiny, tmp_path / "broken")
    first, second = (torch.load(tmp_path / name / "state.pt")["network"] for name in ("unbroken", "broken"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    path = publish.publish(INVARIANT, tiny, tmp_path / "unbroken", tmp_path / "models")
    info = checkpoint.load(path).info
    assert (info.task, info.labels) == ("valence-arousal", ("valence", "arousal"))
    assert info.measured["PublicTest"]["figures"]["ccc"] == pytest.approx(trainer.logs[-1].score, abs=1e-6)
    card = (path.parent / "README.md").read_text()
    assert "nobody rated valence and arousal" in card
    assert (tmp_path / "models" / "results-valence-arousal.csv").is_file()


def test_photometric_attributes_by_hand() -> None:
    """Left half white, right half black."""
    face = np.zeros((1, 48, 48), np.uint8)
    face[:, :, :24] = 255
    values = dict(
        zip(attributes.PhotometricAttributes.names, attributes.PhotometricAttributes().values(face)[0], strict=True)
    )
    assert values["light from one side"] == pytest.approx(1)
    assert values["light from above"] == pytest.approx(0)
    assert values["contrast"] == pytest.approx(0.5)
    assert values["surround"] == pytest.approx(0.5)


def test_a_table_finds_faces_by_their_pixels(tiny: Fer2013, tmp_path: Path) -> None:
    source = attributes.PhotometricAttributes()
    attributes.write_table(source, tiny.images, tmp_path / "table.npz")
    table = attributes.open_source(str(tmp_path / "table.npz"))
    np.testing.assert_allclose(table.values(tiny.images[[5, 2]]), source.values(tiny.images[[5, 2]]))
    with pytest.raises(DataError, match="1 of 1 faces are not in this table"):
        table.values(255 - tiny.images[:1])


@pytest.mark.parametrize("name", ["absent.npz", "clairvoyance"])
def test_a_source_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read|expected photometric"):
        attributes.open_source(name)


def test_another_number_of_attributes_is_refused(tiny: Fer2013, tmp_path: Path) -> None:
    fewer = dataclasses.replace(INVARIANT, arguments={**ARGUMENTS, "attributes": 3})
    with pytest.raises(DataError, match="6 attributes, but the network was built for 3"):
        loop.fit(fewer, tiny, tmp_path)


def small_clip(folder: Path) -> Path:
    """A CLIP of the same class as the published ones, of a few thousand random weights, with a tokenizer."""
    import json

    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = len(words) - 1
    text = {
        **size,
        "vocab_size": len(words),
        "max_position_embeddings": 77,
        "bos_token_id": end - 1,
        "eos_token_id": end,
    }
    vision = {**size, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    return folder


def test_clip_gives_probabilities_of_each_attribute(tiny: Fer2013, tmp_path: Path) -> None:
    source = attributes.ClipAttributes(small_clip(tmp_path), batch=4)
    values = source.values(tiny.images[:6])
    assert values.shape == (6, len(source.names))
    start = 0
    for prompts in attributes.PROMPTS.values():
        np.testing.assert_allclose(values[:, start : start + len(prompts)].sum(axis=1), 1, rtol=1e-5)
        start += len(prompts)
    assert values.std(axis=0).max() > 0


def test_a_folder_without_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no CLIP model"):
        attributes.ClipAttributes(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="not a readable CLIP model"):
        attributes.ClipAttributes(tmp_path)


def small_faceres(folder: Path) -> Path:
    """Weights with FaceRes's names, drawn at random: the real ones are another's."""
    torch.manual_seed(0)
    body = architectures.build("mobilenet_v1", {}).state_dict()
    layers = {"hidden": (256, 1024), "gender": (1, 256), "age": (100, 256)}
    rest = {f"{name}.weight": torch.randn(size) * 0.01 for name, size in layers.items()}
    rest |= {f"{name}.bias": torch.zeros(size[0]) for name, size in layers.items()}
    save_file(
        {**{key: value for key, value in body.items() if not key.startswith("head")}, **rest}, folder / "f.safetensors"
    )
    return folder / "f.safetensors"


@pytest.mark.slow
def test_faceres_gives_gender_age_skin_and_identity(tiny: Fer2013, tmp_path: Path) -> None:
    source = attributes.open_network(small_faceres(tmp_path))
    values = source.values(tiny.images[:12])
    assert values.shape == (12, len(source.names))
    named = dict(zip(source.names, values.T, strict=True))
    assert ((named["gender"] > 0) & (named["gender"] < 1)).all()
    assert ((named["age"] > 0) & (named["age"] < 99)).all()
    assert np.array_equal(named["skin tone"], attributes.PhotometricAttributes().values(tiny.images[:12])[:, 0])
    identity = values[:, source.names.index("identity 1") :]
    assert np.allclose(identity.mean(axis=0), 0, atol=1e-3)  # principal components: centred, the largest first
    assert (np.diff(identity.var(axis=0)) <= 1e-6).all()


def test_a_file_that_is_not_faceres_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="fer-edge-lab pretrained faceres"):
        attributes.open_network(tmp_path / "x.safetensors")


def test_a_probe_of_two_layers_finds_what_a_linear_one_cannot() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(1500, 2)).astype(np.float32)
    targets = np.stack([features[:, 0] * features[:, 1], features[:, 0]], axis=1)
    parts = features[:1000], targets[:1000], features[1000:], targets[1000:]
    linear, bent = (probe.probe(*parts, kind) for kind in probe.PROBES)
    assert linear[0] < 0.1
    assert bent[0] > 0.7
    assert min(linear[1], bent[1]) > 0.9


def test_an_unknown_probe_is_refused(capsys: pytest.CaptureFixture[str], tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    words = ["probe", "x.safetensors", "--kind", "deep", "--faces", str(tmp_path / "data.npz")]
    assert command.main(words) == 2
    assert "--kind is 'deep', expected linear or two-layer." in capsys.readouterr().err


def test_a_probe_finds_what_is_linear_and_nothing_in_noise() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 5)).astype(np.float32)
    targets = np.stack([features @ [1, 2, 0, 0, 1], generator.normal(size=600)], axis=1).astype(np.float32)
    scores = probe.probe(features[:400], targets[:400], features[400:], targets[400:])
    assert scores[0] > 0.99
    assert scores[1] < 0.05


def test_the_probe_command_compares_models(tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.save(tiny, tmp_path / "data.npz")
    plain = Recipe("plain", "fer_residual", {**BACKBONE, "classes": 2}, task="valence-arousal")
    paths = []
    for recipe in (plain, INVARIANT):
        paths.append(tmp_path / f"{recipe.name}.safetensors")
        state = architectures.build(recipe.architecture, recipe.arguments).state_dict()
        checkpoint.save(paths[-1], state, publish.info_of(recipe))
    words = ["probe", *map(str, paths), "--faces", str(tmp_path / "data.npz"), "--out", str(tmp_path / "probe.csv")]
    assert command.main(words) == 0
    with open(tmp_path / "probe.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = {(row["model"], row["features"]) for row in rows}
    assert kinds == {("plain", "features"), ("invariant", "expression"), ("invariant", "identity")}
    assert {(row["split"], row["n"]) for row in rows} == {("PublicTest", "14")}
    assert "| mean |" in capsys.readouterr().out
