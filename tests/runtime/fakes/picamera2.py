"""A fake picamera2, because libcamera and its camera exist only on the board.

Names and signatures are those of the picamera2 manual and its source; what a test sets are the class attributes of
Picamera2. It shows one still scene, laid out in memory as libcamera does for the format asked for.
"""

import time

import numpy as np


class Picamera2:
    """One camera. `log` notes the calls in their order."""

    # Set by tests.
    attached = 1
    scene_rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    busy = False
    period_s = 0.01
    log: list[str] = []  # noqa: RUF012

    @staticmethod
    def global_camera_info() -> list:
        return [
            {"Model": "imx708", "Location": 2, "Rotation": 180, "Id": f"/i2c@{n}"} for n in range(Picamera2.attached)
        ]

    def __init__(self, camera_num=0, verbose_console=None, tuning=None, allocator=None):
        if Picamera2.busy:
            raise RuntimeError("Camera __init__ sequence did not complete.")
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
        unknown = set(main) - {"format", "size", "stride", "framesize", "preserve_ar"}
        if unknown:
            raise ValueError(f"Bad key {unknown.pop()!r}")
        return {"main": {"format": "XBGR8888", "size": (1280, 720), **main}, "buffer_count": buffer_count}

    def configure(self, camera_config="preview") -> None:
        Picamera2.log.append(f"configure {camera_config['main']} {camera_config['buffer_count']} buffers")
        self._config = camera_config

    def start(self, config=None, show_preview=False) -> None:
        assert self._config is not None
        Picamera2.log.append("start")
        self._started = True

    def capture_array(self, name="main", wait=None, signal_function=None) -> np.ndarray:
        assert self._started and name == "main"
        time.sleep(Picamera2.period_s)
        width, height = self._config["main"]["size"]
        scene = np.broadcast_to(Picamera2.scene_rgb[:1, :1], (height, width, 3))
        # libcamera names a format by its little-endian word: RGB888 is B, G, R in memory.
        return {"RGB888": scene[:, :, ::-1], "BGR888": scene}[self._config["main"]["format"]]

    def stop(self) -> None:
        Picamera2.log.append("stop")
        self._started = False

    def close(self) -> None:
        Picamera2.log.append("close")
