"""The sections of a review about its scores, classes and images."""

from darkroom.commands.review.blocks import Gallery, Section, SideBySide, Table, Thumbnail
from darkroom.commands.review.gate import WORDS, points, shown
from darkroom.commands.review.paired import Common, Metric, Mover
from darkroom.commands.review.snapshots import BENTO, SERVED, Snapshot
from darkroom.evaluation.figures import scores as figures
from darkroom.evaluation.scores.intervals import Interval
from darkroom.foundations.naming import count
from darkroom.test_uses import LIMIT, Uses

MOST_CLASSES = 12
"""Rows of a table of classes or of confused pairs."""
MOST_IMAGES = 24
"""Images of a gallery."""
PROBABILITIES = {"log_loss": "log loss (lower is better)", "ece": "calibration error (lower is better)"}


def scores(base: Snapshot, head: Snapshot, common: Common) -> Section:
    """Return the metrics of both models, with intervals and the paired tests."""
    section = Section("Scores")
    if base.model != head.model:
        section.blocks.append(f"Another model is selected: {head.model} instead of {base.model}.")
    if not common.same_tests:
        section.blocks.append(_other_tests(common))
    rows: list[tuple[str, ...]] = []
    for metric, found in common.metrics.items():
        before, after = (_bounded(value, metric, interval) for value, interval in (
            (found.before, found.before_interval), (found.after, found.after_interval)
        ))  # fmt: skip
        name = f"{WORDS[metric]}, {'' if common.same_tests else 'common '}test images ({len(common.images):,})"
        rows.append((name, found.verdict, before, after, points(found.difference, metric)))
    if not common.same_tests:
        metrics: tuple[Metric, ...] = ("accuracy", "macro_f1")
        rows += [
            (f"{WORDS[metric]}, all test images", "not comparable", _whole(base, metric), _whole(head, metric), "")
            for metric in metrics
        ]
    section.blocks.append(Table(("metric", "result", "before", "after", "change"), rows, text=2))
    section.blocks.extend(
        f"{WORDS[metric][:1].upper()}{WORDS[metric][1:]}: {found.evidence}." for metric, found in common.metrics.items()
    )
    section.blocks.extend((_others(base, head, common), _candidates(base, head)))
    return section


def classes(found: list[Mover], common: Common) -> Section | None:
    """Return the classes whose recall changed, and the confusion of both models; None without common test images."""
    if common.images.empty:
        return None
    section = Section("Classes that changed most")
    moved = [row for row in found if row.fixed or row.broken]
    rows = [
        (row.name, row.verdict, f"{row.images:,}", f"{row.before:.1%}", f"{row.after:.1%}",
         f"{100 * (row.after - row.before):+.1f}", f"{row.fixed:,}", f"{row.broken:,}")
        for row in moved[:MOST_CLASSES]
    ]  # fmt: skip
    columns = ("class", "result", "images", "recall before", "after", "points", "newly right", "newly wrong")
    more = (
        f"and {count(len(moved) - len(rows), 'class', 'classes')} that changed less" if len(moved) > len(rows) else ""
    )
    if rows:
        section.blocks.append(Table(columns, rows, text=2, left_out=more))
        section.blocks.append(
            "Result: McNemar's test within the class, with Holm's correction for the number of classes."
        )
    else:
        section.blocks.append("No image is classified correctly by only one of the two models.")
    return section


def confusion(base: Snapshot, head: Snapshot, common: Common) -> Section | None:
    """Return the confusion matrices side by side, and the pairs of classes whose confusion changed."""
    if common.images.empty:
        return None
    before, after = common.confusion("before"), common.confusion("after")
    section = Section("Confusion before and after")
    titles = (f"Before: {base.model}", f"After: {head.model}")
    drawings = [figures.confusion(matrix, common.classes) for matrix in (before, after)]
    section.blocks.append(SideBySide(list(zip(titles, drawings, strict=True))))
    names = common.classes
    pairs = [
        (names[row], names[column], int(before[row, column]), int(after[row, column]))
        for row in range(len(names))
        for column in range(len(names))
        if row != column and before[row, column] != after[row, column]
    ]
    pairs.sort(key=lambda pair: (-abs(pair[3] - pair[2]), pair))
    rows = [(actual, other, f"{old:,}", f"{new:,}", f"{new - old:+,}") for actual, other, old, new in pairs]
    if rows:
        more = f"and {count(len(rows) - MOST_CLASSES, 'pair')} more" if len(rows) > MOST_CLASSES else ""
        columns = ("class", "classified as", "before", "after", "change")
        section.blocks.append(Table(columns, rows[:MOST_CLASSES], text=2, left_out=more))
    else:
        section.blocks.append("The two matrices are equal.")
    return section


def flips(base: Snapshot, head: Snapshot, common: Common) -> Section | None:
    """Return the images that only one of the two models classifies correctly; None if there are none."""
    galleries = []
    for fixed, title, other, when in (
        (False, "Newly wrong", "after", "now"),
        (True, "Newly right", "before", "before"),
    ):
        images = common.flipped(fixed=fixed)
        if len(images):
            columns = ("image", "class", when)
            rows = images.head(MOST_IMAGES).to_dict("records")
            shown_images = [
                Thumbnail(head, int(row["row_after"]), (row["name"], row["label"], row[other])) for row in rows
            ]
            galleries.append(Gallery(title, columns, shown_images, len(images)))
    return Section("Images that changed", [*galleries]) if galleries else None


