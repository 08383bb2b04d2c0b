"""Which operators and layers of a network become integer: found by running it, not from a list.

An optional kind of operator becomes integer when the engine then executes fewer operators and the outputs lose little.
For mixed precision the layers whose rounding disturbs the outputs most, for what they compute, go back to float until
the outputs agree (the greedy search by sensitivity of Cai et al., ZeroQ, 2020, with noise at the outputs as measure).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

IMAGES = 64
# An operator that takes more from the outputs' signal-to-noise ratio is not worth the conversions it saves.
_MAX_LOSS_DB = 3.0
# More faces on which both models must agree than the gate asks for, as these are the faces that calibrated.
_ENOUGH_AGREEMENT = 0.993
_MAX_FLOAT_LAYERS = 0.5
_MAX_DB = 99.0


@dataclass(frozen=True)
class Choice:
    """Choice of what becomes integer: kinds of operators beside the convolutions, and convolutions that stay float."""

    operators: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """Result of one choice on the images: raw outputs (n, labels), and how many operators the engine executes."""

    outputs: NDArray[np.float32] = field(repr=False)
    executed: int


@dataclass(frozen=True)
class Network:
    """A network to be decided on. `layers` maps each convolution to its multiplications for one face.

    `attempt` quantizes by a choice and runs that many images; `reference` (n, labels) is what float says of all.
    `required` are those of `operators` that become integer whatever measuring finds.
    """

    operators: tuple[str, ...]
    layers: dict[str, int]
    reference: NDArray[np.float32] = field(repr=False)
    attempt: Callable[[Choice, int], Attempt]
    required: tuple[str, ...] = ()


def choose_operators(network: Network) -> Choice:
    """The kinds of operators that become integer."""
    choice = Choice(network.required)
    further = [kind for kind in network.operators if kind not in network.required]
    if not further:
        return choice
    glance = network.reference[:IMAGES]
    before = network.attempt(choice, IMAGES)
    for kind in further:
        wider = replace(choice, operators=(*choice.operators, kind))
        try:
            after = network.attempt(wider, IMAGES)
        except Exception:  # a library that cannot make or run this kind as integers, whatever it says of it
            continue
        loss = snr_db(before.outputs, glance) - snr_db(after.outputs, glance)
        pays = after.executed < before.executed and loss <= _MAX_LOSS_DB
        if pays or (after.executed == before.executed and loss <= 0):
            choice, before = wider, after
    return choice


def choose_float_layers(network: Network, choice: Choice, *, leading: bool = False) -> Choice:
    """`choice` with the layers that must stay float for the outputs to agree; at most half of them.

    Those that disturb the outputs most come first, or with `leading` the first of the network: what they round, every
    layer behind them passes on, and they hold few of the weights.
    """
    if _agreement(network.attempt(choice, len(network.reference)).outputs, network.reference) >= _ENOUGH_AGREEMENT:
        return choice
    order = list(network.layers)
    ranked = (order if leading else _most_disturbing(network, choice))[: int(_MAX_FLOAT_LAYERS * len(order))]
    mixed = choice
    for count in _counts(len(ranked)):
        mixed = replace(choice, float_layers=tuple(sorted(ranked[:count], key=order.index)))
        outputs = network.attempt(mixed, len(network.reference)).outputs
        if _agreement(outputs, network.reference) >= _ENOUGH_AGREEMENT:
            break
    return mixed


def _most_disturbing(network: Network, choice: Choice) -> list[str]:
    """The layers whose rounding disturbs the outputs, by how much each does for what it computes."""
    glance = network.reference[:IMAGES]
    noise = _noise(network.attempt(choice, IMAGES).outputs, glance)
    relief = {}
    for layer in tqdm(network.layers, desc="sensitivity", unit=" layers", leave=False, delay=2):
        alone = network.attempt(replace(choice, float_layers=(layer,)), IMAGES)
        relief[layer] = noise - _noise(alone.outputs, glance)
    ranked = sorted(relief, key=lambda layer: relief[layer] / network.layers[layer], reverse=True)
    return [layer for layer in ranked if relief[layer] > 0]


def _counts(most: int) -> Sequence[int]:
    """How many layers to try: all small numbers, then in growing steps, and at last `most`."""
    counts, count = [], 1
    while count < most:
        counts.append(count)
        count += max(1, count // 4)
    return [*counts, most] if most else []


def _noise(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(((outputs.astype(np.float64) - reference) ** 2).mean())


def _agreement(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Top-1 agreement; for a single output, one minus the noise in units of the signal."""
    if outputs.shape[1] == 1:
        return 1 - _noise(outputs, reference) / max(float(reference.var()), 1e-12)
    return float((outputs.argmax(axis=1) == reference.argmax(axis=1)).mean())


def snr_db(values: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Signal-to-noise ratio of values against their reference, in decibels, within -99 and 99."""
    signal = float((reference.astype(np.float64) ** 2).sum())
    noise = float(((values.astype(np.float64) - reference) ** 2).sum())
    return decibels(signal, noise)


def decibels(signal: float, noise: float) -> float:
    """A ratio of powers in decibels, within -99 and 99."""
    if not math.isfinite(noise):
        return -_MAX_DB
    if noise <= signal * 10 ** (-_MAX_DB / 10):
        return _MAX_DB
    return max(10 * math.log10(signal / noise), -_MAX_DB) if signal > 0 else -_MAX_DB
