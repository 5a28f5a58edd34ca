"""Sentences about the results, shared by the report, the slides and the model card: plain text, true for any data."""

from darkroom import balance
from darkroom.reporting.calibration import calibration as calibration
from darkroom.reporting.facts import Confusion, Facts
from darkroom.reporting.leakage import leaks as leaks
from darkroom.reporting.wording import chance, count, interval, listing, numeral, percent, points, score
from darkroom.thresholds import describe
from darkroom.thresholds import kind_name as kind_name

MAX_NAMES = 5
"""Longest list of names; the rest are only counted."""
FEW_TO_CALIBRATE = 300
"""Test images below which the expected calibration error is mainly that of small numbers."""


def summary(facts: Facts) -> list[str]:
    """Return five statements: the task, the choice, the score, the comparison with the baseline, and the caveat.

    With a single network, there is no choice to report, and the second is empty unless the baseline is better.
    """
    data, networks = facts.data, facts.networks
    network = f"the network {facts.best.card.name}" if facts.single else f"{numeral(len(networks))} networks"
    task = (
        f"{numeral(len(facts.entries)).capitalize()} models were trained to distinguish "
        f"{count(data['classes'], 'class', 'classes')} on {count(data['train'], 'image')} of {data['dataset']}: "
        f"a classical baseline and {network}."
    )
    return [task, choice(facts), headline(facts), verdict(facts), caveat(facts)]


def choice(facts: Facts) -> str:
    """State which network was selected and why; of a single network only whether the baseline is better, or nothing."""
    if facts.single:
        return facts.reason.removeprefix(f"{facts.best.card.name} is the only network.").strip()
    return f"{facts.reason} The test images were not used for this selection."


def headline(facts: Facts) -> str:
    """Give the main score with its interval; for imbalanced classes, also the accuracy of predicting the largest."""
    test, name = facts.best.test, facts.best.card.name
    accuracy, images = percent(test["accuracy"]), count(facts.data["test"], "test image")
    if not facts.uneven:
        return f"{name} reaches an accuracy of {accuracy} on {images} ({interval(test, 'accuracy')})."
    bounds = ""
    if "macro_f1_low" in test:
        bounds = f" (95% confidence interval {score(test['macro_f1_low'])} to {score(test['macro_f1_high'])})"
    return (
        f"{name} reaches a macro F1 of {score(test['macro_f1'])}{bounds}, which gives every class equal weight. Its "
        f"accuracy on {images} is {accuracy} ({interval(test, 'accuracy')}); {majority(facts)} would reach "
        f"{percent(facts.majority.accuracy)}."
    )


def majority(facts: Facts) -> str:
    """Name the strategy that needs no model: predicting the largest class every time."""
    return f"always predicting {facts.majority.name}"


def verdict(facts: Facts) -> str:
    """State whether the best network outperforms the baseline, according to McNemar's test."""
    versus = facts.versus
    corrected = " with Holm's correction" if len(facts.entries) > 2 else ""
    test = f"McNemar's exact test{corrected}, {chance(versus['p_value'])}"
    reached = percent(facts.bar.test["accuracy"])
    macro = f" The baseline's macro F1 is {score(facts.bar.test['macro_f1'])}." if facts.uneven else ""
    if not versus["difference"]:
        return f"The baseline reaches the same accuracy.{macro}"
    if versus["verdict"] == "within noise":
        return (
            f"The baseline reaches an accuracy of {reached}; the difference is not statistically significant "
            f"({test}).{macro}"
        )
    relation = "above" if versus["verdict"] == "better" else "below"
    return (
        f"The accuracy of {facts.best.card.name} is {points(versus['difference'])} {relation} that of the baseline, "
        f"which reaches {reached}; the difference is statistically significant ({test}).{macro}"
    )


def significance(facts: Facts) -> str:
    """Explain the verdicts of the comparison with the best network, without a full stop."""
    verdicts = {str(entry.versus_best["verdict"]) for entry in facts.entries if entry.versus_best}
    if "within noise" in verdicts:
        return '"within noise" means that the difference is not statistically significant at the 5% level'
    return '"better" and "worse" mean that the difference is statistically significant at the 5% level'


