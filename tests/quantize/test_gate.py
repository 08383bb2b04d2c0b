"""The gate tells loss from luck: pass, fail, or too few faces, as data that names limit, figure and interval."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces, ValuedFaces

from quantize.gate import Limits, Miss, Verdict, can_pass, judge, limits_for, quality_misses
from quantize.intervals import Interval
from quantize.losses import Loss
from quantize.measure import Measurements, score
from quantize.qdq_graph import ConvCount
from quantize.recipes import TARGETS
from quantize.report import misses_text, verdict_text

X86, PI5 = TARGETS["x86"], TARGETS["armv8.2-dot"]
CLASSES = ("a", "b", "c")
USUAL = Limits()


def truth_of(n: int) -> LabelledFaces:
    return LabelledFaces(np.zeros((n, 1, 1), np.uint8), np.arange(n) % 3, CLASSES, "FER2013", "PublicTest")


def named(classes: np.ndarray) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[classes % 3]


def measured(outputs: np.ndarray, float_outputs: np.ndarray, truth, **changes: object) -> Measurements:
    kind = "values" if isinstance(truth, ValuedFaces) else "classes"
    known = Measurements(
        precision="int8",
        graph_sha256="0" * 64,
        size_bytes=300,
        weight_bytes=250,
        convs=ConvCount(15, 15),
        score=score(outputs, float_outputs, truth, kind),
        is_correlated=True,
        instructions=None,
        outputs=outputs,
        times_ms=np.full(150, 0.4),
    )
    return replace(known, **changes)


def reference(outputs: np.ndarray, truth, **changes: object) -> Measurements:
    fields = {"precision": "fp32", "weight_bytes": 1000, "convs": ConvCount(15, 0), "times_ms": np.full(150, 1.0)}
    return measured(outputs, outputs, truth, **{**fields, **changes})


def judged(n: int, lost: int, gained: int = 0, limits: Limits = USUAL, **changes: object) -> Verdict:
    """A float model right on two faces of three, and INT8 that loses some of these and gains some of the others."""
    truth = truth_of(n)
    float_classes = truth.labels + (np.arange(n) % 3 == 2)
    int8_classes = float_classes.copy()
    right, wrong = np.flatnonzero(float_classes % 3 == truth.labels), np.flatnonzero(float_classes % 3 != truth.labels)
    int8_classes[right[:lost]] += 1
    int8_classes[wrong[:gained]] = truth.labels[wrong[:gained]]
    first, second = named(float_classes), named(int8_classes)
    return judge(measured(second, first, truth, **changes), reference(first, truth), truth, limits, X86)


def test_a_model_that_loses_nothing_on_many_faces_passes() -> None:
    assert judged(3589, lost=16, gained=11).passed


def test_a_model_that_loses_much_on_many_faces_fails_and_every_limit_is_named() -> None:
    verdict = judged(3589, lost=120)
    assert verdict.failed
    assert {miss.name for miss in verdict.misses if miss.decided} == {"agreement", "accuracy drop", "macro-F1 drop"}
    drop = next(miss for miss in verdict.misses if miss.name == "accuracy drop")
    assert (drop.limit, drop.unit) == (pytest.approx(0.3), "points")
    assert drop.measured == pytest.approx(100 * 120 / 3589)
    assert drop.interval is not None
    assert 0.3 < drop.interval.low < drop.measured < drop.interval.high


@pytest.mark.parametrize("lost", [0, 1])
def test_few_faces_decide_nothing_and_the_verdict_says_how_many_would(lost: int) -> None:
    verdict = judged(33, lost)
    assert not verdict.passed
    assert not verdict.failed
    assert verdict.acceptable is (lost == 0)
    assert verdict.faces is not None
    assert 500 < verdict.faces < 100_000
    assert verdict_text(verdict).startswith("too few faces: agreement ")
    assert f"about {verdict.faces:,} faces would tell" in misses_text(verdict)


def test_a_few_faces_are_enough_where_the_loss_is_gross() -> None:
    assert judged(33, lost=20).failed


def test_the_number_of_faces_it_names_decides() -> None:
    needed = judged(300, lost=1, gained=1).faces
    assert needed is not None
    scaled = round(needed / 300)
    assert judged(300 * (scaled + 1), lost=scaled + 1, gained=scaled + 1).passed
    assert not judged(300 * (scaled // 2), lost=scaled // 2, gained=scaled // 2).passed


@pytest.mark.parametrize(
    ("limits", "enough"),
    [(USUAL, 637), (limits_for(50), 146), (limits_for(1.0, 50), 292)],
    ids=["accuracy decides", "agreement decides", "a wider limit needs fewer"],
)
def test_faces_that_could_not_prove_a_perfect_copy_are_known(limits: Limits, enough: int) -> None:
    """The gate itself agrees: of fewer faces not even a copy passes."""
    assert can_pass(enough, limits)
    assert not can_pass(enough - 1, limits)
    quality = ("agreement", "accuracy drop")
    for n in (enough - 1, enough):
        open_ones = [miss for miss in judged(n, 0, limits=limits).misses if miss.name in quality]
        assert bool(open_ones) == (n < enough)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight_bytes": 410}, "size of the weights to float's 0.41 above 0.35"),
        ({"convs": ConvCount(15, 7)}, "integer convolutions 46.67% below 50.00%"),
        ({"times_ms": np.full(150, 1.07)}, "time to float's on this machine 1.07 (1.07 to 1.07) above 1.00"),
    ],
)
def test_a_missed_limit_of_form_or_speed_is_named_with_its_figure(change: dict, reason: str) -> None:
    verdict = judged(3589, 0, **change)
    assert verdict.failed
    assert verdict_text(verdict) == f"fail: {reason}"


def test_slower_within_noise_is_not_slower() -> None:
    noisy = np.random.default_rng(0).normal(1.0, 0.2, 150)
    assert judged(3589, 0, times_ms=noisy).passed


def test_for_an_arm_target_instructions_are_judged_and_time_here_is_not() -> None:
    truth = truth_of(3589)
    outputs = named(truth.labels)
    float_model = reference(outputs, truth, instructions=100)
    slow = measured(outputs, outputs, truth, instructions=90, times_ms=np.full(150, 4.0))
    assert judge(slow, float_model, truth, Limits(), PI5).passed
    (miss,) = judge(replace(slow, instructions=120), float_model, truth, Limits(), PI5).misses
    assert (miss.name, miss.measured) == ("instructions to float's on cortex-a76", 1.2)


def test_what_was_not_measured_is_said() -> None:
    truth = truth_of(3589)
    outputs = named(truth.labels)
    verdict = judge(measured(outputs, outputs, truth), reference(outputs, truth), truth, Limits(), PI5)
    assert verdict_text(verdict) == "pass; speed on cortex-a76 not measured"


def test_wider_limits_let_more_through() -> None:
    assert judged(3589, lost=25).misses
    assert judged(3589, lost=25, limits=limits_for(1.0, 97)).passed


def test_limits_are_given_in_points_and_percent() -> None:
    usual = Limits()
    assert limits_for(None) == usual
    assert limits_for(1.5) == replace(usual, max_accuracy_drop_points=1.5, max_macro_f1_drop_points=1.7)
    assert limits_for(None, 97) == replace(usual, min_agreement=0.97)
    assert limits_for(2, 95).min_agreement == 0.95


@pytest.mark.parametrize("value", [0, 100])
def test_limits_may_be_at_either_end(value: float) -> None:
    assert limits_for(value).max_accuracy_drop_points == value
    assert limits_for(None, value).min_agreement == value / 100


@pytest.mark.parametrize(
    ("drop", "agreement", "message"),
    [
        (-1, None, "--max-drop -1: expected points of accuracy, 0 to 100."),
        (101, 98, "--max-drop 101: expected points of accuracy, 0 to 100."),
        (None, 100.5, "--min-agreement 100.5: expected a percentage of the faces, 0 to 100."),
        (0.3, -0.1, "--min-agreement -0.1: expected a percentage of the faces, 0 to 100."),
    ],
)
def test_senseless_limits_are_refused_by_the_name_of_their_flag(drop, agreement, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        limits_for(drop, agreement)
    assert str(refused.value) == message


def test_without_labelled_faces_only_a_loose_floor_is_held() -> None:
    outputs = named(np.arange(64))
    float_model = reference(outputs, None)
    near = measured(outputs, outputs, None)
    assert verdict_text(judge(near, float_model, None, Limits(), X86)) == "pass; accuracy not measured"
    broken = replace(near, score=replace(near.score, agreement=0.7))
    for bad in (
        broken,
        replace(near, is_correlated=False),
        replace(near, score=replace(near.score, agreement=math.nan)),
    ):
        assert judge(bad, float_model, None, Limits(), X86).failed


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (0.01, True), (0.5, False)])
def test_a_task_of_values_is_held_to_its_concordance(shift: float, passes: bool) -> None:
    values = np.linspace(0, 1, 2000, dtype=np.float32)[:, None]
    truth = ValuedFaces(np.zeros((2000, 1, 1), np.uint8), values, ("x",), "drawn", "all")
    candidate = measured(values + np.float32(shift), values, truth)
    assert judge(candidate, reference(values, truth), truth, Limits(), X86).passed is passes


def test_half_precision_is_held_to_limits_of_its_own() -> None:
    half = {"precision": "fp16", "convs": ConvCount(15, 0)}
    assert judged(3589, 0, **half, weight_bytes=510, times_ms=np.full(150, 1.02)).passed
    assert judged(3589, 0, **half, weight_bytes=900).failed


# --- Each limit to the letter: what is on it passes, what a miss says ---------------------------------------------

# Name of the loss, its limit and its allowance as fractions, and the miss's name, limit and unit.
QUALITY = [
    ("agreement", 0.02, 0.005, "agreement", 0.98, "fraction"),
    ("accuracy", 0.003, 0.003, "accuracy drop", 0.3, "points"),
    ("CCC", 0.003, 0.003, "CCC drop", 0.3, "points"),
    ("macro-F1", 0.005, 0.007, "macro-F1 drop", 0.5, "points"),
]
on_each_limit = pytest.mark.parametrize(("name", "limit", "allowance", "said", "limit_said", "unit"), QUALITY)


def misses_of(name: str, measured: float, low: float, high: float, decides: int = 500) -> tuple[Miss, ...]:
    """Of one loss on 100 faces, whose interval is nothing but its figure from `decides` faces on."""
    found = Interval(measured, low, high)
    at = lambda n: found if n < decides else Interval(measured, measured, measured)  # noqa: E731
    return quality_misses([Loss(name, found, at)], 100, USUAL)


@on_each_limit
def test_a_loss_on_its_limit_with_an_interval_within_the_allowance_passes(
    name, limit, allowance, said, limit_said, unit
) -> None:
    assert misses_of(name, limit, 0.0, limit + allowance) == ()
    assert misses_of(name, 0.0, 0.0, limit + allowance) == ()


@on_each_limit
@pytest.mark.parametrize("too_much", ["measured", "high"])
def test_a_loss_or_interval_beyond_leaves_it_open(
    name, limit, allowance, said, limit_said, unit, too_much: str
) -> None:
    measured, high = (limit + 1e-6, limit + allowance) if too_much == "measured" else (limit, limit + allowance + 1e-6)
    (miss,) = misses_of(name, measured, limit, high)
    assert not miss.decided, "its lower end is on the limit"
    assert (miss.name, miss.limit, miss.unit) == (said, pytest.approx(limit_said), unit)
    assert miss.faces is not None
    assert 500 <= miss.faces <= 506, "where more faces leave no doubt"
    assert miss.keeps == (too_much == "high")


@on_each_limit
def test_a_loss_beyond_its_limit_as_a_whole_fails_with_its_interval(
    name, limit, allowance, said, limit_said, unit
) -> None:
    low, measured, high = limit + 0.001, limit + 0.002, limit + 0.004
    (miss,) = misses_of(name, measured, low, high)
    assert miss.decided and miss.faces is None and not miss.keeps
    expected = (1 - measured, 1 - high, 1 - low) if unit == "fraction" else (100 * measured, 100 * low, 100 * high)
    assert (miss.measured, *vars(miss.interval).values()) == pytest.approx((expected[0], *expected))
    assert miss.at_least == (unit == "fraction")


def test_a_figure_that_is_no_number_fails() -> None:
    (miss,) = misses_of("accuracy", math.nan, math.nan, math.nan)
    assert miss.decided


def form_misses(**changes: object) -> tuple[Miss, ...]:
    return judged(3589, 0, **changes).misses


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"convs": ConvCount(15, 15)}, 0.35),
        ({"convs": ConvCount(15, 14)}, 0.5),
        ({"convs": ConvCount(15, 0), "precision": "fp16"}, 0.6),
    ],
    ids=["all integer", "some layers float", "half precision"],
)
def test_weights_may_be_of_a_size_that_goes_by_what_stayed_float(changes: dict, limit: float) -> None:
    assert form_misses(**changes, weight_bytes=round(1000 * limit)) == ()
    ratio = limit + 0.001
    (miss,) = form_misses(**changes, weight_bytes=round(1000 * ratio))
    assert miss == Miss("size of the weights to float's", limit, pytest.approx(ratio), "ratio")


def test_half_of_the_convolutions_must_be_integer() -> None:
    assert form_misses(convs=ConvCount(14, 7)) == ()
    (miss,) = form_misses(convs=ConvCount(14, 6))
    assert miss == Miss("integer convolutions", 0.5, pytest.approx(6 / 14), "fraction", at_least=True)
    assert form_misses(convs=ConvCount(14, 0), precision="fp16", weight_bytes=500) == ()


def test_a_float_model_without_weights_makes_any_size_too_much() -> None:
    truth = truth_of(3589)
    outputs = named(truth.labels)
    verdict = judge(measured(outputs, outputs, truth), reference(outputs, truth, weight_bytes=0), truth, USUAL, X86)
    assert verdict.misses[0].measured == 250


def test_what_the_golden_inputs_ask_is_on_its_limit() -> None:
    outputs = named(np.arange(64))
    float_model, near = reference(outputs, None), measured(outputs, outputs, None)
    on_limit = replace(near, score=replace(near.score, agreement=0.8))
    assert judge(on_limit, float_model, None, USUAL, X86).passed
    (miss,) = judge(replace(near, score=replace(near.score, agreement=0.79)), float_model, None, USUAL, X86).misses
    assert miss == Miss("agreement on golden inputs", 0.8, 0.79, "fraction", at_least=True)


@pytest.mark.parametrize(("precision", "limit"), [("int8", 1.0), ("fp16", 1.05)])
def test_time_is_judged_by_its_interval(precision: str, limit: float) -> None:
    form = {"precision": precision, "convs": ConvCount(15, 0 if precision == "fp16" else 15)}
    assert form_misses(**form, times_ms=np.full(150, limit)) == ()
    noisy = np.where(np.arange(150) < 70, limit, limit + 0.2)
    assert form_misses(**form, times_ms=noisy) == (), "the interval of the median begins on the limit"
    (miss,) = form_misses(**form, times_ms=np.full(150, limit + 0.01))
    slower = pytest.approx(limit + 0.01)
    assert (miss.name, miss.limit, miss.measured, miss.unit) == (
        "time to float's on this machine",
        limit,
        slower,
        "ratio",
    )
    assert miss.interval is not None
    assert miss.interval.low == slower


def test_instructions_have_no_interval_to_show() -> None:
    truth = truth_of(3589)
    outputs = named(truth.labels)
    float_model = reference(outputs, truth, instructions=100)
    more = measured(outputs, outputs, truth, instructions=120)
    (miss,) = judge(more, float_model, truth, USUAL, PI5).misses
    assert miss == Miss("instructions to float's on cortex-a76", 1.0, 1.2, "ratio")
