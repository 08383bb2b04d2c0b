"""Time that passes when the test says so, or when somebody sleeps."""


class Clock:
    """Stands in for the module `time` of the code under test."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds
