"""Train a recipe: once, by folds, with teachers, many in a row."""

import argparse
import dataclasses
from pathlib import Path

from fer_edge.arguments import fraction, number, positive, whole_number

from train.command_files import OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import (
    ABLATIONS,
    MEASURED,
    MODELS,
    Commands,
    add_faces,
    add_out,
    add_seed,
    add_split,
    checkpoint_path,
    minutes,
)
from train.data import cache
from train.data.fer2013 import SPLITS


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    _register_trainings(commands)
    _register_many(commands)
    _register_measures(commands)


def _register_trainings(commands: Commands) -> None:
    fit = commands.add_parser("train", help="train a recipe, resuming where an earlier start got to")
    fit.add_argument("recipe", help="a name in train/recipes, or a path ending in .toml")
    add_seed(fit, "another seed than the recipe's; the name tells it")
    add_faces(fit)
    fit.add_argument("--runs", type=OUTPUT_FOLDER, default=Path("runs"), help="folder of the run folders")
    fit.add_argument("--models", type=OUTPUT_FOLDER, default=MODELS, help="where the finished model lands")
    fit.add_argument(
        "--minutes", type=minutes, help="stop at an epoch's end before this time is over; start again to go on"
    )
    fit.add_argument(
        "--compile", action="store_true", help="compile the network with torch.compile (needs a C++ compiler)"
    )
    fit.set_defaults(run=_fit)

    kfold = commands.add_parser("kfold", help="stratified k-fold cross-validation of a recipe, and its ensemble")
    kfold.add_argument("recipe", help="a name in train/recipes, or a path ending in .toml")
    kfold.add_argument("--folds", type=whole_number(2, 1000), default=5)
    kfold.add_argument("--student", help="distil the ensemble into this recipe; without it the best fold is published")
    add_faces(kfold)
    kfold.add_argument("--runs", type=OUTPUT_FOLDER, default=Path("runs"), help="folder of the run folders")
    kfold.add_argument("--models", type=OUTPUT_FOLDER, default=MODELS, help="where the model lands")
    kfold.set_defaults(run=_kfold)

    family = commands.add_parser("family", help="train large teachers, then the students they teach (wants a GPU)")
    family.add_argument("--teacher", default="fer-teacher", help="recipe of the teachers")
    family.add_argument("--seeds", type=positive, default=3, help="how many teachers")
    family.add_argument("--students", nargs="+", default=["fer-base", "fer-small", "fer-nano"], help="recipes")
    add_faces(family)
    family.add_argument(
        "--runs", type=OUTPUT_FOLDER, default=Path("runs"), help="run folders, and the teachers' weights"
    )
    family.add_argument("--models", type=OUTPUT_FOLDER, default=MODELS, help="where the students land")
    family.set_defaults(run=_family)


def _register_many(commands: Commands) -> None:
    ablate = commands.add_parser("ablate", help="train variants of a recipe by one protocol and compare them")
    ablate.add_argument("plan", type=Path, help="a TOML file, for example train/ablations/fer-nano.toml")
    add_faces(ablate)
    ablate.add_argument("--runs", type=OUTPUT_FOLDER, default=Path("runs"), help="folder of the run folders")
    ablate.add_argument("--out", type=OUTPUT_FILE, help="CSV (docs/ablations/PLAN/ablation.csv)")
    ablate.add_argument("--jobs", type=positive, default=1, help="runs at a time; the cores are shared among them")
    ablate.set_defaults(run=_ablate)

    campaign = commands.add_parser(
        "campaign", help="run the trainings of a plan, resuming where an earlier start got to"
    )
    campaign.add_argument("plan", type=Path, help="a TOML file of [[job]] tables: name, command, needs")
    campaign.add_argument(
        "--folder", type=OUTPUT_FOLDER, default=Path("runs/campaign"), help="what is done, and the logs"
    )
    campaign.add_argument("--at-once", type=positive, default=1, help="jobs at a time; the cores are shared among them")
    campaign.set_defaults(run=_campaign)

    answers = commands.add_parser("answers", help="store what teachers say of views of every face of Training")
    answers.add_argument("teachers", type=checkpoint_path, nargs="+", help="checkpoints (.safetensors) of one task")
    answers.add_argument(
        "--out", type=OUTPUT_FILE, required=True, help="file of answers (.npz), continued where it exists"
    )
    answers.add_argument("--views", type=positive, default=8, help="views of each face, the face itself first")
    answers.add_argument("--rotation", type=number(0, 180), default=10.0, help="largest rotation of a view, in degrees")
    answers.add_argument("--shift", type=fraction, default=0.08, help="largest shift, as a fraction of the side")
    answers.add_argument("--scale", type=fraction, default=0.1, help="largest change of size, as a fraction")
    add_seed(answers, "of the views", 0)
    answers.add_argument("--bf16", action="store_true", help="answer in bfloat16, on processors that have it")
    add_faces(answers)
    answers.set_defaults(run=_answers)


