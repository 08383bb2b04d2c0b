"""`detectors`: recall and cost of face detectors on scenes built from pinned packages."""

import argparse
import contextlib
from pathlib import Path

from fer_edge.arguments import positive

from boards.commands import Commands

PEERS = ("haar", "mtcnn", "opencv yunet")
# These take a third of a second for a scene.
_SLOW = ("haar", "mtcnn")


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("detectors", help="recall and cost of face detectors, ours and others, same scenes")
    parser.add_argument("--repeats", type=positive, default=3, help="scenes of each photograph and change (default 3)")
    parser.add_argument("--empty", type=positive, default=1200, help="scenes without a face (default 1200)")
    parser.add_argument("--slow-each", type=positive, default=4, help="Haar and MTCNN see each n-th scene (default 4)")
    parser.add_argument("--without", action="append", choices=PEERS, default=[], help="leave a detector of others out")
    parser.add_argument("--pictures", type=Path, default=Path("build/detectors"), help="where photographs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/measured/detectors.csv"))
    parser.add_argument("--plot", type=Path, default=Path("docs/detectors.png"))
    parser.set_defaults(run=_detectors)


def _detectors(options: argparse.Namespace) -> None:
    import cv2

    from boards.detectors.contenders import ours, peer
    from boards.detectors.measure import EQUAL, OWN, Run, all_scenes, table, write_detectors
    from boards.detectors.plot import plot_recall
    from boards.instructions import read_instructions

    cv2.setNumThreads(1)
    with contextlib.ExitStack() as running:
        others = [one for one in PEERS if one not in options.without]
        peers = [running.enter_context(peer(one, options.pictures / "peers", _published())) for one in others]
        run = Run([*ours(), *peers], dict.fromkeys(_SLOW, options.slow_each))
        run.show(all_scenes(options.pictures / "pictures", options.repeats, options.empty))
    rows = run.rows(read_instructions())
    write_detectors(options.out, rows)
    alike = {row.detector: row for row in rows if row.rule in (OWN, EQUAL) and row.side_px is None}
    drawn = [row for row in rows if row.rule == OWN and row.side_px in (192, 256, 320)]
    plot_recall([*drawn, *alike.values()], options.plot)
    print(table(rows), options.out, options.plot, sep="\n")


def _published() -> Path:
    """YuNet as published, for OpenCV."""
    from fer_edge.fetch import fetch_detector

    return fetch_detector("yunet")
