"""Turning good inputs into bad ones: bytes, text and JSON. The same `random` gives the same input."""

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

# Values at which counts, lengths and offsets go wrong.
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
# What people, editors and attackers put into text.
TOKENS: tuple[bytes, ...] = (
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\t", b"\x1b[31m", b"\xe2\x80\xae"),
    *(b"nan", b"inf", b"-inf", b"1e999", b"1e-320", b"-1", b"0", b"9" * 30, b"9" * 5000, b"1" + b"0" * 400),
    *("²".encode(), "٣".encode(), "é".encode(), "é".encode("latin-1"), "中性".encode(), "\U0001f600".encode()),
    *(b"true", b"false", b"null", b"~", b"~/x", b"/dev/zero", b"/dev/stdin", b"..", b"=1+1", b"%00", b"%ff"),
    *(b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b",", b";", b"=", b"[", b"]", b"{", b"}", b"(", b"#", b"\n"),
    *(b"[" * 1200, b"{" * 200, b'{"a":' * 300, b"a." * 2000, b"x" * 140_000),
)
# What a key of JSON or TOML may hold in place of what is expected.
VALUES: tuple[Any, ...] = (
    *(
        float("nan"),
        float("inf"),
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**30,
        0.5,
        1e308,
        1e-320,
        -0.0,
        "",
        " ",
        "x",
        "x" * 5000,
        "²",
    ),
    *("\x00", "\ud800", "\x1b[31m", "‮x", "~", [], {}, [[]], ["x"], [1, 2], {"x": 1}, ["x"] * 2000, "NaN"),
)


def mutated(data: bytes, random: Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """`data` with one to six things wrong with it."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        _mutate(found, random, tokens)
    return bytes(found)


def _mutate(data: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    place = _place(len(data), random)
    match random.randrange(9):
        case 0:
            data[place : place + 1] = bytes([random.randrange(256)])
        case 1:
            data[place : place + 1] = bytes([data[place] ^ 1 << random.randrange(8)] if data[place:] else [])
        case 2:
            width = random.choice((2, 4, 4, 8))
            place -= place % width
            number = random.choice(_NUMBERS) % 2 ** (8 * width)
            data[place : place + width] = number.to_bytes(width, random.choice(("little", "big")))
        case 3:
            del data[place : place + random.choice((1, 2, 4, 16, 300))]
        case 4:
            length = random.choice((1, 4, 20, 500))
            data[place:place] = data[place : place + length] * random.choice((1, 2, 30))
        case 5:
            other = _place(len(data), random)
            data[place : place + 8] = data[other : other + 8]
        case 6:
            del data[place:]
        case _:
            token = random.choice(tokens)
            data[place : place + random.choice((0, 0, 1, len(token)))] = token


def _place(length: int, random: Random) -> int:
    """A position: as often in the first and last kilobyte, where files keep their structure, as anywhere."""
    start, end = random.choice(((0, length), (0, min(length, 1024)), (max(length - 1024, 0), length)))
    return random.randrange(start, end) if end > start else 0


def mutated_json(text: str, random: Random) -> bytes:
    """A JSON text with values of other types, keys lost, doubled or misspelt; sometimes with damaged bytes as well."""
    table = json.loads(text)
    for _ in range(random.choice((1, 1, 2, 4))):
        _mutate_table(table, random)
    data = json.dumps(table, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutated(data, random) if random.random() < 0.2 else data


def _mutate_table(table: Any, random: Random) -> None:
    """Change one value at some depth."""
    node = table
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = random.choice(keys)
        if not isinstance(node[key], dict | list) or random.random() < 0.3:
            break
        node = node[key]
    if isinstance(node, list) or random.random() < 0.7:
        node[key] = deepcopy(random.choice(VALUES))
    elif random.random() < 0.5:
        del node[key]
    else:
        node[f"{key}{random.choice(('', 's', '_', chr(0xD800)))}"] = deepcopy(random.choice(VALUES))
