"""How often each expression was seen, second by second, in a bounded amount of memory."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from fer_edge.streams import right_aligned, width_of

# A terminal shows so many columns of labels; those seen less often are counted together.
_MOST_COLUMNS = 12
_OTHERS = "(others)"


@dataclass
class _Span:
    faces: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, faces: int, counts: Counter[str]) -> None:
        self.faces += faces
        self.counts.update(counts)


class Timeline:
    """Counts of expressions in equal spans of time: one second each, and twice as long whenever they get too many."""

    def __init__(self, max_spans: int = 120) -> None:
        self.span_s = 1
        self._max_spans = max_spans
        self._spans: dict[int, _Span] = {}

    def add(self, time_s: float, faces: Collection[Collection[str]]) -> None:
        """Count the faces seen at `time_s`, seconds from the start, by the names of each."""
        span = self._spans.setdefault(int(time_s // self.span_s), _Span())
        span.add(len(faces), Counter(name for names in faces for name in names))
        while len(self._spans) > self._max_spans:
            self._widen()

    def table(self, labels: tuple[str, ...]) -> list[str]:
        """Lines of text: a heading, then a line a span, then the sum; a label never seen has no column."""
        total = _Span()
        for span in self._spans.values():
            total.add(span.faces, span.counts)
        columns = _columns(total.counts, labels)
        widths = [len("faces"), *(max(width_of(name), 4) for name in columns)]
        rows = [("second" if self.span_s == 1 else "seconds", ["faces", *columns])]
        rows += [(self._when(number), _row(span, columns, ".")) for number, span in sorted(self._spans.items())]
        rows.append(("all", _row(total, columns, "0")))
        return [f"{when:>11}" + _cells(cells, widths) for when, cells in rows]

    def _when(self, number: int) -> str:
        first_s = number * self.span_s
        return str(first_s) if self.span_s == 1 else f"{first_s}-{first_s + self.span_s - 1}"

    def _widen(self) -> None:
        wider: dict[int, _Span] = {}
        for number, span in self._spans.items():
            wider.setdefault(number // 2, _Span()).add(span.faces, span.counts)
        self._spans = wider
        self.span_s *= 2


def _columns(counts: Counter[str], labels: tuple[str, ...]) -> list[str]:
    """The labels seen, in their order; where they are too many the commonest, and one column for all others."""
    seen = [label for label in labels if counts[label]]
    if len(seen) <= _MOST_COLUMNS:
        return seen
    common = {name for name, _ in counts.most_common(_MOST_COLUMNS - 1)}
    return [*(label for label in seen if label in common), _OTHERS]


def _row(span: _Span, columns: list[str], nothing: str) -> list[str]:
    """The cells of one span: faces, and how often each of the columns was seen."""
    others = span.counts.total() - sum(span.counts[name] for name in columns)
    counts = [others if name == _OTHERS else span.counts[name] for name in columns]
    return [str(span.faces), *(str(count or nothing) for count in counts)]


def _cells(cells: list[str], widths: list[int]) -> str:
    return "".join(f"  {right_aligned(cell, width)}" for cell, width in zip(cells, widths, strict=True))
