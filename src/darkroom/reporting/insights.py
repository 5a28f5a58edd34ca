"""Findings and suggestions for the next run: each sentence appears only if the results support it."""

from darkroom import balance
from darkroom.reporting import advice, sentences, shortcuts, wording
from darkroom.reporting.facts import ClassRow, Entry, Facts, SliceRow
from darkroom.reporting.wording import chance, count, listing, percent, points, times

SMALL = 64
"""Largest image side in pixels for which networks of the zoo can be trained from scratch in reasonable time."""
SIGNIFICANCE = 0.05
"""Significance level: a difference with a smaller p-value counts as one."""
TRIED = 5
"""Number of networks trained from scratch from which on the whole zoo has probably been tried."""
INSTALLED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""Pretrained networks to suggest whose weights are installed with the environment, the cheapest first."""
DOWNLOADED = ("mobilenet_v2", "resnet18", "efficientnet_b0", "resnet50")
"""Networks of torchvision to suggest after these, the cheapest first."""


def smaller(facts: Facts) -> Entry | None:
    """Return the network with the fewest parameters if the best has more, else None."""
    least = min(facts.networks, key=lambda entry: entry.card.parameters)
    return least if least.card.parameters < facts.best.card.parameters else None


def against_best(entry: Entry) -> str:
    """Compare a candidate's test accuracy with that of the best, as a relative clause."""
    versus = entry.versus_best
    if not versus:
        return ""
    if versus["verdict"] == "within noise":
        return "whose test accuracy is not significantly different"
    side = "higher" if versus["verdict"] == "better" else "lower"
    return f"whose test accuracy is significantly {side}, by {points(versus['difference'])}"


def findings(facts: Facts) -> list[str]:
    """Return the findings that the results support, one sentence each."""
    best, lines = facts.best, []
    least = smaller(facts)
    ratio = times(best.card.parameters / least.card.parameters) if least else ""
    if least and ratio != "1.0 times":
        comparison = against_best(least)
        lines.append(
            f"Size: {best.card.name} has {ratio} the parameters of {least.card.name}"
            + (f", {comparison}." if comparison else ".")
        )
        fast, slow = (facts.costs.get(each.card.name) for each in (least, best))
        if fast and slow and slow.milliseconds > 1.5 * fast.milliseconds:
            lines.append(
                f"Speed: {least.card.name} is {times(slow.milliseconds / fast.milliseconds)} as fast, with "
                f"{fast.milliseconds:.2g} ms per image on one thread compared with {slow.milliseconds:.2g} ms."
            )
    lines += _pretraining(facts)
    lines += _training_course(best)
    if facts.confusions:
        total = sum(item.count for item in facts.confusions)
        top = facts.confusions[: min(3, len(facts.confusions))]
        share = sum(item.count for item in top)
        even = len(top) / len(facts.confusions)  # expected count if all pairs were equally frequent
        if top[-1].count >= 2 and share / total >= max(0.3, 2 * even):
            pairs = listing([f"{item.actual} as {item.predicted}" for item in top])
            lines.append(f"Mistakes: classifying {pairs} accounts for {share:,} of {count(total, 'mistake')}.")
    lines += _hardest_class(facts)
    return lines + _weakest_slice(facts)


def _weakest_slice(facts: Facts) -> list[str]:
    """Name the slice with the most significantly lower accuracy than the other images, if there is any."""
    weak = [row for row in facts.slices if row.p_value < SIGNIFICANCE and row.accuracy < facts.best.test["accuracy"]]
    if not weak:
        return []
    row = min(weak, key=lambda each: each.p_value)
    return [
        f"Slices: accuracy on {_kind(row)} is lower than on the other test images: {percent(row.accuracy)} of "
        f"{count(row.images, 'image')} ({wording.interval(vars(row), 'accuracy')}; Fisher's exact test with Holm's "
        f"correction, {chance(row.p_value)})."
    ]


def _kind(row: SliceRow) -> str:
    """Describe a slice in words: "images with brightness 0.1 to 0.3"."""
    if row.measure == "leak":
        which = "with" if row.kind == "yes" else "without"
        return f"images {which} a copy or an image of the same scene among the training or validation images"
    return f"images of the slice {row.kind}" if row.measure == "slice" else f"images with {row.measure} {row.kind}"


def _pretraining(facts: Facts) -> list[str]:
    """Compare training from pretrained weights with training from scratch, if both used the same architecture."""
    for entry in facts.networks:
        if entry.card.kind != "transfer":
            continue
        for other in facts.networks:
            if other.card.kind == "scratch" and other.card.network and other.card.network == entry.card.network:
                gain = entry.validation["accuracy"] - other.validation["accuracy"]
                relation = "equal to"
                if gain:
                    relation = f"{points(gain)} {'above' if gain > 0 else 'below'}"
                return [
                    f"Pretraining: the validation accuracy of {entry.card.name}, trained from pretrained weights, "
                    f"is {relation} that of {other.card.name}, the same network trained from random weights."
                ]
    return []


