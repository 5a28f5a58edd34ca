"""How the intervals of the scores of the best network were computed, and how often the test images were used."""

from darkroom.reporting.facts import Facts
from darkroom.reporting.wording import count
from darkroom.test_uses import LIMIT


def of_intervals(facts: Facts) -> dict[str, list[str]]:
    """Return the scores of the best network that have an interval, by its method: wilson, jackknife or bootstrap."""
    test = facts.best.test
    areas = {"roc_auc": "ROC AUC", "average_precision": "average precision"}
    areas = {name: label for name, label in areas.items() if f"{name}_low" in test}
    perfect = [label for name, label in areas.items() if test[name] in (0, 1)]
    top = ["top-k accuracy"] if "top_3" in test else []
    return {
        "wilson": ["accuracy", *top],
        "macro": ["macro recall", *(["macro F1"] if "macro_f1_low" in test else []), *perfect],
        "jackknife": [label for label in areas.values() if label not in perfect],
        "bootstrap": ["log loss", "the Brier score"],
    }


def without_interval(facts: Facts) -> str:
    """Explain why scores that usually have an interval have none; empty if all have one."""
    test, lines = facts.best.test, []
    if "roc_auc" in test and "roc_auc_low" not in test:
        lines.append(
            "ROC AUC and average precision have no interval, because no variance can be estimated from a class with a "
            "single test image."
        )
    if "macro_f1_low" not in test:
        lines.append(
            "Macro F1 has no interval, because its estimate is biased when the median class has fewer than five test "
            "images."
        )
    return " ".join(lines)


def test_images(facts: Facts) -> list[str]:
    """Return how many models were scored on the test images, and when others are due; empty if git does not know."""
    if facts.uses is None:
        return []
    scored = count(facts.uses.models + facts.uses.in_experiments, "distinct model has", "distinct models have")
    where = "the project's history and its experiments" if facts.uses.in_experiments else "the project's history"
    due = f"From {LIMIT} on, new test images are due" if not facts.uses.due else "New test images are due"
    known = ", as far as this shallow clone knows" if facts.uses.is_shallow else ""
    return [
        f"{scored} been scored on these test images in {where}{known}. {due}: the more models people compare by their "
        "test scores, the more the best score overestimates its model."
    ]
