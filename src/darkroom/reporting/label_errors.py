"""The paragraph about labels that may be wrong."""

from typing import Any

from darkroom.reporting.wording import chance, count, listing, percent, points, text

HOG = "HOG features"
"""What `plots/labels/summary.json` contains instead of the name of a network."""

PAIRS = 3
"""Number of pairs of confused classes that are named."""


def paragraph(labels: dict[str, Any], citation: str) -> list[str]:
    """Return the sentences about `plots/labels/summary.json`, as Markdown; `citation` refers to confident learning."""
    features = HOG if labels["features"] == HOG else f"the frozen features of {text(labels['features'])}"
    lines = [
        f"Each of the {count(labels['images'], 'image')}, training images included, was classified by a linear model "
        f"on {features}, fitted without the image and its copies ({labels['repeats']} repetitions of "
        f"{labels['folds']} folds). These predictions agree with {percent(labels['accuracy'])} of the labels."
    ]
    if unchecked := labels["unchecked"]:
        lines.append(
            f"{count(unchecked, 'label')} could not be checked, because no images of other groups have "
            f"{'it' if unchecked == 1 else 'them'}."
        )
    for name, classes in labels["seen"].items():
        lines.append(
            f"{text(name)} was not used: it was trained with labels such as {text(listing(classes[:3]))}, possibly "
            "those of these very images, so it may reproduce their errors."
        )
    if labels["issues"]:
        lines += [*_listed(labels, citation), *_planted(labels["planted"])]
    else:
        lines.append(f"Confident learning {citation} finds no label that may be wrong.")
    return lines


def corrected(effect: dict[str, Any]) -> str:
    """Return what the decisions in `data/labels.csv` changed, as Markdown; `effect` is `corrected` in the summary."""
    changed, images = effect["train"], effect["images"]
    difference = effect["after"] - effect["before"]
    test = f"McNemar's exact test, {chance(effect['p_value'])}"
    if effect["verdict"] == "within noise":
        result = f"the difference is not statistically significant ({test})"
    else:
        direction = "higher" if difference > 0 else "lower"
        result = f"{points(difference)} {direction}, which is statistically significant ({test})"
    also = f", and the labels of {count(effect['test'], 'test image')}" if effect["test"] else ""
    same = " In both cases, the corrected labels of test images count as right." if effect["test"] else ""
    return (
        f"Decisions in `data/labels.csv` changed the labels of {count(changed, 'training and validation image')}"
        f"{also}. What did that bring? Fitted to the same images with the labels of the source, the linear model "
        f"classifies {percent(effect['before'])} of the {count(images, 'test image')} correctly, and with the "
        f"corrected labels {percent(effect['after'])}: {result}.{same}"
    )


def _listed(labels: dict[str, Any], citation: str) -> list[str]:
    issues, listed = labels["issues"], labels["listed"]
    expected, probable = round(labels["expected"]), labels["probable"]
    some = f"the first {listed:,} of these images" if listed < issues else "these images"
    lines = [
        f"Confident learning {citation} finds {count(issues, 'image')} whose label may be wrong;"
        f" `plots/labels/issues.csv` lists {some}, the most probable errors first.",
        f"About {expected:,} of these labels {'is' if expected == 1 else 'are'} expected to be wrong."
        if expected
        else "Probably none of these labels is wrong.",
    ]
    lines += [_confused(pair) for pair in labels["confused"][:PAIRS]]
    if probable:
        first = "the first image" if probable == 1 else f"the first {probable:,} images"
        lines.append(f"For {first}, the label is more likely wrong than right.")
    if probable < issues:
        others = "The other images" if probable else "These images"
        lines.append(f"{others} are mostly hard to classify: look at each one before you change its label.")
    return lines


def _confused(pair: dict[str, Any]) -> str:
    wrong = round(pair["expected"])
    return (
        f"Some images labelled {text(pair['label'])} resemble {text(pair['class'])}: either about "
        f"{count(wrong, 'label')} {'is' if wrong == 1 else 'are'} wrong, or the features cannot tell these images "
        "apart. Look at some of them to find out which."
    )


def _planted(planted: dict[str, Any]) -> list[str]:
    changed = planted["images"]
    return [
        f"To test the list, {count(changed, 'label')} were changed, half of them to a random class and half to a "
        f"similar one: it then contained {percent(planted['recall'])} of the changed labels, and "
        f"{percent(planted['precision'])} of its first {count(changed, 'image')} had a changed label.",
        "Real errors may be harder to find: a class that is mislabelled systematically looks like a class.",
    ]
