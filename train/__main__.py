"""`python -m train`: data, fit, ablate, family, evaluate."""

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
    fit.add_argument("--seed", type=int, help="another seed than the recipe's; the name tells it")
    fit.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    fit.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    fit.add_argument("--models", type=Path, default=Path("models"), help="where the finished model lands")
    fit.set_defaults(run=_fit)

    ablate = commands.add_parser("ablate", help="train variants of a recipe by one protocol and compare them")
    ablate.add_argument("plan", type=Path, help="a TOML file, for example train/ablations/fer-nano.toml")
    ablate.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    ablate.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    ablate.add_argument("--output", type=Path, default=Path("docs/measured/ablation.csv"))
    ablate.add_argument("--jobs", type=int, default=1, help="runs at a time; the cores are shared among them")
    ablate.set_defaults(run=_ablate)

    family = commands.add_parser("family", help="train large teachers, then the students they teach (wants a GPU)")
    family.add_argument("--teacher", default="fer-teacher", help="recipe of the teachers")
    family.add_argument("--seeds", type=int, default=3, help="how many teachers")
    family.add_argument("--students", nargs="+", default=["fer-base", "fer-small", "fer-nano"], help="recipes")
    family.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    family.add_argument("--runs", type=Path, default=Path("runs"), help="run folders, and the teachers' weights")
    family.add_argument("--models", type=Path, default=Path("models"), help="where the students land")
    family.set_defaults(run=_family)

    measure = commands.add_parser("evaluate", help="measure finished models on a split; appends to results.csv")
    measure.add_argument("models", type=Path, nargs="+", help="checkpoints (.safetensors), or .onnx and .tflite files")
    measure.add_argument("--split", default="PublicTest", help="PublicTest (default) or PrivateTest")
    measure.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    measure.add_argument("--results", type=Path, help="CSV (models/results.csv, or results-TASK.csv beside it)")
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

    chosen, data = recipe.load(options.recipe), cache.load_any(options.cache)
    if options.seed is not None:
        chosen = recipe.seeded(chosen, options.seed)
    run = options.runs / chosen.name
    with joined() as workers:
        loop.fit(chosen, data, run, workers)
        if workers.leads:
            print(publish.publish(chosen, data, run, options.models))


def _ablate(options: argparse.Namespace) -> None:
    from train import ablation

    plan = ablation.load_plan(options.plan)
    results = ablation.run_plan(plan, options.cache, options.runs, jobs=options.jobs)
    ablation.write_csv(options.output, results)
    print(ablation.table(options.output))


def _family(options: argparse.Namespace) -> None:
    from train import family, recipe
    from train.workers import joined

    data = cache.load(options.cache)
    with joined() as workers:
        places = family.Places(options.runs, options.models)
        teachers = family.train_teachers(recipe.load(options.teacher), options.seeds, data, places, workers)
        for name in options.students:
            print(family.train_student(recipe.load(name), teachers, data, places, workers))


def _evaluate(options: argparse.Namespace) -> None:
    from train import evaluate

    candidates = [evaluate.open_candidate(path) for path in options.models]
    evaluate.refuse_strangers(candidates)
    data = cache.load_any(options.cache)
    for candidate in candidates:
        result = evaluate.evaluate(candidate, data, options.split)
        results = options.results or evaluate.results_path(Path("models"), candidate.task)
        evaluate.append_result(results, result)
        print(f"{candidate.file} on {result.dataset} {result.split}, n = {result.n}")
        print(*result.lines(), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
