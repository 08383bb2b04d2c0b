"""A fake picamera2, for what libcamera's virtual camera cannot do (the real one runs on that in `make picamera-smoke`).

The virtual camera gives NV12 without padded rows at two sizes, has no metadata of an exposure, cannot be unplugged, and
is not locked against another process.

Names, signatures and what is refused are those of picamera2 0.3.38's source; what a test sets are the class attributes
of Picamera2. It shows one still scene, laid out in memory as libcamera does, rows padded and the buffer longer than the
picture. Like the real one it adjusts a configuration to what the camera can do (`gives`), and belongs to one process at
a time: a lock on the file `lock_path` stands in for the kernel's.
"""

import concurrent.futures
import fcntl
import os
import time

import cv2
import numpy as np

YUV = ("NV21", "NV12", "YUV420", "YVU420", "YVYU", "YUYV", "UYVY", "VYUY")
RGB = ("BGR888", "RGB888", "XBGR8888", "XRGB8888", "RGB161616", "BGR161616")
BYTES_PER_PIXEL = {"R8": 1, "RGB888": 3, "BGR888": 3, "XBGR8888": 4, "XRGB8888": 4, "RGB161616": 6, "BGR161616": 6}
BYTES_PER_PIXEL |= {"YUYV": 2, "YVYU": 2, "UYVY": 2}


class Picamera2:
    """One camera. `log` notes the calls in their order."""

    # Set by tests.
    attached = 1
    scene_rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    is_csi = True
    gives: tuple[str, tuple[int, int]] | None = None
    """Format and size the camera has, whatever it is asked for."""
    falls_silent = False
    damages = 0
    """So many buffers come without a picture first."""
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
        self._config: dict = {}
        self._started = False

    @property
    def camera_properties(self) -> dict:
        return {"Model": "imx708"} | ({"ColorFilterArrangement": 2} if Picamera2.is_csi else {})

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
        return {"main": main, "lores": lores, "buffer_count": buffer_count}

    def configure(self, camera_config="preview") -> None:
        main, lores = camera_config["main"], camera_config["lores"]
        Picamera2.log.append(f"configure {main} {lores} {camera_config['buffer_count']} buffers")
        for name, stream in (("main", main), ("lores", lores)):
            if stream is None:
                continue
            if stream["format"] not in (*YUV, *RGB, "MJPEG"):
                raise RuntimeError(f"Bad format {stream['format']} in stream {name}")
            if stream["size"][0] % 2 or stream["size"][1] % 2:
                raise RuntimeError("width and height should be even")
        if lores is not None:
            assert Picamera2.is_csi, "libcamera reads behind the end of its list of streams here"
            if lores["size"][0] > main["size"][0] or lores["size"][1] > main["size"][1]:
                raise RuntimeError("lores stream dimensions may not exceed main stream")
            if lores["format"] not in YUV:  # up to the Pi 4
                raise RuntimeError("lores stream must be YUV")
        self._config = {**camera_config, "main": self._adjusted(main, Picamera2.gives)}
        self._config["lores"] = None if lores is None else self._adjusted(lores, None)

    def camera_configuration(self) -> dict:
        return self._config

    @staticmethod
    def _adjusted(stream: dict, gives: tuple | None) -> dict:
        layout, size = gives or (stream["format"], stream["size"])
        width = size[0] * BYTES_PER_PIXEL.get(layout, 1)
        stride = 0 if layout == "MJPEG" else width + -width % 64
        return {"format": layout, "size": size, "stride": stride, "framesize": stride * size[1] * 3 // 2}

    def start(self, config=None, show_preview=False) -> None:
        assert self._config
        Picamera2.log.append("start")
        self._started = True

    def capture_buffers(self, names=["main"], wait=None, signal_function=None):  # noqa: B006
        """With wait=False a job, to be waited for."""
        job = lambda: ([self._buffer(name) for name in names], {"SensorTimestamp": time.monotonic_ns()})  # noqa: E731
        return job if wait is False else self.wait(job)

    def wait(self, job, timeout=None):
        assert self._started
        if Picamera2.falls_silent:
            time.sleep(min(timeout, 0.05))
            raise concurrent.futures.TimeoutError
        time.sleep(Picamera2.period_s)
        return job()

    def _buffer(self, name) -> np.ndarray:
        stream = self._config[name]
        if Picamera2.damages > 0:
            Picamera2.damages -= 1
            return np.zeros(10, np.uint8)
        scene = cv2.resize(Picamera2.scene_rgb, stream["size"], interpolation=cv2.INTER_NEAREST)
        return np.append(laid_out(scene, stream["format"], stream["stride"]), np.full(100, 77, np.uint8))

    def stop(self) -> None:
        Picamera2.log.append("stop")
        self._started = False

    def close(self) -> None:
        Picamera2.log.append("close")
        if self._lock is not None:
            self._lock.close()


def laid_out(rgb: np.ndarray, layout: str, stride: int) -> np.ndarray:
    """A picture (h, w, 3) RGB as bytes (n,), rows padded to the stride with noise."""
    if layout == "MJPEG":
        return cv2.imencode(".jpg", rgb[:, :, ::-1])[1].ravel()
    if layout in BYTES_PER_PIXEL and not layout.startswith(("Y", "U")):
        # libcamera names a format by its little-endian word: RGB888 is B, G, R in memory.
        channels = {"R": rgb[:, :, ::-1], "B": rgb}[layout.replace("X", "")[0]]
        if layout.startswith("X"):
            channels = np.dstack([channels, np.full(rgb.shape[:2], 9, np.uint8)])
        if layout == "R8":
            channels = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if layout.endswith("161616"):
            channels = channels.astype(np.uint16) << 8
        return padded(np.ascontiguousarray(channels).view(np.uint8).reshape(len(rgb), -1), stride).ravel()
    if layout in ("YUYV", "YVYU", "UYVY"):
        yuv = cv2.cvtColor(rgb, getattr(cv2, f"COLOR_RGB2YUV_{layout}", None) or cv2.COLOR_RGB2YUV_YUY2)
        return padded(yuv.reshape(len(rgb), -1), stride).ravel()
    height = len(rgb)
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, -1)
    if layout in ("YVU420", "NV21"):
        chroma = chroma[::-1]
    if layout.startswith("NV"):
        parts = [padded(luma, stride), padded(np.dstack(list(chroma)).reshape(height // 2, -1), stride)]
    else:
        parts = [padded(luma, stride), *(padded(plane, stride // 2) for plane in chroma)]
    return np.concatenate([part.ravel() for part in parts])


def padded(rows: np.ndarray, stride: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (len(rows), stride - rows.shape[1]), dtype=np.uint8)
    return np.hstack([rows, noise])
