"""Where frames come from: one protocol, one file a kind, found from the text a user writes.

A file gives every frame exactly once, with index 0, 1, 2, ... A live source gives the newest frame it has; its index
counts the frames read from the device, so frames nobody had time for show as gaps in the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from fer_edge.frames import Frame
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.sources.address import (
    SYSFS,
    Kind,
    camera_device,
    is_csi_camera,
    kind_of,
    picamera_number,
)

if TYPE_CHECKING:
    from fer_edge.sources.live import LiveOptions


class Source(Protocol):
    """Frames in order. Enter it, iterate it once, leave it.

    Entering raises SourceError when there is nothing to read: missing, empty, not what its name says, no answer.
    Iterating raises SourceError only when a live source is lost for good.
    """

    name: str
    """Name in logs and in `Frame.source`; never holds a password."""
    continuous: bool
    """One frame follows from the other, so that faces can be tracked; false for a folder of photographs."""
    live: bool
    """Frames arrive by the clock and those nobody takes are dropped."""
    fps: float | None
    """Nominal frames a second of a file; None for a live source."""
    frame_count: int | None
    """Estimated number of frames, for a progress bar; None where nobody can know. Set for a video once entered."""

    @property
    def left_out(self) -> int:
        """Pictures that were asked for and could not be read, so far."""
        ...

    def __enter__(self) -> Source:
        """Open it. Raises SourceError."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, and join its thread where it has one."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once."""
        ...


def open_source(
    text: str,
    live: LiveOptions | None = None,
    *,
    real_time: bool = False,
    limit: PictureLimit = DEFAULT_LIMIT,
    rotation_deg: int = 0,
    mirror: bool = False,
    sysfs: Path = SYSFS,
) -> Source:
    """The source that `text` names, not entered yet; nothing is opened before it is entered.

    `text` is a camera's index or /dev/videoN, `picamera2` or `picamera2:N`, a stream's address (rtsp, rtsps, http,
    https, rtmp), a folder of images, an image or a video file. `live` sets size and patience of cameras and streams;
    `real_time` gives a video file's frames at its own pace; pictures beyond `limit` are refused.
    Every frame is turned clockwise by `rotation_deg` (0, 90, 180, 270), then mirrored left to right where `mirror`.
    Index 0 becomes picamera2 where it is a CSI camera, which V4L2 cannot read on Raspberry Pi OS; `sysfs` is where
    the kernel describes cameras. Raises SourceError for text that names no source.
    """
    return _turned(_source_of(text, live, real_time, limit, sysfs), rotation_deg, mirror)


def _source_of(text: str, live: LiveOptions | None, real_time: bool, limit: PictureLimit, sysfs: Path) -> Source:
    # Each kind is imported by its own branch: a board that reads a camera loads nothing of the others.
    kind = kind_of(text)
    if kind is Kind.CAMERA:
        device = camera_device(text)
        if device == 0 and is_csi_camera(device, sysfs):
            return _picamera(0, live)
        from fer_edge.sources.capture import camera_source

        return camera_source(device, live, sysfs=sysfs)
    if kind is Kind.PICAMERA:
        return _picamera(picamera_number(text), live)
    if kind is Kind.STREAM:
        from fer_edge.sources.stream import stream_source

        return stream_source(text, live)
    return _file(kind, Path(text), real_time, limit)


def _picamera(number: int, live: LiveOptions | None) -> Source:
    from fer_edge.sources.picamera import picamera_source

    return picamera_source(number, live)


def open_pictures(
    paths: Sequence[Path], *, limit: PictureLimit = DEFAULT_LIMIT, rotation_deg: int = 0, mirror: bool = False
) -> Source:
    """Several pictures, in the order given, not entered yet. Turned as `open_source` says."""
    from fer_edge.sources.folder import PicturesSource

    return _turned(PicturesSource(paths, limit), rotation_deg, mirror)


def _turned(source: Source, rotation_deg: int, mirror: bool) -> Source:
    if not rotation_deg and not mirror:
        return source
    from fer_edge.sources.capture import Orientation, OrientedSource

    return OrientedSource(source, Orientation(rotation_deg, mirror))


def _file(kind: Kind, path: Path, real_time: bool, limit: PictureLimit) -> Source:
    if kind is Kind.FOLDER:
        from fer_edge.sources.folder import FolderSource

        return FolderSource(path, limit)
    if kind is Kind.IMAGE:
        from fer_edge.sources.folder import ImageSource

        return ImageSource(path, limit)
    from fer_edge.sources.video import VideoSource

    return VideoSource(path, real_time=real_time, limit=limit)
