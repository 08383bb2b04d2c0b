"""`detectors`, `following`: recall and cost of face detectors on scenes and clips built from pinned packages."""

import argparse
import contextlib
from pathlib import Path

from fer_edge.arguments import positive

from train.command_files import OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import MEASURED, Commands, add_out

PEERS = ("haar", "mtcnn", "opencv yunet")
# These take a third of a second for a scene.
_SLOW = ("haar", "mtcnn")


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("bench-detectors", help="recall and cost of face detectors on the same scenes")
    parser.add_argument("--repeats", type=positive, default=2, help="scenes of each photograph and change (default 2)")
    parser.add_argument("--empty", type=positive, default=1000, help="scenes without a face (default 1000)")
    parser.add_argument("--slow-each", type=positive, default=8, help="Haar and MTCNN see each n-th scene (default 8)")
    parser.add_argument("--without", action="append", choices=PEERS, default=[], help="leave a detector of others out")
    parser.add_argument(
        "--pictures", type=OUTPUT_FOLDER, default=Path("build/detectors"), help="where photographs are kept"
    )
    add_out(parser, MEASURED / "detectors.csv")
    parser.add_argument("--plot", type=OUTPUT_FILE, default=Path("docs/detectors.png"))
    parser.set_defaults(run=_detectors)

    swing = commands.add_parser("bench-following", help="faces lost under a swinging camera, followed and looked for")
    swing.add_argument(
        "--pictures", type=OUTPUT_FOLDER, default=Path("build/detectors"), help="where photographs are kept"
    )
    add_out(swing, MEASURED / "following.csv")
    swing.set_defaults(run=_following)


def _detectors(options: argparse.Namespace) -> None:
    import cv2

    from boards.detectors.contenders import ours, peer
    from boards.detectors.recall_plot import plot_recall
    from boards.detectors.scoring import Run, all_scenes, table, write_detectors
    from boards.instructions import read_instructions

    cv2.setNumThreads(1)
    counted = read_instructions()
    with contextlib.ExitStack() as running:
        others = [one for one in PEERS if one not in options.without]
        peers = [running.enter_context(peer(one, options.pictures / "peers", _published())) for one in others]
        run = Run([*ours(), *peers], dict.fromkeys(_SLOW, options.slow_each))
        run.show(all_scenes(options.pictures / "pictures", options.repeats, options.empty))
    rows = run.rows(counted)
    write_detectors(options.out, rows)
    plot_recall(rows, options.plot)
    print(table(rows), options.out, options.plot, sep="\n")


def _following(options: argparse.Namespace) -> None:
    import cv2

    from boards.detectors.swing import POLICIES, clips_of, measure_swing, swing_table, write_swing

    cv2.setNumThreads(1)
    rows = list(measure_swing(POLICIES, clips_of(options.pictures / "pictures")))
    write_swing(options.out, rows)
    print(swing_table(rows), options.out, sep="\n")


def _published() -> Path:
    """YuNet as published, for OpenCV."""
    from fer_edge.fetch import fetch_detector

    return fetch_detector("yunet")
