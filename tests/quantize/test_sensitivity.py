"""The choice of what becomes integer: operators that pay, and the fewest layers left float for outputs to agree."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from quantize.sensitivity import Attempt, Choice, Network, choose_float_layers, choose_operators, decibels, snr_db

FACES, CLASSES = 1000, 7
REFERENCE = np.random.default_rng(0).normal(size=(FACES, CLASSES)).astype(np.float32)


@dataclass
class Drawn:
    """A network made of numbers: each integer kind or layer adds noise, and a kind spares operators.

    `noise` is the standard deviation that one kind or layer adds, `executed` how many operators run with a kind.
    """

    noise: dict[str, float]
    spared: dict[str, int] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    asked: list[Choice] = field(default_factory=list)

    def attempt(self, choice: Choice, count: int) -> Attempt:
        self.asked.append(choice)
        if set(choice.operators) & set(self.fails):
            raise RuntimeError("no such kernel")
        integer = [*choice.operators, *(name for name in self.noise if name.startswith("conv"))]
        variance = sum(self.noise.get(name, 0.0) ** 2 for name in integer if name not in choice.float_layers)
        drawn = np.random.default_rng(1).normal(size=REFERENCE.shape) * variance**0.5
        executed = 50 - sum(self.spared.get(kind, 0) for kind in choice.operators)
        return Attempt((REFERENCE + drawn).astype(np.float32)[:count], executed)

    def network(self, operators: tuple[str, ...] = (), cost: dict[str, int] | None = None) -> Network:
        layers = {name: (cost or {}).get(name, 1) for name in self.noise if name.startswith("conv")}
        return Network(operators, layers, REFERENCE, self.attempt)


def test_a_kind_that_spares_operators_at_little_loss_becomes_integer() -> None:
    drawn = Drawn({"conv0": 0.05, "Add": 0.01, "Mul": 0.5}, spared={"Add": 4, "Mul": 4})
    assert choose_operators(drawn.network(("Add", "Mul"))).operators == ("Add",), "Mul takes more than 3 dB"


def test_a_kind_that_spares_nothing_becomes_integer_only_where_it_loses_nothing() -> None:
    drawn = Drawn({"conv0": 0.05, "Add": 0.01, "Mul": 0.0})
    assert choose_operators(drawn.network(("Add", "Mul"))).operators == ("Mul",)


def test_a_kind_that_makes_more_operators_stays_float() -> None:
    drawn = Drawn({"conv0": 0.05, "Add": 0.0}, spared={"Add": -2})
    assert choose_operators(drawn.network(("Add",))).operators == ()


def test_a_kind_the_library_cannot_make_is_left_out_and_the_others_are_tried() -> None:
    drawn = Drawn({"conv0": 0.05, "Add": 0.0, "Mul": 0.0}, spared={"Mul": 1}, fails=("Add",))
    assert choose_operators(drawn.network(("Add", "Mul"))).operators == ("Mul",)


def test_without_optional_kinds_nothing_is_tried() -> None:
    drawn = Drawn({"conv0": 0.05})
    assert choose_operators(drawn.network()) == Choice()
    assert drawn.asked == []


def test_outputs_that_agree_need_no_float_layer() -> None:
    drawn, choice = Drawn({"conv0": 0.0001, "conv1": 0.0001}), Choice(("Add",))
    assert choose_float_layers(drawn.network(), choice) is choice
    assert len(drawn.asked) == 1


def test_the_layer_that_disturbs_most_stays_float_and_no_other() -> None:
    drawn = Drawn({f"conv{number}": 0.0005 for number in range(6)} | {"conv3": 0.2})
    assert choose_float_layers(drawn.network(), Choice(("Add",))) == Choice(("Add",), ("conv3",))


def test_of_layers_that_disturb_alike_the_cheaper_one_stays_float() -> None:
    """Disturbance is weighed against the multiplications that would run in float."""
    drawn = Drawn({"conv0": 0.1, "conv1": 0.101, "conv2": 0.0001, "conv3": 0.0001})
    choose_float_layers(drawn.network(cost={"conv1": 100}), Choice())
    assert drawn.asked[-2].float_layers == ("conv0",)


def test_leading_layers_stay_float_from_the_first_on_until_the_outputs_agree() -> None:
    drawn = Drawn({"conv0": 0.2, "conv1": 0.2, "conv2": 0.0001, "conv3": 0.0001, "conv4": 0.0001, "conv5": 0.0001})
    assert choose_float_layers(drawn.network(), Choice(), leading=True) == Choice((), ("conv0", "conv1"))
    assert [len(choice.float_layers) for choice in drawn.asked] == [0, 1, 2], "no layer is tried alone"
    never = Drawn({f"conv{number}": 0.5 for number in range(6)})
    assert choose_float_layers(never.network(), Choice(), leading=True).float_layers == ("conv0", "conv1", "conv2")


def test_at_most_half_of_the_layers_stay_float_in_the_order_of_the_network() -> None:
    drawn = Drawn({f"conv{number}": 0.5 + 0.1 * number for number in range(6)})
    choice = choose_float_layers(drawn.network(), Choice())
    assert choice.float_layers == ("conv3", "conv4", "conv5")


def test_a_layer_whose_float_form_helps_nothing_is_not_chosen() -> None:
    drawn = Drawn({"conv0": 0.5, "conv1": 0.0, "conv2": 0.0, "conv3": 0.0})
    assert choose_float_layers(drawn.network(), Choice()).float_layers == ("conv0",)


def test_a_network_of_one_output_is_judged_by_its_noise() -> None:
    values = REFERENCE[:, :1]

    def attempt(choice: Choice, count: int) -> Attempt:
        error = 0.0 if choice.float_layers else 0.5
        return Attempt((values + np.float32(error))[:count], 50)

    network = Network((), {"conv0": 1, "conv1": 1}, values, attempt)
    assert choose_float_layers(network, Choice()).float_layers != ()


def test_signal_to_noise_is_bounded_both_ways() -> None:
    ones = np.ones((4, 2), np.float32)
    assert snr_db(ones * 1.1, ones) == pytest.approx(20, abs=0.01)
    assert snr_db(ones, ones) == 99
    assert snr_db(ones * np.float32(1e9), ones) == -99
    assert snr_db(ones, np.zeros_like(ones)) == -99


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(100.0, 1.0, 20), (1.0, 100.0, -20), (1.0, 0.0, 99), (0.0, 0.0, 99), (0.0, 1.0, -99), (1.0, float("inf"), -99)],
)
def test_decibels_of_a_ratio_of_powers(signal: float, noise: float, expected: float) -> None:
    assert decibels(signal, noise) == pytest.approx(expected)
    assert decibels(1.0, float("nan")) == -99
