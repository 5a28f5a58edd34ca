"""What the results mean, in sentences that report, slides and model card share. Plain text, true for any data."""

from darkroom import balance
from darkroom.reporting.facts import Confusion, Entry, Facts
from darkroom.reporting.wording import chance, count, duration, listing, numeral, percent, points
from darkroom.thresholds import describe

TOLD = 5
"""Classes that are named before the rest are only counted."""
ALIKE = 0.01
"""Mean confidence and accuracy that differ by no more than this are called alike."""


def summary(facts: Facts) -> list[str]:
    """Return five statements: the task, the choice, the score, the comparison, and what to beware of."""
    data = facts.data
    task = (
        f"{numeral(len(facts.entries))} models learnt {count(data['classes'], 'class', 'classes')} from "
        f"{count(data['train'], 'image')} of {data['dataset']}: a classical baseline and "
        f"{numeral(len(facts.networks)).lower()} {'network' if len(facts.networks) == 1 else 'networks'}."
    )
    return [task, choice(facts), headline(facts), verdict(facts), caveat(facts)]


def choice(facts: Facts) -> str:
    """Say which network is the best and why; where there was a choice, that the test images had no say in it."""
    return facts.reason if len(facts.networks) == 1 else f"{facts.reason} The test images had no say in this choice."


def validation_use(facts: Facts) -> str:
    """Say what the validation images are for, as the predicate of a sentence."""
    uses = ["choose the best network"] if len(facts.networks) > 1 and not facts.by_folds else []
    if facts.trained:
        uses.append("decide which epoch is kept")
    uses.append("set the penalties of linear classifiers")  # the baseline is one, and a probe's last layer
    together = " and, with the training images in folds, choose the best network"
    folds = together if len(facts.networks) > 1 and facts.by_folds else ""
    return listing([*uses, "calibrate", "set thresholds"]) + folds


def training(entry: Entry) -> str:
    """Say how long a network was trained, and what was kept."""
    card, time = entry.card, duration(entry.card.seconds)
    if not card.epochs:
        return f"{card.name}: last layer alone, fitted in {time}"
    kept = f"epoch {card.best_epoch} kept" if card.best_epoch else "none better than the start, which was kept"
    return f"{card.name}: {count(card.epochs, 'epoch')} in {time}, {kept}"


def headline(facts: Facts) -> str:
    """Give the score that matters most, with its interval; where classes are uneven, what the majority share is."""
    test, name = facts.best.test, facts.best.card.name
    right = f"right on {percent(test['accuracy'])} of {count(facts.data['test'], 'test image')}"
    if not facts.uneven:
        return f"{name} is {right} ({interval(test, 'accuracy')})."
    return (
        f"{name} reaches a macro F1 of {test['macro_f1']:.3f} (95% interval {test['macro_f1_low']:.3f} to "
        f"{test['macro_f1_high']:.3f}), in which every class counts the same. It is {right} "
        f"({interval(test, 'accuracy')}); {majority(facts)} would be right on {percent(facts.majority.accuracy)}."
    )


def majority(facts: Facts) -> str:
    """Name what needs no model: to answer the largest class every time."""
    return f"always answering {facts.majority.name}"


def interval(scores: dict[str, float], name: str) -> str:
    """Return the 95% interval of a share in words."""
    return f"95% interval {percent(scores[f'{name}_low'])} to {percent(scores[f'{name}_high'])}"


def verdict(facts: Facts) -> str:
    """Say whether the best network beats the baseline, by which test."""
    versus = facts.versus
    corrected = " with Holm's correction" if len(facts.entries) > 2 else ""
    test = f"McNemar's exact test{corrected}, {chance(versus['p_value'])}"
    reached = percent(facts.bar.test["accuracy"])
    it, bar = "It", ""
    if facts.uneven:
        it, bar = "In accuracy it", f" The baseline's macro F1 is {facts.bar.test['macro_f1']:.3f}."
    if versus["verdict"] == "better":
        return (
            f"{it} beats the baseline, which reaches {reached}, by {points(versus['difference'])}: more than chance "
            f"explains ({test}).{bar}"
        )
    if versus["verdict"] == "worse":
        return (
            f"{it} does not beat the baseline: it is worse, by {points(versus['difference'])}; the baseline reaches "
            f"{reached} ({test}).{bar}"
        )
    return f"{it} does not beat the baseline, which reaches {reached}: the difference is within noise ({test}).{bar}"


