"""See pidng."""


class Picamera2Camera:
    """Not used."""
