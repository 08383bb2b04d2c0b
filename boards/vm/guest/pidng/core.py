"""See pidng."""


class PICAM2DNG:
    """Not used."""
