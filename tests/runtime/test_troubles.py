"""A fault that lasts is logged at once, then counted, and ever less often."""

from fer_edge.troubles import Troubles


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_fault_that_lasts_is_told_once_then_counted_and_ever_less_often(caplog):
    clock = Clock()
    troubles = Troubles(clock)
    for second in range(24 * 3600):
        clock.now_s = float(second)
        troubles.tell("camera 0: unplugged.")
    told = messages(caplog)
    assert told[:3] == [
        "camera 0: unplugged.",
        "camera 0: unplugged. (61 times in 60 s)",
        "camera 0: unplugged. (421 times in 7 min)",
    ]
    assert len(told) < 30, "a day of failures, one a second"


def test_another_fault_is_told_at_once_but_not_without_end(caplog):
    troubles = Troubles(Clock())
    for number in range(100):
        troubles.tell(f"camera 0: error {number}.")
        troubles.tell("camera 0: unplugged.")
    assert len(messages(caplog)) == 5


def test_that_it_works_again_is_told_where_the_fault_was(caplog):
    clock = Clock()
    troubles = Troubles(clock)
    troubles.relieve("back")
    for _ in range(3):
        troubles.tell("gone")
        troubles.relieve("back")
    assert messages(caplog) == ["gone", "back"]
    clock.now_s = 1.0
    troubles.over()
    clock.now_s = 500.0
    troubles.tell("gone")
    assert troubles.count == 4, "not well for long"
    troubles.over()
    clock.now_s = 1200.0
    troubles.tell("gone")
    assert messages(caplog)[-1] == "gone" and troubles.count == 1


def test_what_fails_every_quarter_of_a_minute_does_not_fill_the_log(caplog):
    """Each time long enough after the one before to count as well again."""
    clock = Clock()
    troubles = Troubles(clock)
    for quarter in range(24 * 240):
        clock.now_s = 15.0 * quarter
        troubles.tell("gone")
        troubles.relieve("back")
        troubles.over()
    assert len(messages(caplog)) < 60, "a day"
