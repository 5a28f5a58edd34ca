"""What the results teach, and what to try next: each sentence only where the results bear it out."""

from darkroom import balance
from darkroom.reporting import sentences
from darkroom.reporting.facts import Entry, Facts, SliceRow
from darkroom.reporting.wording import chance, count, listing, percent, points, times

SMALL = 64
"""Side in pixels up to which the networks of the zoo can be trained from random weights in reasonable time."""
SIGNIFICANCE = 0.05
"""A difference that chance alone would bring this rarely counts as one."""
PRETRAINED = ("mobilenet_v2", "resnet18", "efficientnet_b0", "resnet50")
"""Networks of torchvision to try, the cheapest first."""


def smaller(facts: Facts) -> Entry | None:
    """Return the network with the fewest parameters where that is not the best; None otherwise."""
    least = min(facts.networks, key=lambda entry: entry.card.parameters)
    return least if least.card.parameters < facts.best.card.parameters else None


def against(entry: Entry) -> str:
    """Say how a candidate did against the best on test."""
    versus = entry.versus_best
    if not versus:
        return ""
    if versus["verdict"] == "within noise":
        return "within noise of it on test"
    return f"{versus['verdict']} than it by {points(versus['difference'])} on test"


def lessons(facts: Facts) -> list[str]:
    """Return what the results teach, each only where they do."""
    best, lines = facts.best, []
    least = smaller(facts)
    ratio = times(best.card.parameters / least.card.parameters) if least else ""
    if least and ratio != "1.0 times":
        said = against(least)
        lines.append(
            f"Size: {best.card.name} has {ratio} the parameters of {least.card.name}"
            + (f", which is {said}." if said else ".")
        )
        fast, slow = (facts.costs.get(each.card.name) for each in (least, best))
        if fast and slow and slow.milliseconds > 1.5 * fast.milliseconds:
            lines.append(
                f"Speed: {least.card.name} answers {times(slow.milliseconds / fast.milliseconds)} as fast, in "
                f"{fast.milliseconds:.2g} ms an image on one thread against {slow.milliseconds:.2g} ms."
            )
    lines += _twins(facts)
    lines += _course(best)
    if facts.confusions:
        total = sum(item.count for item in facts.confusions)
        top = facts.confusions[: min(3, len(facts.confusions))]
        share = sum(item.count for item in top)
        even = len(top) / len(facts.confusions)  # their share if all were alike
        if top[-1].count >= 2 and share / total >= max(0.3, 2 * even):
            pairs = listing([f"{item.actual} for {item.predicted}" for item in top])
            lines.append(f"Mistakes cluster: {pairs} make {share:,} of {count(total, 'mistake')}.")
    lines += _hardest(facts)
    return lines + _weakest(facts)


def _weakest(facts: Facts) -> list[str]:
    """Name the slice with a significantly lower accuracy than the other images, the most significant if several."""
    weak = [row for row in facts.slices if row.p_value < SIGNIFICANCE and row.accuracy < facts.best.test["accuracy"]]
    if not weak:
        return []
    row = min(weak, key=lambda each: each.p_value)
    return [
        f"Kinds of images: it does worse than on the others at {_kind(row)}, {percent(row.accuracy)} of "
        f"{count(row.images, 'image')} right ({sentences.interval(vars(row), 'accuracy')}; Fisher's exact test with "
        f"Holm's correction, {chance(row.p_value)})."
    ]


def _kind(row: SliceRow) -> str:
    """Return a kind of images in words: "images of brightness 0.1 to 0.3"."""
    if row.measure == "leak":
        return f"images {'with' if row.kind == 'yes' else 'without'} a copy among those for training or validation"
    return f"images of the slice {row.kind}" if row.measure == "slice" else f"images of {row.measure} {row.kind}"


def _twins(facts: Facts) -> list[str]:
    """Compare training from scratch with training from pretrained weights, where both have one architecture."""
    for entry in facts.networks:
        if entry.card.kind != "transfer":
            continue
        for other in facts.networks:
            if other.card.kind == "scratch" and other.card.network and other.card.network == entry.card.network:
                gain = entry.validation["accuracy"] - other.validation["accuracy"]
                word = (
                    "the same validation accuracy as"
                    if not gain
                    else (f"{points(gain)} {'more' if gain > 0 else 'less'} validation accuracy than")
                )
                return [
                    f"Pretrained weights: {entry.card.name}, which starts from those of another data set, reaches "
                    f"{word} {other.card.name}, the same network from random weights."
                ]
    return []


