"""Evaluate every candidate and select the best on validation.

python stages evaluate --candidates models/candidates --packed data/packed --split data/split.csv
    --metrics metrics/evaluation.json --curves plots/learning_curves.csv --confusion plots/confusion.csv
    --per-class plots/per_class.csv --tables plots/tables --figures plots/evaluation --best models/best.json
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from darkroom import balance, frames, plotting
from darkroom.candidate_names import BASELINE, read_names
from darkroom.evaluation import abstention, tables
from darkroom.evaluation.evaluate import check_same_data, evaluate, resample
from darkroom.evaluation.failures.review import review
from darkroom.evaluation.figures import gallery
from darkroom.evaluation.scores.comparison import compare_each
from darkroom.evaluation.selection import caution, choose, decide
from darkroom.evaluation.settings import SelectSettings
from darkroom.foundations import files, naming, params
from darkroom.foundations.errors import run
from darkroom.packed import open_packed, read_split


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate and compare the candidates, select the best, analyse its failures, and write the results."""
    arguments = _parse(argv)
    settings = params.load(arguments.params, SelectSettings, "select")
    seed = params.load(arguments.params, int, "seed")
    split = read_split(arguments.split)
    resamples = resample(split, seed)
    evaluated = [evaluate(arguments.candidates / name, split, resamples) for name in read_names(arguments.params)]
    check_same_data(each.card for each in evaluated)

    labels = split.labels[split.rows("test")]
    metric = decide(settings.metric, split)
    baseline = next(each for each in evaluated if each.card.name == BASELINE)
    networks = [each for each in evaluated if each is not baseline]
    validation_labels = split.labels[split.rows("validation")]
    chosen = choose(networks, baseline, metric, settings.prefer, labels=validation_labels, seed=seed)
    chosen = replace(chosen, reason=f"{chosen.reason} {caution(networks, settings.prefer)}".rstrip())
    best = chosen.best
    right = {each.card.name: each.predicted == labels for each in evaluated}
    comparisons = compare_each(right.pop(best.card.name), right)

    data = open_packed(arguments.packed)
    thresholds = abstention.fit_each(networks, arguments.candidates, data.images, split, settings, seed)
    folder = arguments.candidates / best.card.name
    selective = abstention.evaluate_on_test(best, thresholds[best.card.name], folder, data.images, split, seed)
    reviewed = review(best, data, split)

    found = tables.evaluation(evaluated, best, comparisons, thresholds, selective)
    files.write_json(arguments.metrics, tables.headline(found))
    frames.write(arguments.curves, tables.curves(evaluated), escape=False)
    frames.write(arguments.confusion, tables.confusion(best, labels), escape=False)
    frames.write(arguments.per_class, tables.per_class(evaluated, labels))
    with files.whole_directory(arguments.tables) as out:
        files.write_json(out / "scores.json", found)
        for name, frame in tables.lists(evaluated, labels, reviewed, data.records, split).items():
            frames.write(out / f"{name}.csv", frame)
    counts = balance.count(split)
    uneven, majority = balance.are_uneven(counts), balance.majority(counts)
    drawings = gallery.draw(evaluated, best, labels, selective, majority.accuracy if uneven else None)
    drawings |= gallery.show(data.images, reviewed.mistakes)
    with files.whole_directory(arguments.figures) as out:
        for name, drawing in drawings.items():
            plotting.save(drawing, out / f"{name}.png")
    # Last, since packaging depends on it.
    files.write_json(arguments.best, tables.choice(chosen, metric))
    macro = f"macro F1 {best.test.macro_f1:.3f}, accuracy " if uneven else ""
    share = f" (always predicting {naming.shown(majority.name)}: {majority.accuracy:.2%})" if uneven else ""
    print(f"{chosen.reason} On test: {macro}{best.test.accuracy:.2%}{share}.", end=" ")
    print(f"Compared with the baseline: {comparisons[BASELINE].turned().verdict}.")
    if best.without_leaks:
        print(f"Test accuracy without {best.leaks:,} leaked images: {best.without_leaks.accuracy:.2%}.")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate every candidate and select the best on validation.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    inputs, outputs = ("candidates", "packed", "split"), ("metrics", "tables", "figures", "best")
    for name in (*inputs, *outputs, "curves", "confusion", "per-class"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
