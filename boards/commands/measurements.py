"""`bench`, `margins`, `alignment`, `media`: measurements on this machine, and what they need."""

import argparse
from pathlib import Path

from fer_edge.arguments import positive, whole_number
from fer_edge.engines import MOST_THREADS

from train.command_files import INPUT, INPUT_FILE, OUTPUT_FILE
from train.command_line import MEASURED, Commands, add_faces, add_out, artifact_path


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    bench = commands.add_parser("bench", help="latency by stage and accuracy of every file of a model")
    bench.add_argument("folder", type=artifact_path, help="name of a model in artifacts/, or a folder")
    bench.add_argument("--source", type=INPUT, help="video, photo or folder for the whole loop")
    add_faces(bench, "labelled faces: cache or folder", optional=True)
    bench.add_argument("--split", default="PublicTest", help="split of the cache (default PublicTest)")
    bench.add_argument("-n", type=positive, default=300, help="measured repetitions")
    bench.add_argument("--warmup", type=positive, default=30)
    bench.add_argument("--threads", type=whole_number(1, MOST_THREADS), default=1)
    bench.add_argument(
        "--out", type=OUTPUT_FILE, help="CSV (default FOLDER/bench.csv); the plot stands beside it as .png"
    )
    bench.set_defaults(run=_bench)

    media = commands.add_parser("media", help="bring the sample clip and photograph")
    media.set_defaults(run=_media)

    margins = commands.add_parser("margins", help="which crop margin suits each detector, on FER2013 PublicTest faces")
    margins.add_argument("--count", type=positive, default=1400, help="faces, class-balanced (default 1400)")
    add_out(margins, MEASURED / "margins.csv")
    margins.set_defaults(run=_margins)

    alignment = commands.add_parser("alignment", help="whether five-point alignment helps, on FER2013 PublicTest faces")
    alignment.add_argument("--count", type=positive, help="faces, class-balanced (default: all)")
    add_out(alignment, MEASURED / "alignment.csv")
    alignment.set_defaults(run=_alignment)

    margins.add_argument("model", type=Path, help="a classifier with a contract")
    alignment.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="classifiers with a contract")
    for parser in (margins, alignment):
        add_faces(parser)
        parser.add_argument("--detector-file", type=INPUT_FILE, metavar="FILE", help="a local copy of YuNet")


def _bench(options: argparse.Namespace) -> None:
    from fer_edge.bench import write_rows

    from boards.bench import BenchSettings, bench_folder
    from boards.confusion import write_confusions
    from boards.report.plots import plot_latency_accuracy

    faces = options.faces if options.faces.exists() else None
    if faces is None:
        print(f"{options.faces} is not here: latency only, accuracy stays empty")
    source = None if options.source is None else str(options.source)
    settings = BenchSettings(source, faces, options.n, options.warmup, options.threads, options.split)
    measured = bench_folder(options.folder, settings)
    rows, out = measured.rows, options.out or options.folder / "bench.csv"
    write_rows(out, rows)
    if measured.confusions:
        write_confusions(out.with_name("confusion.csv"), measured.confusions)
    print(
        f"{'model':24}{'stage':10}{'p50':>8}{'p90':>8}{'p95':>8}{'p99':>8} ms {'KB':>7} {'accuracy':>9} {'macro-F1':>9}"
    )
    for row in rows:
        scores = f"{row.accuracy:9.2%} {row.macro_f1:9.2%}" if row.accuracy is not None else ""
        times = f"{row.p50_ms:8.2f}{row.p90_ms:8.2f}{row.p95_ms:8.2f}{row.p99_ms:8.2f}"
        print(f"{row.model:24}{row.stage:10}{times}    {row.model_kb:7.0f} {scores}")
    drawn = plot_latency_accuracy(rows, out.with_suffix(".png"))
    print(f"{out}" + (f"  {out.with_suffix('.png')}" if drawn else ""))


def _margins(options: argparse.Namespace) -> None:
    from fer_edge.classifier import Classifier
    from fer_edge.detectors import open_detector
    from fer_edge.faces import load_faces

    from boards.margins import measure_margins, write_margins

    classifier = Classifier(options.model)
    faces = load_faces(options.faces, "PublicTest").balanced(options.count, 0)
    detectors = [open_detector("mediapipe"), open_detector("yunet", options.detector_file)]
    rows = [row for detector in detectors for row in measure_margins(classifier, detector, faces)]
    write_margins(options.out, rows)
    for row in rows:
        print(f"{row.detector:10} margin {row.margin:+.2f}  found {row.found}/{row.n}  agreement {row.agreement:.2%}")
    print(options.out)


def _alignment(options: argparse.Namespace) -> None:
    from fer_edge.classifier import Classifier
    from fer_edge.detectors import open_detector
    from fer_edge.faces import load_faces

    from boards.alignment import TEMPLATE_FACES, mean_template, measure_alignment, write_alignment

    classifiers = [Classifier(path) for path in options.models]
    mediapipe, yunet = open_detector("mediapipe"), open_detector("yunet", options.detector_file)
    template = mean_template(yunet, load_faces(options.faces, "Training").balanced(TEMPLATE_FACES, 0))
    print("template:", *(f"({point.x}, {point.y})" for point in template))
    faces = load_faces(options.faces, "PublicTest")
    faces = faces.balanced(options.count, 0) if options.count else faces
    rows = [row for one in (mediapipe, yunet) for row in measure_alignment(classifiers, one, faces, template)]
    write_alignment(options.out, rows)
    for row in rows:
        print(
            f"{row.model:24}{row.detector:10} turned {row.turn_deg:2.0f}  found {row.found}/{row.n}  "
            f"box {row.accuracy_by_box:.2%}  "
            f"aligned {row.accuracy_aligned:.2%}  gain {row.gain:+.2%} ({row.gain_low:+.2%} to {row.gain_high:+.2%})"
        )
    print(options.out)


def _media(options: argparse.Namespace) -> None:
    from boards.media import fetch_samples

    for path in fetch_samples():
        print(path)