def _course(best: Entry) -> list[str]:
    """Say what the course of the best network's training shows."""
    if best.card.epochs and not best.card.best_epoch:
        return [f"Training: no epoch made {best.card.name} better than its pretrained start."]
    losses = [epoch.validation_loss for epoch in best.history]
    if len(losses) < 3:
        return []
    lowest = min(losses)
    if losses[-1] > 1.1 * lowest and losses.index(lowest) < len(losses) - 2:
        sign = ", a sign of overfitting or of too much confidence, which calibration takes back"
        return [
            f"Training: the validation loss of {best.card.name} was lowest after epoch "
            f"{best.history[losses.index(lowest)].epoch} of {len(losses)} and {percent(losses[-1] / lowest - 1)} "
            f"higher at the end{sign if best.temperature > 1.05 else ''}."
        ]
    if improving(best):
        return [
            f"Training: {best.card.name} was still getting better at the end, after epoch {best.card.best_epoch} of "
            f"{best.card.epochs}."
        ]
    return []


def improving(entry: Entry) -> bool:
    """Return whether a network's validation accuracy still rose at the end of its training.

    The last epoch was kept, and it beats all that came before the last fifth; kept alone it would say nothing, as the
    last of several that are within noise of each other is kept.
    """
    reached = [epoch.validation_accuracy for epoch in entry.history]
    if len(reached) < 4 or entry.card.best_epoch != len(reached):
        return False
    return reached[-1] > max(reached[: -max(1, len(reached) // 5)])


def _hardest(facts: Facts) -> list[str]:
    """Name the class with the lowest F1, and whether it has few training images; nothing on a tie."""
    if len(facts.classes) < 2 or not facts.confusions:
        return []
    row, second = sorted(facts.classes, key=lambda each: each.f1)[:2]
    if row.f1 == second.f1:
        return []
    trained = {name: counts["train"] for name, counts in facts.data["per_class"].items()}
    middle = sorted(trained.values())[len(trained) // 2]
    few = (
        f", and with {count(trained[row.name], 'training image')} it has few" if trained[row.name] < middle / 2 else ""
    )
    tests = count(row.support, "test image")
    return [f"Classes: {row.name} is the hardest, with an F1 of {row.f1:.3f} on {tests}{few}."]


def next_steps(facts: Facts) -> list[tuple[str, str]]:
    """Return what to try next, each with the command for it or an empty one; the likeliest to pay first."""
    best, data = facts.best, facts.data
    section = f"datasets.{facts.dataset}"
    steps: list[tuple[str, str]] = []
    few = [row.name for row in facts.classes if row.support < balance.FEW]
    if facts.uneven and best.card.training.get("balance", "none") == "none":
        steps.append(("Give small classes more say", f"dvc exp run -S {section}.training.balance=weights"))
    if improving(best) and best.validation["accuracy"] < 0.99:
        steps.append(
            (
                "Train longer",
                f"dvc exp run -S {section}.training.epochs={2 * _asked(best)}",
            )
        )
    width = best.test["accuracy_high"] - best.test["accuracy_low"]
    if few or width > 0.05:
        whom = f", most of all of {listing(few[: sentences.TOLD])}" if few and len(few) < len(facts.classes) else ""
        steps.append((f"Collect more pictures{whom}; four times as many test images halve an interval", ""))
    if 0 < facts.label_issues <= (data["validation"] + data["test"]) / 10:  # else it is the model that errs
        labels = count(facts.label_issues, "label", "labels")
        steps.append((f"Look at {labels} that may be wrong, see plots/tables/label_issues.csv", ""))
    if data["conflicts"]:
        steps.append(("Decide by hand about the copies under two class names, see data/copies.csv", ""))
    if data["broken"]:
        steps.append(("Replace the files that cannot be read, see data/packed/broken.csv", ""))
    steps.append(("See how far the numbers move with another seed", f"dvc exp run -S seed={facts.seed + 1}"))
    return [*steps, _others(facts)]


def _asked(entry: Entry) -> int:
    """Return the epochs that the data set asked for; those of the card are multiplied by the recipe's own factor."""
    training = entry.card.training
    return max(1, round(int(training.get("epochs") or 8) / float(training.get("epochs_factor") or 1)))


def _others(facts: Facts) -> tuple[str, str]:
    """Return which other networks suit the images: those of the zoo are made for small ones."""
    if facts.data["image_size"] <= SMALL:
        return "Try other networks", "dvc exp run -S 'scratch=${zoo}'"
    tried = {entry.card.network.get("architecture") for entry in facts.networks} | {
        entry.card.name for entry in facts.networks
    }
    other = next((name for name in PRETRAINED if name not in tried), None)
    if other is None:
        return "Try other pretrained networks, see docs/transfer.md", ""
    command = f"dvc exp run -S '+transfer.{other}={{architecture: {other}}}'"
    return "Try another pretrained network, whose weights come from the network once", command
