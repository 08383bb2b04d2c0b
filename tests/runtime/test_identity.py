"""Which board this is: distinct for distinct boards, the same after a restart, and confidential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.identity import board_id, board_name, distinct_slug, machine_id
from fer_edge.sinks.mqtt import discovery
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.sinks.outbox import client_id

MACHINE = "0123456789abcdef0123456789abcdef"


def board(folder, machine=MACHINE, serial=""):
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/machine-id").write_text(f"{machine}\n")
    if serial:
        (folder / "proc/device-tree").mkdir(parents=True)
        (folder / "proc/device-tree/serial-number").write_text(f"{serial}\0")
    return folder


def test_a_board_is_the_same_after_a_restart(tmp_path):
    root = board(tmp_path)
    assert board_id(root, "door") == board_id(root, "door")
    assert board_id() == board_id() and board_name().endswith(board_id()[:8])


def test_boards_differ_by_machine_id_serial_number_or_host_name(tmp_path):
    """Memory cards copied from one image share the first, and often the last."""
    roots = [
        *(board(tmp_path / "a"), board(tmp_path / "b", machine=MACHINE[::-1])),
        *(board(tmp_path / "c", serial="10000000a1b2c3d4"), board(tmp_path / "d", serial="10000000a1b2c3d5")),
    ]
    found = {board_id(root, name) for root in roots for name in ("raspberrypi", "door")}
    assert len(found) == 8


def test_the_machine_id_is_no_part_of_what_is_shown(tmp_path):
    root = board(tmp_path, serial="10000000a1b2c3d4")
    for part in (MACHINE, MACHINE[:8], MACHINE[-8:], "a1b2c3d4"):
        assert part not in board_id(root, "door") and part not in board_name(root, "door")


@pytest.mark.parametrize("text", ["", "uninitialized", "0" * 32, "xyz", "0123"])
def test_a_machine_without_an_identifier_still_has_a_name(tmp_path, text):
    root = board(tmp_path, machine=text)
    assert machine_id(root) == ""
    assert board_id(root, "door") != board_id(root, "window")
    assert board_name(root, "door").startswith("door-")


_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


@given(_names, _names)
def test_distinct_host_names_in_any_script_are_distinct_boards(one, other):
    first, second = board_name(host_name=one), board_name(host_name=other)
    assert (first == second) == (one == other)
    for name in (first, second):
        assert name.isascii() and name.replace("-", "").isalnum() and len(name) <= 40


@pytest.mark.parametrize(
    "names",
    [("a/b", "a_b", "a-b", "a b"), ("tür", "tor", "t_r"), ("дверь", "окно", "____"), ("ドア", "窓"), ("Door", "door")],
)
def test_topics_that_look_alike_are_announced_apart(names):
    announced = [topic for name in names for topic in discovery(Topics(name))]
    unique = [config["unique_id"] for name in names for config in discovery(Topics(name)).values()]
    devices = {config["device"]["identifiers"][0] for name in names for config in discovery(Topics(name)).values()}
    assert len(set(announced)) == len(set(unique)) == 4 * len(names) and len(devices) == len(names)


@given(_names, _names)
def test_whatever_home_assistant_is_told_is_of_letters_it_takes_and_distinct(one, other):
    assert (distinct_slug(one) == distinct_slug(other)) == (one == other)
    assert distinct_slug(one).isascii() and distinct_slug(one).replace("_", "").isalnum()


def test_every_broker_takes_the_clients_identifier():
    found = {client_id(board, topic) for board in ("a", "b") for topic in ("x", "y")}
    assert len(found) == 4
    assert all(len(one) <= 23 and one.isascii() and one.isalnum() for one in found)