def cost(base: Snapshot, head: Snapshot) -> Section:
    """Return size and speed of the served model."""
    rows = []
    for name, words in (("megabytes", "network, MB"), ("milliseconds", "time per image, ms")):
        if name in base.cost and name in head.cost:
            rows.append(_change(words, float(base.cost[name]), float(head.cost[name])))
    for path, words in ((SERVED, "served folder, MB"), (BENTO, "Bento, MB")):
        if path in base.megabytes and path in head.megabytes:
            rows.append(_change(words, round(base.megabytes[path], 2), round(head.megabytes[path], 2)))
    section = Section("Size and speed")
    if not rows:
        return Section("Size and speed", ["Not measured in both revisions (metrics/cost.json)."])
    section.blocks.append(Table(("", "before", "after", "change"), rows))
    section.blocks.append(
        "Times were measured where each revision was run: compare them only if it was the same machine."
    )
    return section


def uses(found: Uses, head: Snapshot) -> Section:
    """Return how often the test images were used, and when a fresh test set is due."""
    tests = head.data["test"]
    lead = (
        f"{count(found.models, 'distinct model was', 'distinct models were')} scored on the present "
        f"{count(tests, 'test image')} in {count(found.commits, 'commit')} of this history"
    )
    if found.in_experiments:
        lead += f", and {found.in_experiments:,} more in DVC experiments of this clone"
    lead += ". This clone is shallow, so these are lower bounds." if found.is_shallow else "."
    due = f"A fresh test set is {'due, as it is' if found.due else 'due'} from {LIMIT} models on."
    return Section("How often the test images were used", [
        f"{lead} {due}",
        f"The rule: the one of {LIMIT} equally good, independent models that scores highest is expected to lie as far "
        "above its true accuracy as its 95% interval reaches. This matters if people, or this gate, choose by test "
        "scores; the pipeline itself selects on validation. It is a cautious limit: models agree on most images, so "
        "choosing among them adds less (Mania et al., 2019), and over one hundred Kaggle competitions showed little "
        "evidence of substantial overfitting from reuse (Roelofs et al., 2019).",
    ])  # fmt: skip


def _other_tests(common: Common) -> str:
    if common.images.empty:
        return "The revisions share no test image: none of their scores can be compared."
    shared = count(len(common.images), "is", "are")
    return (
        f"The test images differ: {shared} in both revisions, {common.only_before:,} only in the base, and "
        f"{common.only_after:,} only in the later one; an image with another class than before counts as both. "
        "The models are compared on the common images. Scores on all test images are not comparable."
    )


def _others(base: Snapshot, head: Snapshot, common: Common) -> Table:
    """Return the metrics without a paired test."""
    rows = []
    old, new = base.evaluation["best"], head.evaluation["best"]
    for name, words in PROBABILITIES.items():
        if f"test_{name}" in old and f"test_{name}" in new:
            rows.append(_change(words, float(old[f"test_{name}"]), float(new[f"test_{name}"])))
    if "confident" in old and "confident" in new:
        rows.append(_change("share of confident answers", float(old["confident"]), float(new["confident"])))
    name = "mean_corruption_accuracy"
    if name in base.robustness and name in head.robustness:
        before, after = float(base.robustness[name]), float(head.robustness[name])
        rows.append(_change("mean accuracy on corrupted images", before, after))
    note = "" if common.same_tests else "On all test images of each revision, so differences are not comparable."
    return Table(("other metrics", "before", "after", "change"), rows, left_out=note)


def _candidates(base: Snapshot, head: Snapshot) -> Table:
    before, after = base.evaluation["candidates"], head.evaluation["candidates"]
    marks = {(True, True): "selected", (True, False): "selected before", (False, True): "selected now"}
    rows = []
    for name in [*after, *(name for name in before if name not in after)]:
        values = [f"{each[name]['test_accuracy']:.2%}" if name in each else "–" for each in (before, after)]
        mark = marks.get((name == base.model, name == head.model), "")
        rows.append((name, mark, *values))
    return Table(("candidate", "", "test accuracy before", "after"), rows, text=2)


def _change(words: str, before: float, after: float) -> tuple[str, ...]:
    return words, f"{before:.4g}", f"{after:.4g}", f"{after - before:+.3g}" if after != before else "0"


def _bounded(value: float, metric: Metric, interval: Interval) -> str:
    low, high = (shown(bound, metric) for bound in interval)
    return f"{shown(value, metric)} ({low.removesuffix('%')}–{high})"


def _whole(snapshot: Snapshot, metric: Metric) -> str:
    best = snapshot.evaluation["best"]
    value, low, high = (float(best[f"test_{metric}{bound}"]) for bound in ("", "_low", "_high"))
    return _bounded(value, metric, (low, high))
