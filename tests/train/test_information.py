"""Bounds on information against sums written out pair by pair, and probes on data whose answer is known."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from fer_edge.errors import ModelError

from train import architectures
from train.architectures.information import club, gaussian_nll, info_nce, linear_information
from train.fit.attributes import IndependenceGoal, InvarianceGoal, standardised
from train.studies import probe
from train.studies.probe import ProbeRow

seeds = st.integers(0, 2**16)
FEW = settings(max_examples=15, deadline=None)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(seeds)
@FEW
def test_club_is_the_mean_over_all_pairs_of_how_much_likelier_the_own_one_is(seed: int) -> None:
    mean, log_variance, samples = normal(seed, 3, 6, 4)

    def log_density(i: int, j: int) -> float:
        variance = np.exp(log_variance[i])
        return float((-((samples[j] - mean[i]) ** 2) / (2 * variance) - log_variance[i] / 2).sum())

    by_hand = [log_density(i, i) - np.mean([log_density(i, j) for j in range(6)]) for i in range(6)]
    bound = club(*(torch.from_numpy(values) for values in (mean, log_variance, samples)))
    np.testing.assert_allclose(bound.numpy(), by_hand, rtol=1e-6, atol=1e-9)


@given(seeds)
@FEW
def test_the_likelihood_is_torchs_own_without_its_constant(seed: int) -> None:
    mean, log_variance, samples = (torch.from_numpy(values) for values in normal(seed, 3, 5, 3))
    own = torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(samples).sum(dim=1)
    constant = 3 / 2 * np.log(2 * np.pi)
    torch.testing.assert_close(gaussian_nll(mean, log_variance, samples), -own - constant)


@given(seeds)
@FEW
def test_info_nce_is_how_much_better_than_chance_each_query_finds_its_key(seed: int) -> None:
    keys, queries = normal(seed, 2, 7, 3)
    chances = np.exp(queries @ keys.T)
    own = np.diag(chances) / chances.sum(axis=1)
    bound = info_nce(torch.from_numpy(keys), torch.from_numpy(queries)).item()
    assert bound == pytest.approx(np.mean(np.log(7 * own)))


@given(seeds, st.sampled_from([0.01, 0.3, 2.0]))
@FEW
def test_linear_information_is_that_of_scikit_learns_ridge(seed: int, ridge: float) -> None:
    """The share that is explained counts what the ridge itself costs: b'x y of the penalised solution b."""
    x = normal(seed, 40, 5)
    y = x[:, :2] @ normal(seed + 1, 2, 2) + normal(seed + 2, 40, 2)
    z, w = ((values - values.mean(0)) / values.std(0) for values in (x, y))
    solution = Ridge(alpha=ridge * len(z), fit_intercept=False).fit(z, w).coef_.T
    share = ((z.T @ w / len(z)) * solution).sum(axis=0)
    found = linear_information(torch.from_numpy(x), torch.from_numpy(y), ridge=ridge)
    np.testing.assert_allclose(found.numpy(), -0.5 * np.log(1 - share), rtol=1e-4)


def test_information_of_a_copy_is_finite_and_has_a_gradient() -> None:
    x = torch.from_numpy(normal(0, 30, 3)).requires_grad_(True)
    found = linear_information(x, x.detach(), ridge=0.0)
    found.sum().backward()
    assert ((found > 3) & (found < 4.7)).all()  # a share of 0.9999 is the most that counts
    assert x.grad.isfinite().all()


def test_a_value_that_never_changes_holds_no_information() -> None:
    x, constant = torch.from_numpy(normal(0, 30, 3)), torch.full((30, 1), 5.0, dtype=torch.float64)
    assert linear_information(x, constant, ridge=0.3).item() == pytest.approx(0, abs=1e-6)


