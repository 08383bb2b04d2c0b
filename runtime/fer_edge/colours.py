"""Colours of names: the same in pictures, on pages and in the timeline, and different for all names of one model."""

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache

Colour = tuple[int, int, int]
"""Blue, green, red, each 0 to 255."""

# Okabe and Ito's palette (2008), which colour-blind people can tell apart, for the words that data sets use.
_ANGER, _CONTEMPT, _DISGUST, _FEAR = (0, 94, 213), (0, 159, 230), (115, 158, 0), (167, 121, 204)
_HAPPINESS, _NEUTRAL, _SADNESS, _SURPRISE = (66, 228, 240), (205, 205, 205), (178, 114, 0), (233, 180, 86)
_KNOWN: dict[str, Colour] = {
    **{"anger": _ANGER, "angry": _ANGER},
    **{"contempt": _CONTEMPT, "contemptuous": _CONTEMPT},
    **{"disgust": _DISGUST, "disgusted": _DISGUST},
    **{"fear": _FEAR, "fearful": _FEAR, "afraid": _FEAR},
    **{"happiness": _HAPPINESS, "happy": _HAPPINESS, "joy": _HAPPINESS},
    **{"neutral": _NEUTRAL, "none": _NEUTRAL},
    **{"sadness": _SADNESS, "sad": _SADNESS},
    **{"surprise": _SURPRISE, "surprised": _SURPRISE},
}
_DISTINCT = tuple(dict.fromkeys(_KNOWN.values()))
_HUES, _SHADES = 24, ((0.5, 0.97), (0.85, 0.85), (0.5, 0.62))  # saturation and value in HSV
# The colours of a terminal nearest to those above, and all there are.
_TERMINAL = {_ANGER: 31, _CONTEMPT: 33, _DISGUST: 32, _FEAR: 35, _HAPPINESS: 93, _NEUTRAL: 39, _SADNESS: 34}
_TERMINAL |= {_SURPRISE: 36}
_TERMINAL_ALL = (31, 93, 34, 32, 35, 36, 33, 96, 95, 92, 91, 94, 97)


def colour_of(name: str, names: Sequence[str] = ()) -> Colour:
    """The colour of a name among the `names` of its model; a neutral grey for one that is not among them."""
    return _colours(tuple(names) or (name,)).get(name, _NEUTRAL)


def css_colour(name: str, names: Sequence[str] = ()) -> str:
    """`colour_of` as pages write it."""
    blue, green, red = colour_of(name, names)
    return f"#{red:02x}{green:02x}{blue:02x}"


def terminal_colour(name: str, names: Sequence[str] = ()) -> int:
    """The number of an ANSI escape sequence (ECMA-48, SGR) for a name among `names`; after thirteen they come again."""
    return _terminal(tuple(names) or (name,)).get(name, _TERMINAL[_NEUTRAL])


@lru_cache(maxsize=16)
def _terminal(names: tuple[str, ...]) -> dict[str, int]:
    known = {name: _KNOWN[name.lower()] for name in reversed(names) if name.lower() in _KNOWN}
    first = {colour: name for name, colour in known.items()}
    chosen = {name: _TERMINAL[colour] for colour, name in first.items()}
    free = [code for code in _TERMINAL_ALL if code not in chosen.values()]
    others = [name for name in names if name not in chosen]
    return chosen | {name: free[place % len(free)] for place, name in enumerate(others)}


@lru_cache(maxsize=16)
def _colours(names: tuple[str, ...]) -> dict[str, Colour]:
    """Colours of all names. Words that are known have theirs; of several that mean the same, the first one has."""
    chosen: dict[str, Colour] = {}
    for name in names:
        known = _KNOWN.get(name.lower())
        if known is not None and known not in chosen.values():
            chosen[name] = known
    taken = [*chosen.values(), _NEUTRAL]
    free = _farthest_first([one for one in _DISTINCT if one not in taken], taken)
    free += _farthest_first(_candidates(), [*taken, *free])
    others = [name for name in dict.fromkeys(names) if name not in chosen]
    return chosen | {name: free[place % len(free)] for place, name in enumerate(others)}


def _candidates() -> list[Colour]:
    """Colours that show on white and on black."""
    found = []
    for saturation, value in _SHADES:
        for hue in range(_HUES):
            red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue / _HUES, saturation, value))
            found.append((blue, green, red))
    return found


def _farthest_first(free: list[Colour], taken: Sequence[Colour]) -> list[Colour]:
    """The `free` colours, each as far as may be from those `taken` and those before it."""
    places = {colour: _lab(colour) for colour in free}
    distance = {one: min(math.dist(places[one], _lab(other)) for other in taken) for one in free}
    ordered: list[Colour] = []
    while distance:
        best = max(distance, key=distance.__getitem__)
        ordered.append(best)
        del distance[best]
        for one in distance:
            distance[one] = min(distance[one], math.dist(places[one], places[best]))
    return ordered


def _lab(colour: Colour) -> tuple[float, float, float]:
    """The colour in CIELAB, where distances are about those people see."""
    blue, green, red = (part / 255 for part in colour)
    red, green, blue = (((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in (red, green, blue))
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
