"""One HTML page and its plots, of everything that was measured on this machine and on boards."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.files import atomic_write

from boards.detectors.scoring import HEADS, cells_of
from boards.report.plots import PLOTS
from boards.report.reading import Measured, read_measured

_CAPTIONS = {
    "pareto": "Latency against accuracy. No other point beats those on the dashed line in both.",
    "stages": "Where the time of the loop goes. MediaPipe looks at each frame, YuNet follows faces.",
    "instructions": "Instructions an inference on emulated Arm cores. This is work, not time.",
    "detectors": "Recall of face detectors by the size of the face, on the same scenes.",
    "noise": "Accuracy under noise, five steps of six kinds.",
    "confusions": "What the faces were labelled (rows) and what the model said (columns).",
    "sustained": "Minute after minute without a pause: what heat does.",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; } figure { margin: 2rem 0; } figcaption { color: #555; }
table { border-collapse: collapse; font-size: 14px; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""


@dataclass(frozen=True)
class Table:
    """A table of the page, cells as text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_report(inputs: Sequence[Path], out: Path) -> Path:
    """Write out/index.html and its PNG files; the page's path. Raises DataError for inputs that cannot be compared."""
    measured = read_measured(inputs)
    out.mkdir(parents=True, exist_ok=True)
    drawn = [name for name, draw in PLOTS.items() if draw(measured, out / f"{name}.png")]
    for name in set(PLOTS) - set(drawn):
        (out / f"{name}.png").unlink(missing_ok=True)
    with atomic_write(out / "index.html") as temporary:
        temporary.write_text(_page(measured, drawn), encoding="utf-8")
    return out / "index.html"


def _page(measured: Measured, drawn: Iterable[str]) -> str:
    figures = "\n".join(
        f'<figure><img src="{name}.png" alt="{_CAPTIONS[name]}"><figcaption>{_CAPTIONS[name]}</figcaption></figure>'
        for name in drawn
    )
    tables = "\n".join(_html(table) for table in _tables(measured) if table.rows)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>fer-edge: measured</title><style>{_STYLE}</style></head><body>
<h1>fer-edge: measured</h1>
{_intro(measured)}
{figures}
{tables}
</body></html>
"""


def _intro(measured: Measured) -> str:
    machines = sorted({f"{row.board} ({row.cpu}, {row.os})" for row in measured.bench})
    splits = sorted({f"{row.dataset} {row.split}" for row in measured.bench if row.dataset})
    words = [
        f"Measured on {'; '.join(machines)}." if machines else "",
        f"Accuracy on {', '.join(splits)}, single crop.",
    ]
    return "".join(f"<p>{html.escape(text)}</p>" for text in words if text)


def _tables(measured: Measured) -> list[Table]:
    return [_classifiers(measured), _peers(measured), _detectors(measured), _instructions(measured)]


def _classifiers(measured: Measured) -> Table:
    head = ("file", "board", "threads", "batch", "accuracy", "macro-F1", "ECE", "p50 ms", "p95 ms", "KB")
    rows = [
        (
            row.model,
            row.board,
            str(row.threads),
            (row.source or "batch 1").removeprefix("batch "),
            _percent(row.accuracy),
            _percent(row.macro_f1),
            "" if row.ece is None else f"{row.ece:.3f}",
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.model_kb:.0f}",
        )
        for row in measured.bench
        if row.stage == "classify" and row.detector is None
    ]
    return Table("Classifiers", head, rows)


def _peers(measured: Measured) -> Table:
    head = ("name", "file", "engine", "n", "accuracy", "macro-F1", "p50 ms", "ratio to ours", "KB", "ratio to ours")
    rows = [
        (
            row.name,
            row.model,
            f"{row.engine} {row.engine_version}",
            str(row.n),
            _percent(row.accuracy),
            _percent(row.macro_f1),
            f"{row.p50_ms:.2f}",
            f"{row.p50_ratio:.2f}",
            f"{row.size_kb:.0f}",
            f"{row.size_ratio:.2f}",
        )
        for row in measured.peers
    ]
    return Table("Beside other people's classifiers: same faces, same run, one thread", head, rows)


def _detectors(measured: Measured) -> Table:
    rows = [cells_of(row) for row in measured.detectors]
    return Table("Face detectors: recall by size and change, false boxes in 1000 scenes without faces", HEADS, rows)


def _instructions(measured: Measured) -> Table:
    head = ("file", "engine", "core", "million instructions", "million int8 dot products")
    rows = [
        (row.model, row.engine, row.cpu, f"{row.instructions / 1e6:.2f}", f"{row.dot_products / 1e6:.2f}")
        for row in measured.instructions
    ]
    return Table("Instructions an inference, counted on emulated cores", head, rows)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _html(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.head)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
