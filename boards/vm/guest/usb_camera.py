"""A USB camera made of files: USB/IP spoken with the kernel's vhci_hcd, so that uvcvideo drives it as a real one.

    python3 usb_camera.py mjpeg|yuyv FOLDER     every file of FOLDER is one picture of 640x480, in the order of names

It stays plugged in until it ends. dummy_hcd cannot stand for it: it refuses isochronous transfers, and the kernel's UVC
gadget knows no others. This camera sends its pictures in bulk, which uvcvideo takes as well.
"""

import itertools
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ATTACH = Path("/sys/devices/platform/vhci_hcd.0/attach")
WIDTH_PX, HEIGHT_PX, INTERVAL = 640, 480, 2_000_000  # of 100 ns: five pictures a second
PAYLOAD = 16384  # one transfer of uvcvideo; its two bytes of header included
SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
STALL = -32
_YUY2 = bytes.fromhex("5955593200001000800000aa00389b71")
_HIGH_SPEED, _DEVICE_ID = 3, 0x10002


def _part(*words: int, of: str) -> bytes:
    """One descriptor, its length put before it."""
    body = struct.pack("<" + of, *words)
    return bytes([len(body) + 1]) + body


def _control_interface() -> bytes:
    camera = _part(0x24, 2, 1, 0x201, 0, 0, 0, 0, 0, 3, 0, 0, 0, of="BBBHBBHHHBBBB")
    output = _part(0x24, 3, 2, 0x101, 0, 1, 0, of="BBBHBBB")
    header = _part(0x24, 1, 0x100, 13 + len(camera + output), 48_000_000, 1, 1, of="BBHHIBB")
    return _part(4, 0, 0, 0, 0x0E, 1, 0, 0, of="BBBBBBBB") + header + camera + output


def _streaming_interface(compressed: bool) -> bytes:
    if compressed:
        form = _part(0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0, of="BBBBBBBBBB")
    else:
        form = bytes([27, 0x24, 4, 1, 1]) + _YUY2 + bytes([16, 1, 0, 0, 0, 0])
    size, rate = WIDTH_PX * HEIGHT_PX * 2, WIDTH_PX * HEIGHT_PX * 16 * 5
    frame = (0x24, 7 if compressed else 5, 1, 0, WIDTH_PX, HEIGHT_PX, rate, rate, size, INTERVAL, 1, INTERVAL)
    form += _part(*frame, of="BBBBHHIIIIBI")
    header = _part(0x24, 1, 1, 14 + len(form), 0x81, 0, 2, 0, 0, 0, 1, 0, of="BBBHBBBBBBBB")
    endpoint = _part(5, 0x81, 2, 512, 0, of="BBBHB")
    return _part(4, 1, 0, 1, 0x0E, 2, 0, 0, of="BBBBBBBB") + header + form + endpoint


def configuration(compressed: bool) -> bytes:
    """The configuration descriptor of a camera that gives MJPEG, or YUYV."""
    association = _part(0x0B, 0, 2, 0x0E, 3, 0, 0, of="BBBBBBB")
    body = association + _control_interface() + _streaming_interface(compressed)
    return _part(2, 9 + len(body), 2, 1, 0, 0x80, 250, of="BHBBBBB") + body


def payloads(pictures: list[bytes]) -> Iterator[bytes]:
    """Transfers without end: each picture cut to pieces, a bit of the header turning with every picture."""
    for number, picture in enumerate(itertools.cycle(pictures)):
        pieces = [picture[at : at + PAYLOAD - 2] for at in range(0, len(picture), PAYLOAD - 2)]
        for place, piece in enumerate(pieces, 1):
            yield bytes([2, 0x80 | number % 2 | (2 if place == len(pieces) else 0)]) + piece


class Camera:
    """The device's side of the line: one request is answered before the next is read."""

    def __init__(self, compressed: bool, pictures: list[bytes], *, paced: bool = True) -> None:
        self._configuration, self._paced = configuration(compressed), paced
        self._payloads, self._due_s = payloads(pictures), 0.0

    def serve(self, line: socket.socket) -> None:
        """Answer until the other side hangs up."""
        stream = line.makefile("rb")
        while len(head := stream.read(48)) == 48:
            kind, number, _, inwards, endpoint = struct.unpack(">5I", head[:20])
            if kind == UNLINK:  # what was asked for has been answered: nothing is ever kept waiting
                line.sendall(struct.pack(">5Ii24x", UNLINKED, number, 0, 0, 0, 0))
                continue
            length = struct.unpack(">i", head[24:28])[0]
            if not inwards:
                stream.read(length)
            answer = self._payload() if endpoint else self._control(head[40:48])
            status, data = (STALL, b"") if answer is None else (0, answer[:length] if inwards else b"")
            done = len(data) if inwards or status else length
            line.sendall(struct.pack(">5Iiiiii8x", SUBMITTED, number, 0, 0, 0, status, done, 0, 0, 0) + data)

    def _payload(self) -> bytes:
        payload = next(self._payloads)
        if self._paced and payload[1] & 2:
            time.sleep(max(0.0, self._due_s - time.monotonic()))
            self._due_s = time.monotonic() + INTERVAL / 1e7
        return payload

    def _control(self, setup: bytes) -> bytes | None:
        """The answer to a request of endpoint 0; None refuses it."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        if kind & 0x60:
            return self._class_request(request, value >> 8, index & 0xFF)
        if request == 6:
            return self._descriptor(value >> 8, value & 0xFF)
        return b"\x00\x00" if request == 0 else b""  # status; address, configuration, interface, halted endpoint

    def _descriptor(self, kind: int, number: int) -> bytes | None:
        if kind == 1:
            return _part(1, 0x200, 0xEF, 2, 1, 64, 0x1D6B, 0x102, 0x100, 1, 1, 0, 1, of="BHBBBBHHHBBBB")
        if kind == 2:
            return self._configuration
        if kind == 3:
            text = "camera of files".encode("utf-16-le") if number else b"\x09\x04"
            return bytes([len(text) + 2, 3]) + text
        return None

    @staticmethod
    def _class_request(request: int, selector: int, interface: int) -> bytes | None:
        """UVC's probe and commit: there is one format, size and rate, whatever is proposed."""
        if interface != 1 or selector not in (1, 2):
            return None
        if request == 0x85:
            return struct.pack("<H", 26)
        if request == 0x86:
            return b"\x03"
        return struct.pack("<HBBI5HII", 1, 1, 1, INTERVAL, 0, 0, 0, 0, 0, WIDTH_PX * HEIGHT_PX * 2, PAYLOAD)


def main(form: str, folder: str) -> None:
    """Plug the camera in and serve it."""
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    ours, kernels = socket.socketpair()
    ATTACH.write_text(f"0 {kernels.fileno()} {_DEVICE_ID} {_HIGH_SPEED}")
    kernels.close()
    Camera(form == "mjpeg", pictures).serve(ours)


if __name__ == "__main__":
    main(*sys.argv[1:])