def _register_measures(commands: Commands) -> None:
    measure = commands.add_parser("evaluate", help="measure finished models on a split; appends to results.csv")
    measure.add_argument("models", type=checkpoint_path, nargs="+", help="names, checkpoints, .onnx or .tflite files")
    add_split(measure)
    add_faces(measure)
    measure.add_argument("--out", type=OUTPUT_FILE, help="CSV (models/results.csv, or results-TASK.csv beside it)")
    measure.set_defaults(run=_evaluate)

    cost = commands.add_parser("cost", help="parameters and multiplications for a face of models, as a CSV")
    cost.add_argument("models", type=checkpoint_path, nargs="+", help="checkpoints (.safetensors)")
    add_out(cost, MEASURED / "cost.csv")
    cost.set_defaults(run=_cost)


def _fit(options: argparse.Namespace) -> None:
    # torch takes seconds to import; the data command and --help do without it.
    from train.fit import loop, publish, recipe
    from train.fit.workers import joined

    chosen, data = recipe.load(options.recipe), cache.load_any(options.faces)
    if options.seed is not None:
        chosen = recipe.seeded(chosen, options.seed)
    run = options.runs / chosen.name
    with joined() as workers:
        loop.fit(chosen, data, run, workers, minutes=options.minutes, compiled=options.compile)
        if workers.leads:
            print(publish.publish(chosen, data, run, options.models))


def _kfold(options: argparse.Namespace) -> None:
    from train.fit import campaign, publish, recipe
    from train.fit.workers import joined
    from train.studies import kfold

    chosen, data = recipe.load(options.recipe), cache.load(options.faces)
    student = recipe.load(options.student) if options.student else None
    if student is not None:  # a model of its own, beside the one of that recipe
        campaign.require_same_task(chosen, [student])
        student = dataclasses.replace(student, name=f"{student.name}-of-{chosen.name}")
    with joined() as workers:
        result = kfold.cross_validate(chosen, data, options.folds, options.runs, workers)
        if workers.leads:
            print(kfold.write(result, options.runs / chosen.name).read_text(), end="")
        if student is not None:
            places = campaign.Places(options.runs, options.models)
            path = campaign.train_student(student, result.checkpoints, data, places, workers)
        elif workers.leads:
            run = options.runs / chosen.name / f"fold{result.best}"
            watched = f"fold {result.best} of {options.folds}, the best of them"
            path = publish.publish(chosen, data, run, options.models, validated_on=watched)
        if workers.leads:
            print(path)


def _family(options: argparse.Namespace) -> None:
    from train.fit import campaign, recipe
    from train.fit.workers import joined

    data = cache.load(options.faces)
    teacher, students = recipe.load(options.teacher), [recipe.load(name) for name in options.students]
    campaign.require_same_task(teacher, students)
    with joined() as workers:
        places = campaign.Places(options.runs, options.models)
        teachers = campaign.train_teachers(teacher, options.seeds, data, places, workers)
        for student in students:
            print(campaign.train_student(student, teachers, data, places, workers))


def _ablate(options: argparse.Namespace) -> None:
    from train.studies import ablation

    plan = ablation.load_plan(options.plan)
    results = ablation.run_plan(plan, options.faces, options.runs, jobs=options.jobs)
    output = options.out or ABLATIONS / plan.name / "ablation.csv"
    ablation.write(output, results)
    print(ablation.table(output))


def _campaign(options: argparse.Namespace) -> None:
    from train.fit import campaign

    campaign.run(campaign.load_plan(options.plan), options.folder, at_once=options.at_once)


def _answers(options: argparse.Namespace) -> None:
    from train.fit import answers
    from train.fit.views import ViewSettings

    data = cache.load(options.faces)
    images = data.images[data.usage == SPLITS.index("Training")]
    settings = ViewSettings(options.rotation, options.shift, options.scale, options.seed)
    written = answers.write_answers(options.out, options.teachers, images, settings, options.views, bf16=options.bf16)
    for known in written:
        print(f"{options.out}: {len(known.log_probabilities)} of {options.views} views", flush=True)


def _evaluate(options: argparse.Namespace) -> None:
    from train.fit import evaluate

    candidates = [evaluate.open_candidate(path) for path in options.models]
    evaluate.refuse_strangers(candidates)
    data = cache.load_any(options.faces)
    for candidate in candidates:
        result = evaluate.evaluate(candidate, data, options.split)
        results = options.out or evaluate.results_path(MODELS, candidate.task)
        evaluate.append_result(results, result)
        print(f"{candidate.file} on {result.dataset} {result.split}, n = {result.n}")
        print(*result.lines(), sep="\n")


def _cost(options: argparse.Namespace) -> None:
    from train.fit import cost

    cost.write_costs(options.out, options.models)
    print(options.out.read_text(), end="")
