"""Which recipes a search tries for a target, in which order, and what each makes."""

from itertools import chain

import pytest

from fer_edge.errors import UsageError

from quantize.recipes import CHOICES, PIXELS, TARGETS, Recipe, recipes_for

pytestmark = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def test_the_usual_search_begins_with_what_takes_seconds_and_ends_with_half_precision(target) -> None:
    quick, mixed, trained, half = recipes_for(target, "default")
    assert quick and not any(recipe.needs_faces for recipe in quick)
    assert all(recipe.mixed for recipe in mixed)
    assert all(recipe.needs_faces for recipe in trained)
    assert {recipe.precision for recipe in half} == {"fp16"}
    assert {recipe.precision for recipe in chain(quick, mixed, trained)} == {"int8"}


def test_the_whole_search_holds_the_usual_one(target) -> None:
    usual = {recipe.name for rung in recipes_for(target, "default") for recipe in rung}
    every = [recipe.name for rung in recipes_for(target, "all") for recipe in rung]
    assert usual <= set(every)
    assert len(every) == len(set(every))


def test_every_recipe_has_values_that_are_known(target) -> None:
    for recipe in chain(*recipes_for(target, "all")):
        for key, choices in CHOICES.items():
            assert getattr(recipe, key) in choices


def test_the_first_onnx_recipe_has_the_activations_the_target_likes(target) -> None:
    first = next(recipe for recipe in chain(*recipes_for(target, "default")) if recipe.suffix == "onnx")
    assert first.activations == target.activations


def test_recipes_are_taken_by_name_once_and_in_the_order_given(target) -> None:
    names = [recipe.name for recipe in chain(*recipes_for(target, "all"))][:3]
    (rung,) = recipes_for(target, f"{names[2]}, {names[0]},{names[2]}")
    assert [recipe.name for recipe in rung] == [names[2], names[0]]


def test_an_unknown_recipe_is_named_with_those_there_are(target) -> None:
    with pytest.raises(UsageError, match=rf"recipe 'magic' is unknown for {target.name}; there are: default, all, "):
        recipes_for(target, "magic")


@pytest.mark.parametrize(
    ("backend", "io", "suffix", "variant"),
    [
        ("onnxruntime", PIXELS, "onnx", "int8"),
        ("ai-edge-quantizer", "float", "tflite", "int8-float"),
        ("ai-edge-quantizer", "full-integer", "tflite", "int8-full-integer"),
        ("tflite-fp16", PIXELS, "tflite", "fp16"),
    ],
)
def test_the_name_of_a_file_comes_of_its_recipe(target, backend: str, io: str, suffix: str, variant: str) -> None:
    recipe = Recipe(name="x", backend=backend, io=io)
    assert (recipe.suffix, recipe.variant) == (suffix, variant)


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, False),
        ({"ranges": "minmax"}, False),
        ({"ranges": "entropy"}, True),
        ({"equalize": True}, True),
        ({"mixed": True}, True),
        ({"bias_correction": "fast"}, True),
        ({"backend": "nncf"}, True),
        ({"backend": "tflite-qat"}, True),
        ({"backend": "ai-edge-quantizer", "bias_correction": "fast"}, False),
    ],
)
def test_a_calibration_cache_is_enough_for_ranges_alone(target, changes: dict, needs: bool) -> None:
    assert Recipe(**{"name": "x", "backend": "onnxruntime", **changes}).needs_faces is needs
