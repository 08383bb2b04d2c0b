"""A fake picamera2, because libcamera and its camera exist only on the board.

Names and signatures are those of the picamera2 manual and its source; what a test sets are the class attributes of
Picamera2. It shows one still scene, laid out in memory as libcamera does for the format asked for. Like the real one,
it belongs to one process at a time: a lock on the file `lock_path` stands in for the kernel's.
"""

import fcntl
import os
import time

import cv2
import numpy as np


class Picamera2:
    """One camera. `log` notes the calls in their order."""

    # Set by tests.
    attached = 1
    scene_rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    lock_path = os.environ.get("FAKE_PICAMERA2_LOCK", "")
    period_s = 0.01
    log: list[str] = []  # noqa: RUF012

    @staticmethod
    def global_camera_info() -> list:
        return [
            {"Model": "imx708", "Location": 2, "Rotation": 180, "Id": f"/i2c@{n}"} for n in range(Picamera2.attached)
        ]

    def __init__(self, camera_num=0, verbose_console=None, tuning=None, allocator=None):
        self._lock = None
        if Picamera2.lock_path:
            self._lock = open(Picamera2.lock_path, "w")  # noqa: SIM115
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise RuntimeError("Camera __init__ sequence did not complete.") from None
        Picamera2.log.append(f"open {camera_num}")
        self._config: dict | None = None
        self._started = False

    def create_video_configuration(
        self,
        main={},  # noqa: B006 (as in the real one)
        lores=None,
        raw={},  # noqa: B006
        transform=None,
        colour_space=None,
        buffer_count=6,
        controls={},  # noqa: B006
        display="main",
        encode="main",
        queue=True,
        sensor={},  # noqa: B006
        use_case="video",
    ) -> dict:
        for stream in (main, lores or {}):
            unknown = set(stream) - {"format", "size", "stride", "framesize", "preserve_ar"}
            if unknown:
                raise ValueError(f"Bad key {unknown.pop()!r}")
        main = {"format": "XBGR8888", "size": (1280, 720), **main}
        if lores is not None:
            lores = {"format": "YUV420", "size": main["size"], **lores}
            if lores["size"][0] > main["size"][0] or lores["size"][1] > main["size"][1]:
                raise RuntimeError("lores stream dimensions may not exceed main stream")
            if lores["format"] not in ("YUV420", "YVU420"):  # up to the Pi 4
                raise RuntimeError("lores stream must be YUV")
        return {"main": main, "lores": lores, "buffer_count": buffer_count}

    def configure(self, camera_config="preview") -> None:
        streams = f"{camera_config['main']} {camera_config['lores']}"
        Picamera2.log.append(f"configure {streams} {camera_config['buffer_count']} buffers")
        self._config = camera_config

    def start(self, config=None, show_preview=False) -> None:
        assert self._config is not None
        Picamera2.log.append("start")
        self._started = True

    def capture_array(self, name="main", wait=None, signal_function=None) -> np.ndarray:
        time.sleep(Picamera2.period_s)
        return self._make_array(name)

    def capture_arrays(self, names=["main"], wait=None, signal_function=None) -> tuple[list[np.ndarray], dict]:  # noqa: B006
        time.sleep(Picamera2.period_s)
        return [self._make_array(name) for name in names], {"SensorTimestamp": time.monotonic_ns()}

    def _make_array(self, name) -> np.ndarray:
        assert self._started
        width, height = self._config[name]["size"]
        scene = cv2.resize(Picamera2.scene_rgb, (width, height), interpolation=cv2.INTER_NEAREST)
        layout = self._config[name]["format"]
        if layout == "YUV420":
            # Planes Y, U, V; rows are padded to a multiple of 64 bytes.
            padded = cv2.copyMakeBorder(scene, 0, 0, 0, -width % 64, cv2.BORDER_REPLICATE)
            return cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420)
        # libcamera names a format by its little-endian word: RGB888 is B, G, R in memory.
        return {"RGB888": scene[:, :, ::-1], "BGR888": scene}[layout]

    def stop(self) -> None:
        Picamera2.log.append("stop")
        self._started = False

    def close(self) -> None:
        Picamera2.log.append("close")
        if self._lock is not None:
            self._lock.close()
