"""The paragraph about shortcuts: properties that predict the class without the rest of the image."""

from typing import Any

from darkroom.reporting.wording import score, text


def strong(found: list[dict[str, Any]]) -> list[str]:
    """Return the names of the shortcuts, the strongest first."""
    return [each["measure"] for each in found if each["is_shortcut"]]


def paragraph(found: list[dict[str, Any]]) -> list[str]:
    """Return the sentences about `shortcuts` in `plots/labels/summary.json`, the strongest first."""
    if not found:
        return ["All files are alike in size, format, camera and colours, so none of these predicts the class."]
    lines = [
        "A model can learn a difference between the classes that has nothing to do with them, such as the camera, and "
        "test images of the same source do not reveal it. Therefore a linear model predicts the class from each such "
        "property alone, by cross-validation; a class that it separates well from the others is reported."
    ]
    if not strong(found):
        first = found[0]
        return [
            *lines,
            f"None of these properties separates a class better than its bound ({len(found)} compared). "
            f"The closest is {first['measure']}: {_strength(first)}.",
        ]
    return [
        *lines,
        *(f"**Warning:** {each['measure']}: {_strength(each)}." for each in found if each["is_shortcut"]),
        "If such a difference does not exist where the model is used, its real accuracy may be much lower than its "
        "test accuracy. Collect images of all classes from the same sources.",
    ]


def _strength(each: dict[str, Any]) -> str:
    return (
        f"it separates {text(each['label'])} from the other classes with a ROC AUC of {score(each['auc'])} (bound "
        f"{score(each['bound'])}, random labels at most {score(each['chance'])})"
    )
