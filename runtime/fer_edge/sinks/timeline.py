"""How often each expression was seen, second by second, in a bounded amount of memory."""

from collections import Counter
from collections.abc import Iterable


class Timeline:
    """Counts of expressions in equal spans of time: one second each, and twice as long whenever they get too many."""

    def __init__(self, max_spans: int = 120) -> None:
        self.span_s = 1
        self._max_spans = max_spans
        self._spans: dict[int, Counter[str]] = {}

    def add(self, time_s: float, expressions: Iterable[str]) -> None:
        """Count the expressions seen at `time_s`, seconds from the start."""
        self._spans.setdefault(int(time_s // self.span_s), Counter()).update(expressions)
        while len(self._spans) > self._max_spans:
            self._widen()

    def table(self, labels: tuple[str, ...]) -> list[str]:
        """Lines of text: a heading, then a line a span, then the sum; a label never seen has no column."""
        total = sum(self._spans.values(), Counter[str]())
        seen = [label for label in labels if total[label]]
        head = f"{'second':>11}" if self.span_s == 1 else f"{'seconds':>11}"
        lines = [head + _cells(["faces", *seen], seen)]
        for number, counts in sorted(self._spans.items()):
            cells = [counts.total()]
            lines.append(
                f"{self._when(number):>11}" + _cells([*cells, *(counts[label] or "." for label in seen)], seen)
            )
        return [*lines, f"{'all':>11}" + _cells([total.total(), *(total[label] for label in seen)], seen)]

    def _when(self, number: int) -> str:
        first_s = number * self.span_s
        return str(first_s) if self.span_s == 1 else f"{first_s}-{first_s + self.span_s - 1}"

    def _widen(self) -> None:
        wider: dict[int, Counter[str]] = {}
        for number, counts in self._spans.items():
            wider.setdefault(number // 2, Counter()).update(counts)
        self._spans = wider
        self.span_s *= 2


def _cells(values: list[object], seen: list[str]) -> str:
    """Right-aligned under "faces" and the labels."""
    widths = [len("faces"), *(max(len(label), 4) for label in seen)]
    return "".join(f"  {value!s:>{width}}" for value, width in zip(values, widths, strict=True))