def caveat(facts: Facts) -> str:
    """Name the most frequent mistake, if there is any, and the calibration error."""
    name = facts.best.card.name
    error = points(facts.best.test["ece"])
    gap = f"Its expected calibration error is {error}."
    if (tested := facts.data["test"]) < FEW_TO_CALIBRATE:
        gap += f" With only {count(tested, 'test image')}, perfect calibration would not make it zero."
    if not facts.confusions:
        return f"{name} makes no mistakes on the test images. {gap}"
    first, *others = facts.confusions
    if first.count == 1 and others:
        return (
            f"{name} makes {count(len(facts.confusions), 'mistake')} on the test images, no two of the same kind. {gap}"
        )
    tied = others and others[0].count == first.count
    only = f"The only mistake of {name} is" if first.count == 1 else f"All mistakes of {name} are of one kind:"
    frequent = f"One of the most frequent mistakes of {name} is" if tied else f"The most frequent mistake of {name} is"
    return f"{frequent if others else only} classifying {mistake(facts, first)}. {gap}"


def mistake(facts: Facts, item: Confusion) -> str:
    """Return "5 as 9 (1 of 40 images)"."""
    support = next(row.support for row in facts.classes if row.name == item.actual)
    return f"{item.actual} as {item.predicted} ({item.count:,} of {count(support, 'image')})"


_DOUBTS = {
    "energy": "the energy of its logits indicates",
    "neighbors": "the distance of its features from those of the nearest training images indicates",
    "neighbors_energy": "the energy of its logits and the distance of its features from those of the nearest training "
    "images indicate",
}
"""What indicates that an image is out of distribution, by score."""


def abstention(facts: Facts) -> list[str]:
    """State when a prediction counts as confident, how accurate such predictions are, and how they fail."""
    fitted, selective = facts.best.thresholds, facts.selective
    if not fitted or not selective:
        return []
    both = fitted["score"] == "max_probability"  # so both thresholds apply to the same probability
    least = max(fitted["confident"], fitted["known"]) if both else fitted["confident"]
    unless = f", unless {_DOUBTS[fitted['score']]} that the image shows none of the classes" if not both else ""
    lines = [
        f"A prediction counts as confident if its probability is at least {percent(least)}{unless}. This was set on "
        "the validation images and on out-of-distribution images generated from them; "
        f"{percent(fitted['coverage'])} of the predictions on validation are confident."
    ]
    if "confident_accuracy" in selective:
        accuracy = percent(selective["confident_accuracy"])
        right = f"their accuracy is {accuracy} ({interval(selective, 'confident_accuracy')})"
        lines.append(
            f"On the test images, {percent(selective['confident'])} of the predictions are confident; {right}."
        )
    else:
        lines.append("On the test images, no prediction is confident.")
    shares = {kind: scores["confident"] for kind, scores in selective["out_of_distribution"].items()}
    return [*lines, describe(shares)] if shares else lines


def robustness(facts: Facts) -> str:
    """Give the accuracy of the best network on corrupted images; empty if it was not measured."""
    found = facts.robustness
    if not found:
        return ""
    corruptions: dict[str, float] = found["corruptions"]
    worst = min(corruptions, key=corruptions.__getitem__)
    text = (
        f"On {count(found['images'], 'test image')} with {count(len(corruptions), 'type')} of corruption at three "
        f"strengths each, {facts.best.card.name} reaches a mean accuracy of "
        f"{percent(found['mean_corruption_accuracy'])} ({interval(found, 'mean_corruption_accuracy')}), "
        f"compared with {percent(found['clean_accuracy'])} on the uncorrupted images."
    )
    if corruptions[worst] < found["clean_accuracy"]:
        text += f" {worst[0].upper()}{worst[1:]} reduces the accuracy most, to {percent(corruptions[worst])}."
    if facts.uneven:
        always = facts.majority
        text += f" Always predicting {always.name} would reach {percent(always.accuracy)} on all test images."
    return text


def letters(facts: Facts) -> str:
    """List the class names that the figures transliterate because no font has their letters; may be empty."""
    from darkroom import plotting  # imports matplotlib, which the model card does not need

    transliterated = [name for name in facts.best.card.classes if plotting.legible(name) != name]
    if not transliterated:
        return ""
    many = len(transliterated) > MAX_NAMES
    shown = count(len(transliterated), "class name", "class names") if many else listing(transliterated)
    it = "it" if len(transliterated) == 1 else "them"
    return f"No installed font has the letters of {shown}, so the figures show {it} in Latin letters."


