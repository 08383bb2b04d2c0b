"""A stub: picamera2 imports kmsxx, which Debian does not have, for a preview on a screen. fer-edge opens none."""


class _AnyName(type):
    def __getattr__(cls, name: str) -> str:
        return name


class PixelFormat(metaclass=_AnyName):
    """Every pixel format, by its name."""
