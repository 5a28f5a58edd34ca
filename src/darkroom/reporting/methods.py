"""How the intervals of the scores of the best network were computed."""

from darkroom.reporting.facts import Facts


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