def limits(facts: Facts) -> list[str]:
    """Return the limitations of the results, a sentence each."""
    same = (
        "The test images come from the same source as the training images, so the scores apply only to similar images."
    )
    if facts.best.test["accuracy_low"] > facts.majority.accuracy:  # below that, other images can hardly be worse
        same += " On other kinds of images, lower scores should be expected."
    lines = [
        "The confidence intervals account only for the limited number of test images, not for other sources of "
        "variation, such as the random seed.",
        same,
    ]
    lines += few_tests(facts)
    if facts.robustness and facts.robustness["mean_corruption_accuracy"] < 0.9 * facts.robustness["clean_accuracy"]:
        lines.append("Accuracy is lower on images of poor quality, as the results on corrupted images show.")
    if facts.absent:
        shown = (
            listing(facts.absent) if len(facts.absent) <= MAX_NAMES else count(len(facts.absent), "class", "classes")
        )
        it = "it" if len(facts.absent) == 1 else "them"
        lines.append(f"The test split has no images of {shown}, so the model could not be evaluated on {it}.")
    return lines


def few_tests(facts: Facts) -> list[str]:
    """Name the classes with too few test images for reliable scores, the smallest first; empty if there are none."""
    small = [each for each in balance.with_few_tests(facts.data["per_class"]) if each[1]]
    if not small:
        return []
    fewest, most = small[0][1], small[-1][1]
    named = [f"{name} ({images:,})" for name, images in small[:MAX_NAMES]]
    if rest := len(small) - len(named):
        named.append(f"{rest:,} more")
    scores = "its scores are" if len(small) == 1 else "their scores are"
    which = "One class has" if len(small) == 1 else f"{numeral(len(small)).capitalize()} classes have"
    shown = f": {listing(named)}"
    if len(small) == len(facts.classes) > MAX_NAMES:
        each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        return [
            f"All {len(small):,} classes have fewer than {balance.FEW} test images ({each} each), so their scores are "
            "unreliable."
        ]
    if len(small) == len(facts.classes) > 1:
        which = "All classes have"
    return [f"{which} fewer than {balance.FEW} test images, so {scores} unreliable{shown}."]


REPEATS = (
    "On the same kind of processor, the same seed gives the same results. Another processor or a GPU rounds "
    "differently, so scores may differ in the last digits and, occasionally, the predicted class of an image may "
    "change. Measured times vary between machines and between runs."
)
"""What may differ when the pipeline runs again."""


def tree(facts: Facts) -> str:
    """State at which commit the report was written and which tracked files differ from it."""
    if not facts.commit:
        return "Use the version of the repository that this report belongs to, and run:"
    text = f"This report was written at commit {facts.commit}"
    if facts.changed:
        text += f", with uncommitted changes to {_files(facts.changed)}"
    if facts.remade:
        differ = "differs" if len(facts.remade) == 1 else "differ"
        text += f". Its results come from this run: {_files(facts.remade)} {differ} from the committed version"
    return f"{text}. Use this commit{' with these changes' if facts.changed else ''}, and run:"


def _files(names: list[str]) -> str:
    return listing([*names[:MAX_NAMES], *(["other files"] if len(names) > MAX_NAMES else [])])


def answers(facts: Facts) -> str:
    """Return "correct predictions", "wrong predictions" or both, depending on the test images."""
    if not facts.confusions:
        return "correct predictions"
    return "correct and wrong predictions" if facts.best.test["accuracy"] else "wrong predictions"


def quantization(facts: Facts) -> str:
    """Describe the effect of quantisation to 8-bit integers on the served network; empty if it was not measured."""
    found = facts.quantization
    assert found is not None
    before, after = found["float32"], found["int8"]
    size, time = after["bytes"] / before["bytes"], after["milliseconds"] / before["milliseconds"]
    loss = before["accuracy"] - after["accuracy"]
    change = "keeps its accuracy" if not loss else f"{'loses' if loss > 0 else 'gains'} {points(loss)} of accuracy"
    takes = f"{percent(abs(1 - time))} {'less' if time < 1 else 'more'}" if abs(1 - time) >= 0.0005 else "the same"
    return (
        f"Quantised to 8-bit integers, {facts.best.card.name} {change} on "
        f"{count(facts.data['validation'], 'validation image')}, has {percent(size)} of its original size and takes "
        f"{takes} time per image. The largest acceptable loss is {points(found['max_loss'])}, so the "
        f"{'int8' if found['accepted'] else 'float32'} network is served. All other results refer to the float32 "
        "network."
    )