def caveat(facts: Facts) -> str:
    """Name the most frequent mistake, or that there is none, and how far the confidence is off."""
    off = f"its confidence and its accuracy differ by {points(facts.best.test['ece'])} on average."
    if not facts.confusions:
        return f"It makes no mistake on test, and {off}"
    first, *others = facts.confusions
    tied = others and others[0].count == first.count
    only = "Its only mistake is" if first.count == 1 else "All its mistakes are"
    which = ("One of its most frequent mistakes is" if tied else "Its most frequent mistake is") if others else only
    return f"{which} {mistake(facts, first)}, and {off}"


def mistake(facts: Facts, item: Confusion) -> str:
    """Return "to take 5 for 9 (1 of 40 images)"."""
    support = next(row.support for row in facts.classes if row.name == item.actual)
    return f"to take {item.actual} for {item.predicted} ({item.count:,} of {count(support, 'image')})"


def leaks(facts: Facts) -> str:
    """Say what the scores are without test images that the source gives elsewhere too; empty where there are none."""
    clean, tested = facts.best.without_leaks, facts.data["test"]
    if clean and facts.bar.without_leaks:
        rest = count(tested - int(clean["leaks"]), "test image")
        return (
            f"Without the {count(int(clean['leaks']), 'test image')} of which the source gives a copy for training or "
            f"validation as well, {facts.best.card.name} is right on {percent(clean['accuracy'])} of the other {rest} "
            f"({interval(clean, 'accuracy')}), and the baseline on {percent(facts.bar.without_leaks['accuracy'])} of "
            "them; no model was trained on such a copy."
        )
    if facts.data["leaks"] == tested:
        return (
            "The source gives a copy of every test image for training or validation as well, so there is no accuracy "
            "without them; no model was trained on such a copy."
        )
    return ""


def calibration(facts: Facts) -> str:
    """Say what temperature the best network needed, what that means, and what it brought on test."""
    best = facts.best
    if best.overconfidence > ALIKE:
        meaning = "it was too sure of itself"
    elif best.overconfidence < -ALIKE:
        meaning = "it was less sure than it could be"
    else:
        meaning = "it was about as sure as it should be"
    before = best.uncalibrated["ece"] if best.uncalibrated else None
    after = points(best.test["ece"])
    text = (
        f"Its logits are divided by a temperature of {best.temperature:.2f}, fitted on validation: before, {meaning}."
    )
    if before is None:
        return (
            f"{text} On test, confidence and accuracy then differ by {after} on average (expected calibration error)."
        )
    without = "as much" if points(before) == after else points(before)
    return (
        f"{text} On test, confidence and accuracy differ by {after} on average (expected calibration error); without "
        f"it they would differ by {without}."
    )


def abstention(facts: Facts) -> list[str]:
    """Say when the best network is sure, what that is worth, and how well it tells other pictures; may be empty."""
    fitted, selective = facts.best.thresholds, facts.selective
    if not fitted or not selective:
        return []
    score = {"energy": "the energy of the logits", "max_probability": "the largest probability"}[fitted["score"]]
    lines = [
        f"An answer counts as confident from a probability of {percent(fitted['confident'])} on, unless {score} says "
        f"that the picture is none of the classes; both bounds were set on validation, where "
        f"{percent(fitted['coverage'])} of the answers are confident."
    ]
    if "confident_accuracy" in selective:
        accuracy = percent(selective["confident_accuracy"])
        right = f"of these {accuracy} are right ({interval(selective, 'confident_accuracy')})"
        lines.append(f"On test {percent(selective['confident'])} of the answers are confident; {right}.")
    else:
        lines.append("On test no answer is confident.")
    foreign = describe({kind: figures["confident"] for kind, figures in selective["out_of_distribution"].items()})
    return [*lines, foreign] if foreign else lines


def foreign(kind: str) -> str:
    """Return a kind of outsiders in the plural: "plain colours"."""
    words = {"plain": "plain colours", "shuffled": "shuffled pictures", "noise": "pictures of noise"}
    return words.get(kind, kind.replace("_", " "))


def robustness(facts: Facts) -> str:
    """Say how the best network fares on pictures made worse; empty where that was not tried."""
    found = facts.robustness
    if not found:
        return ""
    corruptions: dict[str, float] = found["corruptions"]
    worst = min(corruptions, key=corruptions.__getitem__)
    text = (
        f"On {count(found['images'], 'test image')} made worse in {count(len(corruptions), 'way')} of three strengths, "
        f"{facts.best.card.name} is right on {percent(found['mean_corruption_accuracy'])} "
        f"({interval(found, 'mean_corruption_accuracy')}), against {percent(found['clean_accuracy'])} of them as they "
        "were."
    )
    if corruptions[worst] < found["clean_accuracy"]:
        text += f" {worst[0].upper()}{worst[1:]} harms it most: {percent(corruptions[worst])}."
    if facts.uneven:
        always = facts.majority
        text += f" Always answering {always.name} would be right on {percent(always.accuracy)} of all test images."
    return text


