"""Recipes: every key comes from the file, what cannot be meant is refused with one line, sizes and seeds by hand."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import UsageError
from fer_edge.noise import NOISES, STEPS

from train.fit import recipe as recipes
from train.fit.recipe import Recipe, Schedule

LEAST = {"name": "x", "architecture": "fer_residual"}
TABLES = ("labels", "augmentation", "schedule", "distillation", "noise", "finetuning")


def built(**changes: object) -> Recipe:
    return recipes.from_table({**LEAST, **changes}, "x.toml")


def test_a_recipe_of_two_lines_has_the_defaults_that_are_written_down() -> None:
    assert built() == Recipe("x", "fer_residual")


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_keys_is_as_good_as_none(table: str) -> None:
    assert built(**{table: {}}) == built()


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_of_a_table_is_named_with_its_table(table: str) -> None:
    with pytest.raises(UsageError, match=rf"x\.toml, {table}.*'colour'"):
        built(**{table: {"colour": 1}})


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("labels", "ferplus_share", 0.25),
        ("labels", "saliency_indicators", ("kl",)),
        ("augmentation", "flip", False),
        ("augmentation", "mixup", 0.4),
        ("schedule", "sizes", (32, 48)),
        ("schedule", "precision", "bf16"),
        ("schedule", "ema_warmup", True),
        ("distillation", "teachers", ("a.safetensors", "b.safetensors")),
        ("distillation", "live", False),
        ("noise", "kinds", ("blur", "jpeg")),
        ("finetuning", "body_rate", 0.1),
    ],
)
def test_a_key_ends_where_it_says_and_nowhere_else(table: str, key: str, value: object) -> None:
    given_ = list(value) if isinstance(value, tuple) else value
    expected = dataclasses.replace(getattr(Recipe("x", "y"), table), **{key: value})
    assert built(**{table: {key: given_}}) == dataclasses.replace(built(), **{table: expected})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": {"share": 0.5}}, r"share is 0.5 of kinds \[\]; expected 0 to 1"),
        ({"noise": {"share": 1.5, "kinds": ["blur"]}}, "share is 1.5"),
        ({"noise": {"share": -0.1, "kinds": ["blur"]}}, "share is -0.1"),
        ({"noise": {"kinds": ["snow"]}}, "expected kinds among gaussian"),
        ({"noise": {"schedule": "late"}}, "a schedule mixed or curriculum"),
        ({"noise": {"steps": 0}}, f"steps 1 to {STEPS}"),
        ({"noise": {"steps": STEPS + 1}}, f"steps 1 to {STEPS}"),
        ({"distillation": {"consensus": 1.1}}, "consensus is 1.1, expected 0 to 1"),
        ({"distillation": {"consensus": -0.1}}, "consensus is -0.1, expected 0 to 1"),
        ({"labels": {"balance": -0.1}}, "balance is -0.1, expected 0 to 1"),
        ({"labels": {"balance": 0.5}, "task": "smile-intensity"}, "balance is for classes.*smile-intensity"),
        ({"schedule": {"sizes": []}}, r"sizes is \[\], expected sides of 8 to 48"),
        ({"schedule": {"sizes": [7, 48]}}, r"sizes is \[7, 48\], expected sides of 8 to 48"),
        ({"schedule": {"sizes": [96, 48]}}, r"sizes is \[96, 48\], expected sides of 8 to 48"),
        ({"schedule": {"sizes": [48]}, "arguments": {"side": 96}}, "expected 96 at its end"),
        ({"schedule": {"seed": -1}}, "seed is -1, expected 0 to 4294967295"),
        ({"schedule": {"seed": 2**32}}, "seed is 4294967296, expected 0 to"),
        ({"beside": {"saliency": 0}}, r"weights are \[0.*\], expected numbers above 0"),
        ({"beside": {"saliency": "much"}}, "beside.*'much', expected a number"),
        ({"task": 7}, "task is 7, expected text"),
        ({"arguments": []}, "arguments.*expected a table"),
    ],
)
def test_what_no_run_can_mean_is_refused_with_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        built(**changes)
    assert str(refusal.value).startswith("x.toml") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", sorted(NOISES))
def test_every_kind_of_noise_can_be_trained_under(kind: str) -> None:
    assert built(noise={"share": 0.5, "kinds": [kind]}).noise.kinds == (kind,)


@given(st.lists(st.integers(8, 48), min_size=1, max_size=5), st.integers(1, 60))
def test_sizes_come_in_their_order_each_for_about_its_share_and_the_last_at_the_end(
    sizes: list[int], epochs: int
) -> None:
    places = list(range(len(sizes)))  # the sizes by their place, so that equal ones are told apart
    schedule = Schedule(epochs=epochs, sizes=tuple(places))
    seen = [schedule.size(epoch) for epoch in range(epochs)]
    assert seen == sorted(seen) and seen[0] == 0
    if epochs >= len(sizes):
        counts = Counter(seen)
        assert set(counts) == set(places)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_an_epoch_after_the_last_keeps_the_last_size() -> None:
    assert Schedule(epochs=4, sizes=(24, 48)).size(9) == 48


def test_a_seed_changes_the_seed_and_the_name_alone() -> None:
    recipe = built(schedule={"epochs": 3})
    again = recipes.seeded(recipe, 7)
    assert (again.name, again.schedule.seed) == ("x-seed7", 7)
    assert dataclasses.replace(again, name="x", schedule=recipe.schedule) == recipe


@pytest.mark.parametrize("name", ["none-such", "x" * 300, "none-such.toml"])
def test_a_recipe_that_is_not_there_lists_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"not found; there are: .*fer-base.*\. A path must end in \.toml\."):
        recipes.load(name)


def test_a_path_is_read_from_where_it_points(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\narchitecture = "fer_residual"\n[schedule]\nepochs = 3\n')
    assert recipes.load(str(path)) == Recipe("mine", "fer_residual", schedule=Schedule(epochs=3))
