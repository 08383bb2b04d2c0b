"""`noise`, `peers`, `privacy`, `report`, `detectors`: robustness, other people's networks, and one page of it all."""

import argparse
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fer_edge.arguments import positive

from train.command_files import INPUT, INPUT_FILE, OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import MEASURED, Commands, add_faces, add_out

PEERS = ("haar", "mtcnn", "opencv yunet")
# These take a third of a second for a scene.
_SLOW = ("haar", "mtcnn")


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    noise = commands.add_parser("bench-noise", help="accuracy under six kinds of noise in five steps")
    noise.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    add_out(noise, MEASURED / "noise.csv")
    noise.set_defaults(run=_noise)

    peers = commands.add_parser("bench-peers", help="other people's classifiers beside ours, same faces, one thread")
    peers.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="our files; ratios are to the first")
    peers.add_argument("--without", action="append", choices=["fer", "human"], default=[], help="leave one out")
    add_out(peers, MEASURED / "peers.csv")
    peers.set_defaults(run=_peers)

    privacy = commands.add_parser("privacy", help="does --privacy blur hide faces? judged by the other detector")
    privacy.add_argument("model", type=Path, help="a classifier with a contract")
    privacy.add_argument("--detector-file", type=INPUT_FILE, metavar="FILE", help="a local copy of YuNet")
    add_out(privacy, MEASURED / "privacy.csv")
    privacy.set_defaults(run=_privacy)

    for parser in (noise, peers):
        add_faces(parser, "labelled faces: cache or folder")
        parser.add_argument("--split", default="PublicTest", help="split of the cache (default PublicTest)")
        parser.add_argument("--count", type=positive, help="so many faces, balanced over the classes (default: all)")

    report = commands.add_parser("report", help="one HTML page and PNG plots of CSV files from this and other boards")
    report.add_argument("inputs", type=INPUT, nargs="*", default=[MEASURED], metavar="CSV_OR_FOLDER")
    report.add_argument("--out", type=OUTPUT_FOLDER, default=Path("docs/report"))
    report.set_defaults(run=_report)


def _faces(options: argparse.Namespace) -> Any:
    from fer_edge.faces import load_faces

    faces = load_faces(options.faces, options.split)
    return faces.balanced(options.count, 0) if options.count else faces


def _bar(title: str) -> Any:
    from tqdm import tqdm

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        return tqdm(items, desc=title, leave=False)

    return wrap


def _privacy(options: argparse.Namespace) -> None:
    from fer_edge.classifier import Classifier
    from fer_edge.detectors import open_detector

    from boards.privacy import measure_all, sample_clips, table, write_privacy

    classifier, rows = Classifier(options.model), []
    mediapipe, yunet = open_detector("mediapipe"), open_detector("yunet", options.detector_file)
    for detector, judge in ((mediapipe, yunet), (yunet, mediapipe)):
        for row in measure_all(detector, judge, classifier, sample_clips(judge)):
            rows.append(row)
            print(
                f"{row.detector:10} {row.clip:11} {row.change:26} exposed {row.exposed:3} of {row.frames}  "
                f"hidden {row.hidden_median:.0%}, p95 {row.hidden_p95:.0%}"
            )
    write_privacy(options.out, rows)
    print(table(options.out), options.out, sep="\n")


def _noise(options: argparse.Namespace) -> None:
    from boards.noise import measure_noise, write_noise

    models = [model for model in options.models if _bears_noise(model)]
    if not models:
        return
    faces = _faces(options)
    rows = [row for model in models for row in measure_noise(model, faces, _bar(model.name))]
    write_noise(options.out, rows)
    for row in rows:
        if row.step in (0, 3, 5):
            print(f"{row.model:24}{row.task:20}{row.noise:16} step {row.step}  {row.accuracy:7.2%}  n {row.n}")
    print(options.out)


def _bears_noise(model: Path) -> bool:
    """Whether the ladder of `boards.noise`, which is about seven classes, has something to ask of the model."""
    from fer_edge.classifier import Classifier

    task = Classifier(model).contract.task
    if task != "expression7":
        print(f"{model.name}: no noise ladder, which is of seven expressions; its task is {task}")
    return task == "expression7"


def _peers(options: argparse.Namespace) -> None:
    from boards.peers.classifiers import Contender, Fer, Human, Ours
    from boards.peers.fetching import PEERS
    from boards.peers.paired import compare, write_peers

    faces = _faces(options)
    contenders: list[Contender] = [Ours(model, faces.images) for model in options.models]
    if "fer" not in options.without:
        contenders.append(Fer(faces.images, PEERS))
    if "human" not in options.without:
        contenders.append(Human(faces.images, PEERS))
    rows = compare(contenders, faces, _bar("peers"))
    write_peers(options.out, rows)
    for row in rows:
        scores = f"{row.accuracy:7.2%} macro-F1 {row.macro_f1:7.2%}"
        cost = f"p50 {row.p50_ms:7.2f} ms  x{row.p50_ratio:.2f}  {row.size_kb:6.0f} KB"
        print(f"{row.name:14}{row.model:34}{scores}  {cost}")
    print(options.out)


def _report(options: argparse.Namespace) -> None:
    from boards.report import make_report

    print(make_report(options.inputs, options.out))


def register_detectors(commands: Commands) -> None:
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
