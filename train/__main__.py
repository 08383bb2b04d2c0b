"""`python -m train`: data, fit, evaluate."""

import argparse
import sys
from pathlib import Path

from fer_edge.errors import run_reporting

from train import cache


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command; its exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("train", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="read FER2013 (and FER+) once and cache them as arrays")
    data.add_argument("fer2013", type=Path, help="fer2013.csv, icml_face_data.csv, a zip of either, or an image folder")
    data.add_argument("--ferplus", type=Path, help="fer2013new.csv")
    data.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    data.add_argument("--subset", action="store_true", help="accept other counts than the official ones")
    data.set_defaults(run=_data)

    fit = commands.add_parser("fit", help="train a recipe, resuming where an earlier start got to")
    fit.add_argument("recipe", help="a name in train/recipes, or a path ending in .toml")
    fit.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    fit.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    fit.add_argument("--models", type=Path, default=Path("models"), help="where the finished model lands")
    fit.set_defaults(run=_fit)

    measure = commands.add_parser("evaluate", help="measure a finished checkpoint on a split; appends to results.csv")
    measure.add_argument("checkpoint", type=Path)
    measure.add_argument("--split", default="PublicTest", help="PublicTest (default) or PrivateTest")
    measure.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    measure.add_argument("--results", type=Path, default=Path("models/results.csv"))
    measure.set_defaults(run=_evaluate)
    return parser


def _data(options: argparse.Namespace) -> None:
    data = cache.build(options.fer2013, options.ferplus, options.cache, subset=options.subset)
    votes = "with FER+ votes" if data.votes is not None else "without FER+ votes"
    print(f"{options.cache}: {len(data.images)} faces, {votes}")


def _fit(options: argparse.Namespace) -> None:
    # torch takes seconds to import; the data command and --help do without it.
    from train import loop, publish, recipe
    from train.workers import joined

    chosen, data = recipe.load(options.recipe), cache.load(options.cache)
    run = options.runs / chosen.name
    with joined() as workers:
        loop.fit(chosen, data, run, workers)
        if workers.leads:
            print(publish.publish(chosen, data, run, options.models))


def _evaluate(options: argparse.Namespace) -> None:
    from train import checkpoint, evaluate

    result = evaluate.evaluate(checkpoint.load(options.checkpoint), cache.load(options.cache), options.split)
    evaluate.append_result(options.results, result)
    single, flip = result.single, result.flip
    print(f"{result.model} on FER2013 {result.split}, n = {single.n}")
    print(f"  single crop       accuracy {single.accuracy:.2%}  macro-F1 {single.macro_f1:.2%}  ECE {single.ece:.3f}")
    print(f"  averaged flip     accuracy {flip.accuracy:.2%}  macro-F1 {flip.macro_f1:.2%}")


if __name__ == "__main__":
    sys.exit(main())
