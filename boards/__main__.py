"""`python -m boards`: bench, figures, instructions, lock, margins, media."""

import argparse
import sys
from pathlib import Path

from fer_edge.arguments import positive
from fer_edge.errors import run_reporting


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command; its exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("boards", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m boards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    bench = commands.add_parser("bench", help="latency by stage and accuracy of every artefact in a folder")
    bench.add_argument("folder", type=Path, help="an artefact folder such as artifacts/fer-base")
    bench.add_argument("--source", help="video, photo or folder for the whole loop")
    bench.add_argument("--faces", type=Path, default=Path("data/fer2013.npz"), help="labelled faces: cache or folder")
    bench.add_argument("--split", default="PublicTest", help="split of the cache (default PublicTest)")
    bench.add_argument("-n", type=positive, default=300, help="measured repetitions")
    bench.add_argument("--warmup", type=positive, default=30)
    bench.add_argument("--threads", type=positive, default=1)
    bench.add_argument("--out", type=Path, help="CSV (default FOLDER/bench.csv); the plot stands beside it as .png")
    bench.set_defaults(run=_bench)

    media = commands.add_parser("media", help="bring the sample clip and photograph")
    media.set_defaults(run=_media)

    margins = commands.add_parser("margins", help="which crop margin suits each detector, on FER2013 PublicTest faces")
    margins.add_argument("model", type=Path, help="a classifier with a contract")
    margins.add_argument("--faces", type=Path, default=Path("data/fer2013.npz"))
    margins.add_argument("--count", type=positive, default=1400, help="faces, class-balanced (default 1400)")
    margins.add_argument("--detector-file", type=Path, metavar="FILE", help="a local copy of YuNet")
    margins.add_argument("--out", type=Path, default=Path("docs/measured/margins.csv"))
    margins.set_defaults(run=_margins)

    instructions = commands.add_parser("instructions", help="count instructions an inference on emulated Arm cores")
    instructions.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".tflite or .onnx")
    instructions.add_argument("--cpu", action="append", help="cortex-a72 or cortex-a76 (default: both)")
    instructions.add_argument("--fresh", action="store_true", help="forget the rows of earlier runs")
    instructions.add_argument("--out", type=Path, default=Path("boards/instructions.csv"))
    instructions.set_defaults(run=_instructions)

    lock = commands.add_parser("lock", help="resolve the boards' wheels anew and write boards/locks/")
    lock.set_defaults(run=_lock)

    figures = commands.add_parser(
        "figures", help="print the README's tables and draw its plot, from committed CSV files"
    )
    figures.add_argument("folder", type=Path, nargs="?", default=Path("docs/measured"))
    figures.add_argument("--loop-of", default="fer-base.int8.tflite", help="the model whose whole loop is shown")
    figures.set_defaults(run=_figures)
    return parser


def _bench(options: argparse.Namespace) -> None:
    from fer_edge.bench import write_rows
    from fer_edge.faces import load_faces

    from boards.bench import BenchSettings, bench_folder
    from boards.plot import plot_latency_accuracy

    faces = load_faces(options.faces, options.split) if options.faces.exists() else None
    if faces is None:
        print(f"{options.faces} is not here: latency only, accuracy stays empty")
    settings = BenchSettings(options.source, faces, options.n, options.warmup, options.threads)
    rows = bench_folder(options.folder, settings)
    out = options.out or options.folder / "bench.csv"
    write_rows(out, rows)
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


def _instructions(options: argparse.Namespace) -> None:
    from boards.arm64.cores import CORES, core_named
    from boards.arm64.counting import count_instructions
    from boards.arm64.userland import make_userland
    from boards.instructions import merged, read_instructions, write_instructions

    cores = [core_named(name) for name in options.cpu or CORES]
    rows = [row for core in cores for row in count_instructions(make_userland(core), options.models)]
    old = read_instructions(options.out) if options.out.exists() and not options.fresh else []
    write_instructions(merged(old, rows), options.out)
    for row in rows:
        counts = f"{row.instructions / 1e6:9.2f} M instructions{row.dot_products / 1e6:9.2f} M dot products"
        print(f"{row.model:40}{row.cpu:12}{counts}")
    print(options.out)


def _lock(options: argparse.Namespace) -> None:
    from boards.arm64.cores import CORES
    from boards.arm64.userland import lock_of, write_emulated_lock

    for core in CORES.values():
        write_emulated_lock(core)
        print(lock_of(core))


def _media(options: argparse.Namespace) -> None:
    from boards.media import fetch_samples

    for path in fetch_samples():
        print(path)


def _figures(options: argparse.Namespace) -> None:
    from boards.figures import accuracy_table, draw, loop_table

    print(accuracy_table(options.folder), loop_table(options.folder, options.loop_of), sep="\n\n")
    print(f"\n{draw(options.folder)}")


if __name__ == "__main__":
    sys.exit(main())
