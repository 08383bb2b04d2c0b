"""The USB camera of virtual boards: its descriptors and its transfers, asked as the kernel's vhci_hcd asks."""

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from boards.vm.guest.usb_camera import PAYLOAD, STALL, Camera, configuration
from boards.vm.usb import write_camera

PICTURES = [bytes([value]) * (PAYLOAD + 100) for value in (1, 2)]


class Host:
    """The kernel's side of the line."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._number = line, 0

    def _send(self, kind: int, inwards: bool, endpoint: int, rest: bytes) -> None:
        self._number += 1
        self._line.sendall(struct.pack(">5I", kind, self._number, 0x10002, inwards, endpoint) + rest)

    def _receive(self) -> tuple[int, int, int, int]:
        kind, number, _, _, _, status, length = struct.unpack(">5Iii20x", self._line.recv(48, socket.MSG_WAITALL))
        return kind, number, status, length

    def read(self, endpoint: int, length: int, setup: bytes = bytes(8)) -> tuple[int, bytes]:
        """Ask for up to `length` bytes; return status and data."""
        self._send(1, True, endpoint, struct.pack(">Iiiii", 0, length, 0, 0, 0) + setup)
        kind, number, status, length = self._receive()
        assert (kind, number) == (3, self._number)
        return status, self._line.recv(length, socket.MSG_WAITALL) if length else b""

    def control(self, kind: int, request: int, value: int, index: int, length: int) -> tuple[int, bytes]:
        return self.read(0, length, struct.pack("<BBHHH", kind, request, value, index, length))

    def write(self, setup: bytes, data: bytes) -> tuple[int, int]:
        """Send data to endpoint 0; return status and the number of bytes taken."""
        self._send(1, False, 0, struct.pack(">Iiiii", 0, len(data), 0, 0, 0) + setup + data)
        return self._receive()[2:]

    def unlink(self) -> tuple[int, int]:
        """Take the last request back; return the kind of the answer and its status."""
        self._send(2, False, 0, struct.pack(">I24x", self._number))
        kind, _, status, _ = self._receive()
        return kind, status


@pytest.fixture
def host() -> Iterator[Host]:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=Camera(True, PICTURES, paced=False).serve, args=(theirs,), daemon=True)
    thread.start()
    yield Host(ours)
    ours.close()
    thread.join(5)
    assert not thread.is_alive()  # it ends when it is unplugged


@pytest.mark.parametrize(("compressed", "subtypes"), [(True, [6, 7]), (False, [4, 5])], ids=["mjpeg", "yuyv"])
def test_descriptors_fill_the_lengths_they_state(compressed: bool, subtypes: list[int]) -> None:
    whole = configuration(compressed)
    assert struct.unpack_from("<H", whole, 2)[0] == len(whole)
    parts, at = [], 0
    while at < len(whole):
        parts.append(whole[at : at + whole[at]])
        at += whole[at]
    assert at == len(whole)
    assert [part[0] for part in parts if part[1] == 4] == [9, 9]
    class_specific = [part for part in parts if part[1] == 0x24]
    assert [part[2] for part in class_specific] == [1, 2, 3, 1, *subtypes]
    for header, length_at, own in (
        (class_specific[0], 5, class_specific[:3]),
        (class_specific[3], 4, class_specific[3:]),
    ):
        assert struct.unpack_from("<H", header, length_at)[0] == sum(map(len, own))


def test_what_is_asked_for_is_cut_to_its_length(host: Host) -> None:
    status, start = host.control(0x80, 6, 0x200, 0, 9)
    assert (status, start) == (0, configuration(True)[:9])
    assert host.control(0x80, 6, 0x302, 0, 255)[1][2:].decode("utf-16-le") == "camera of files"


def test_a_descriptor_and_a_control_it_lacks_are_refused_and_the_next_request_is_answered(host: Host) -> None:
    assert host.control(0x80, 6, 0x600, 0, 10) == (STALL, b"")
    assert host.control(0xA1, 0x81, 0x200, 0x0100, 1) == (STALL, b"")
    assert len(host.control(0x80, 6, 0x100, 0, 64)[1]) == 18


def test_whatever_is_proposed_the_one_format_is_agreed_on(host: Host) -> None:
    assert host.write(struct.pack("<BBHHH", 0x21, 1, 0x100, 1, 26), bytes(26)) == (0, 26)
    agreed = host.control(0xA1, 0x81, 0x100, 1, 26)[1]
    assert agreed[2:4] == b"\x01\x01" and struct.unpack_from("<I", agreed, 22)[0] == PAYLOAD


def test_pictures_come_in_pieces_with_a_bit_that_turns(host: Host) -> None:
    pieces = [host.read(1, PAYLOAD)[1] for _ in range(6)]
    assert [piece[1] for piece in pieces] == [0x80, 0x82, 0x81, 0x83, 0x80, 0x82]
    assert pieces[0][2:] + pieces[1][2:] == PICTURES[0]
    assert pieces[2][2:] + pieces[3][2:] == PICTURES[1]


def test_a_request_taken_back_was_answered_before(host: Host) -> None:
    assert host.unlink() == (4, 0)


def test_pictures_are_kept_in_both_formats(tmp_path: Path) -> None:
    picture = np.full((480, 640, 3), (30, 120, 200), np.uint8)
    write_camera(tmp_path, [picture, picture])
    yuyv = np.frombuffer((tmp_path / "yuyv/001").read_bytes(), np.uint8).reshape(480, 640, 2)
    mjpeg = cv2.imdecode(np.frombuffer((tmp_path / "mjpeg/001").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    for seen in (cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUY2), mjpeg):
        assert np.abs(seen.astype(int) - picture).max() < 12
