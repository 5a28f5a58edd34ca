"""Judge every candidate and choose the best on validation.

python stages/evaluate.py --candidates models/candidates --packed data/packed --split data/split.csv
    --metrics metrics/evaluation.json --curves plots/learning_curves.csv --confusion plots/confusion.csv
    --per-class plots/per_class.csv --figures plots/evaluation --best models/best.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom import files, params, plotting
from darkroom.errors import run
from darkroom.evaluation import doubting, outsiders, tables
from darkroom.evaluation.comparison import compare_each
from darkroom.evaluation.gallery import draw
from darkroom.evaluation.intervals import Bootstrap
from darkroom.evaluation.judging import check_same_data, judge
from darkroom.evaluation.roster import BASELINE, read_names
from darkroom.evaluation.selection import choose, decide
from darkroom.evaluation.settings import SelectSettings
from darkroom.packed import open_packed, read_split, write_rows
from darkroom.predictor import Predictor


def main(argv: Sequence[str] | None = None) -> None:
    """Judge, choose, compare, and write it all down."""
    arguments = _parse(argv)
    settings = params.load(arguments.params, SelectSettings, "select")
    seed = params.load(arguments.params, int, "seed")
    split = read_split(arguments.split)
    bootstrap = Bootstrap(len(split.rows("test")), seed)
    judged = [judge(arguments.candidates / name, split, bootstrap) for name in read_names(arguments.params)]
    check_same_data(each.card for each in judged)

    labels = split.labels[split.rows("test")]
    metric = decide(settings.metric, split)
    bar = next(each for each in judged if each.card.name == BASELINE)
    networks = [each for each in judged if each is not bar]
    chosen = choose(networks, bar, metric, settings.prefer)
    best = chosen.best
    right = {each.card.name: each.predicted == labels for each in judged}
    comparisons = compare_each(right.pop(best.card.name), right)

    images = open_packed(arguments.packed).images
    strange = outsiders.drawn(images[split.rows("validation")], seed)
    doubts, unseen = {}, {}
    for each in networks:
        predictor = Predictor(arguments.candidates / each.card.name)
        met = doubting.answer(predictor, strange)
        doubts[each.card.name] = doubting.fit(
            each.predictions.validation, np.concatenate(list(met.values())), each.temperature, settings.coverage
        )
        if each is best:
            unseen = doubting.answer(predictor, outsiders.elsewhere(images.shape[1], split.classes, seed))
            unseen |= doubting.answer(predictor, outsiders.drawn(images[split.rows("test")], seed + 1))
    worth = doubting.measure(
        doubts[best.card.name], best.temperature, best.predictions.test, best.predicted == labels, unseen
    )

    files.write_json(arguments.metrics, tables.evaluation(judged, best, comparisons, doubts, worth))
    write_rows(arguments.curves, tables.CURVES, tables.curves(judged))
    write_rows(arguments.confusion, tables.CONFUSION, tables.confusion(best, labels))
    write_rows(arguments.per_class, tables.PER_CLASS, tables.per_class(judged, labels))
    drawings = draw(judged, best, labels)
    with files.whole_directory(arguments.figures) as folder:
        for name, drawing in drawings.items():
            plotting.save(drawing, folder / f"{name}.png")
    # Last, since it is what packaging waits for.
    files.write_json(arguments.best, tables.choice(chosen, metric))
    print(f"{chosen.reason} On test: {best.test.accuracy:.2%}", end=", ")
    print(f"{comparisons[BASELINE].turned().verdict} versus the baseline.")
    if best.without_leaks:
        print(f"Without {best.without_leaks.leaks:,} leaked test images: {best.without_leaks.accuracy:.2%}.")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge every candidate and choose the best on validation.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    paths = ("candidates", "packed", "split", "metrics", "curves", "confusion", "per-class", "figures", "best")
    for name in paths:
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