def _training_course(best: Entry) -> list[str]:
    """Describe what the learning curves of the best network show."""
    if best.card.epochs and not best.card.best_epoch:
        return [f"Training: no epoch of {best.card.name} improved on the weights at the start, which were kept."]
    losses = [epoch.validation_loss for epoch in best.history]
    if len(losses) < 3:
        return []
    lowest = min(losses)
    if losses[-1] > 1.1 * lowest and losses.index(lowest) < len(losses) - 2:
        sign = ", a sign of overfitting or of overconfidence, which calibration corrects"
        return [
            f"Training: the validation loss of {best.card.name} was lowest after epoch "
            f"{best.history[losses.index(lowest)].epoch} of {len(losses)} and {percent(losses[-1] / lowest - 1)} "
            f"higher at the end{sign if best.temperature > 1.05 else ''}."
        ]
    if improving(best):
        return [
            f"Training: {best.card.name} was still improving when training ended, after epoch {best.card.best_epoch} "
            f"of {best.card.epochs}."
        ]
    return []


def improving(entry: Entry) -> bool:
    """Return whether a network's validation accuracy was still rising when training ended.

    The last epoch must have been kept and must exceed every epoch before the last fifth. That it was kept is not
    sufficient, because the last of several epochs within noise of each other is kept.
    """
    reached = [epoch.validation_accuracy for epoch in entry.history]
    if len(reached) < 4 or entry.card.best_epoch != len(reached):
        return False
    return reached[-1] > max(reached[: -max(1, len(reached) // 5)])


def _hardest_class(facts: Facts) -> list[str]:
    """Name the classes with a significantly lower recall than the other images, and describe the most significant."""
    accuracy = facts.best.test["accuracy"]
    weak = [row for row in facts.classes if row.p_value < SIGNIFICANCE and row.recall < accuracy]
    if not weak:
        return []
    row, *more = sorted(weak, key=lambda each: (each.p_value, each.recall))
    total = sum(each.support for each in facts.classes)
    others = (accuracy * total - row.recall * row.support) / (total - row.support)
    trained = {name: counts["train"] for name, counts in facts.data["per_class"].items()}
    middle = sorted(trained.values())[len(trained) // 2]
    few = f" It has only {count(trained[row.name], 'training image')}." if trained[row.name] < middle / 2 else ""
    return [
        f"Classes: accuracy on images of {row.name} is lower than on the other test images: {percent(row.recall)} of "
        f"{count(row.support, 'image')}, compared with {percent(others)} (Fisher's exact test with Holm's correction, "
        f"{chance(row.p_value)}).{few}{_also(more)}"
    ]


def _also(rows: list[ClassRow]) -> str:
    """Name further classes with a lower recall: up to three, and the number of the others."""
    if not rows:
        return ""
    named = [f"{row.name} ({percent(row.recall)})" for row in rows[:3]]
    return f" The same is true of {listing([*named, *([f'{len(rows) - 3:,} more'] if len(rows) > 3 else [])])}."


def next_steps(facts: Facts) -> list[tuple[str, str]]:
    """Return what to try next, the most promising first, each with a command or an empty string."""
    best, data = facts.best, facts.data
    section = f"datasets.{facts.dataset}"
    steps: list[tuple[str, str]] = []
    if behind := advice.behind(best.card.name, vars(best), vars(facts.bar), facts.uneven):
        steps.append((behind.rstrip("."), ""))
    few = [row.name for row in facts.classes if row.support < balance.FEW]
    if facts.uneven and best.card.training.get("balance", "none") == "none":
        steps.append(("Give small classes more weight", f"dvc exp run -S {section}.training.balance=weights"))
    if improving(best) and best.validation["accuracy"] < 0.99:
        steps.append(advice.longer(best.card, facts.dataset))
    steps += advice.transfer(best.card, facts.dataset, data["train"])
    width = best.test["accuracy_high"] - best.test["accuracy_low"]
    if few or width > 0.05:
        some = few and len(few) < len(facts.classes)
        classes = f", especially of {listing(few[: sentences.MAX_NAMES])}" if some else ""
        collect = f"Collect more images{classes}: the more test images, the narrower the intervals"
        steps.append((collect, ""))
    if facts.labels and (probable := facts.labels.get("probable")):
        labels = count(probable, "label that is", "labels that are")
        steps.append((f"Check {labels} probably wrong, the first in plots/labels/issues.csv", ""))
    if facts.labels and (names := shortcuts.strong(facts.labels["shortcuts"])):
        steps.append((f"Collect images of all classes from the same sources: {names[0]} differs between classes", ""))
    if data["conflicts"]:
        steps.append(("Decide which class is right for copies in two classes, listed in data/copies.csv", ""))
    if data["broken"]:
        files = "the file" if data["broken"] == 1 else "the files"
        steps.append((f"Replace {files} that could not be read, listed in data/packed/broken.csv", ""))
    steps.append(("Measure how much the scores vary with another seed", f"dvc exp run -S seed={facts.seed + 1}"))
    return [*steps, _other_networks(facts)]


def _other_networks(facts: Facts) -> tuple[str, str]:
    """Suggest other networks of the kind that was trained; those of the zoo are made for small images."""
    scratch = [entry for entry in facts.networks if entry.card.kind == "scratch"]
    if scratch and len(scratch) < TRIED and facts.data["image_size"] <= SMALL:
        return "Try other networks", "dvc exp run -S 'scratch=${zoo}'"
    tried = {entry.card.network.get("architecture") for entry in facts.networks} | {
        entry.card.name for entry in facts.networks
    }
    other = next((name for name in (*INSTALLED, *DOWNLOADED) if name not in tried), None)
    if other is None:
        return "Try other pretrained networks, described in docs/transfer.md", ""
    command = f"dvc exp run -S '+transfer.{other}={{architecture: {other}}}'"
    source = "already installed" if other in INSTALLED else "downloaded once"
    return f"Try another pretrained network, whose weights are {source}", command