def letters(facts: Facts) -> str:
    """Say which class names figures write in Latin letters, as no font here has theirs; empty where there are none."""
    from darkroom import plotting  # and so matplotlib, which the model card need not pay

    foreign = [name for name in facts.best.card.classes if plotting.legible(name) != name]
    if not foreign:
        return ""
    shown = listing(foreign) if len(foreign) <= TOLD else count(len(foreign), "class name", "class names")
    it = "it" if len(foreign) == 1 else "them"
    return f"No font of the machine that drew the figures has the letters of {shown}: figures write {it} in Latin ones."


def limits(facts: Facts) -> list[str]:
    """Say how far to trust the figures."""
    lines = [
        "The intervals express only that the number of test images is limited. What else the seed decides at random is "
        "not in them.",
        "The test images come from the same source as the others. On pictures of another kind, expect less.",
    ]
    lines += few_tests(facts)
    if facts.robustness and facts.robustness["mean_corruption_accuracy"] < 0.9 * facts.robustness["clean_accuracy"]:
        lines.append("Pictures of poor quality are answered worse: see how it fares on pictures made worse.")
    if facts.absent:
        shown = listing(facts.absent) if len(facts.absent) <= TOLD else count(len(facts.absent), "class", "classes")
        it = "it" if len(facts.absent) == 1 else "them"
        lines.append(f"The test split has no image of {shown}, so nothing is known about {it}.")
    return lines


def few_tests(facts: Facts) -> list[str]:
    """Name the classes with too few test images to be evaluated, the smallest first; empty where there are none."""
    small = [each for each in balance.with_few_tests(facts.data["per_class"]) if each[1]]
    if not small:
        return []
    named = [f"{name} ({images:,})" for name, images in small[:TOLD]]
    if rest := len(small) - len(named):
        named.append(f"{rest:,} more")
    scores = "its scores say" if len(small) == 1 else "their scores say"
    which = "One class has" if len(small) == 1 else f"{numeral(len(small))} classes have"
    if len(small) == len(facts.classes) > 1:
        which = "All classes have"
    return [f"{which} fewer than {balance.FEW} test images, so {scores} little: {listing(named)}."]


REPEATS = (
    "On the same kind of processor the same seed gives the same numbers. Another processor, or a GPU, rounds "
    "differently, so scores may differ in their last digits and now and then by an image. Measured times differ on "
    "every machine."
)
"""What differs where the pipeline runs again."""


def tree(facts: Facts) -> str:
    """Say at which commit the report was written, and which tracked files differ from it."""
    if not facts.commit:
        return "With the repository at the version of this report:"
    text = f"This report was written at commit {facts.commit}"
    if facts.changed:
        text += f", with changes to {_files(facts.changed)} that were not committed"
    if facts.remade:
        text += f". Its results are those of this run: {_files(facts.remade)} differ from the ones committed there"
    return f"{text}. With that version of the repository{' and these changes' if facts.changed else ''}:"


def _files(names: list[str]) -> str:
    return listing([*names[:TOLD], *(["other files"] if len(names) > TOLD else [])])


def answers(facts: Facts) -> str:
    """Return of which kind the best network's answers on test are."""
    if not facts.confusions:
        return "right answers"
    return "right and wrong answers" if facts.best.test["accuracy"] else "wrong answers"


def quantization(facts: Facts) -> str:
    """Say what became of the served network in 8-bit integers; only where it was tried."""
    found = facts.quantization
    assert found is not None
    before, after = found["float32"], found["int8"]
    size, time = after["bytes"] / before["bytes"], after["milliseconds"] / before["milliseconds"]
    loss = before["accuracy"] - after["accuracy"]
    change = "changes no accuracy" if not loss else f"{'costs' if loss > 0 else 'brings'} {points(loss)} of accuracy"
    change_of_time = percent(abs(1 - time))
    takes = f"{change_of_time} {'less' if time < 1 else 'more'}" if change_of_time != "0.0%" else "the same"
    return (
        f"In 8-bit integers {facts.best.card.name} {change} on {count(facts.data['validation'], 'validation image')}, "
        f"has {percent(size)} of the size and takes {takes} time for an answer. "
        f"A loss of {points(found['max_loss'])} is allowed, so {'int8' if found['accepted'] else 'float32'} is served; "
        "every other figure here is that of the floats."
    )