def test_goals_of_independence_and_invariance_by_hand() -> None:
    outputs = torch.tensor([[0.4, 1.0], [0.2, 3.0]])
    assert IndependenceGoal().loss(outputs, torch.zeros(2, 1)).item() == pytest.approx(0.3 + 10 * 2.0)
    assert IndependenceGoal().loss(outputs - 1, torch.zeros(2, 1)).item() == pytest.approx(10 * 1.0)
    features, values = (torch.from_numpy(normal(seed, 20, 3)) for seed in (1, 2))
    expected = linear_information(features, values, ridge=0.3).mean()
    torch.testing.assert_close(InvarianceGoal().loss(features, values), expected)


@given(seeds)
@FEW
def test_standardised_columns_have_mean_nothing_and_deviation_one_unless_constant(seed: int) -> None:
    values = (normal(seed, 30, 3) * [1, 50, 0.01] + [3, -7, 0]).astype(np.float32)
    values[:, 0] = 4
    result = standardised(values)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(result.std(axis=0), [0, 1, 1], rtol=1e-3)


def test_a_probe_is_fitted_to_training_alone_and_scored_on_the_rest() -> None:
    """Fitted where y = x and scored where y = 2 x it misses half of each value, a quarter of the variance."""
    x = normal(0, 800, 1).astype(np.float32)
    x -= x.mean()
    assert probe.probe(x, x, x, 2 * x)[0] == pytest.approx(0.75, abs=0.01)
    assert probe.probe(x, x, x, -x)[0] == 0  # worse than knowing nothing counts as knowing nothing


def test_a_probe_finds_half_the_variance_where_half_is_noise() -> None:
    x = normal(0, 4000, 3).astype(np.float32)
    y = (x[:, :1] + normal(1, 4000, 1)).astype(np.float32)
    assert probe.probe(x[:3000], y[:3000], x[3000:], y[3000:])[0] == pytest.approx(0.5, abs=0.06)


def test_features_that_are_split_are_named_and_others_are_one() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    small = {"stem": 4, "widths": [4], "depths": [1]}
    plain = architectures.build("fer_residual", small).eval()
    split = architectures.build("identity_invariant", {"backbone_arguments": small}).eval()
    assert {name: values.shape for name, values in probe.features_of(plain, images).items()} == {"features": (3, 4)}
    found = probe.features_of(split, images)
    assert {name: values.shape for name, values in found.items()} == {"expression": (3, 4), "identity": (3, 4)}
    with pytest.raises(ModelError, match="Flatten has no features to probe"):
        probe.features_of(torch.nn.Flatten(), images)


def test_features_do_not_depend_on_how_many_faces_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = architectures.build("fer_residual", {"stem": 4, "widths": [4], "depths": [1]}).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    whole = probe.features_of(network, images)["features"]
    monkeypatch.setattr(probe, "_BATCH", 2)
    np.testing.assert_allclose(probe.features_of(network, images)["features"], whole, rtol=1e-4, atol=1e-5)


def test_the_table_and_the_file_of_probes_say_the_same(tmp_path: Path) -> None:
    scores = {("a", "features"): (0.9, 0.1), ("b", "expression"): (0.2, 0.0)}
    rows = [
        ProbeRow(model, features, attribute, "FER2013", 14, r2)
        for (model, features), values in scores.items()
        for attribute, r2 in zip(("tone", "light"), values, strict=True)
    ]
    assert probe.table(rows).splitlines() == [
        "| R2 | a, features | b, expression |",
        "|---|---|---|",
        "| tone | 0.900 | 0.200 |",
        "| light | 0.100 | 0.000 |",
        "| mean | 0.500 | 0.100 |",
    ]
    probe.write(tmp_path / "probe.csv", rows)
    with open(tmp_path / "probe.csv", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [(row["model"], row["attribute"], float(row["r2"])) for row in written] == [
        (row.model, row.attribute, row.r2) for row in rows
    ]
    assert {(row["split"], row["n"], row["probe"]) for row in written} == {("PublicTest", "14", "linear")}
