"""Sentences about test images with copies or scenes in other splits."""

from darkroom.reporting.facts import Facts
from darkroom.reporting.wording import count, interval, percent


def leaks(facts: Facts) -> str:
    """Give the accuracy on test images without copies or scenes in other splits; empty if there are none."""
    clean, tested = facts.best.without_leaks, facts.data["test"]
    scenes = int(facts.data.get("scene_leaks", 0))
    if clean and facts.bar.without_leaks:
        leaking = int(clean["leaks"])
        return (
            f"{_leaking(leaking - scenes, scenes)} On the other {count(tested - leaking, 'test image')}, "
            f"{facts.best.card.name} reaches an accuracy of {percent(clean['accuracy'])} "
            f"({interval(clean, 'accuracy')}) and the baseline {percent(facts.bar.without_leaks['accuracy'])}."
            + " No model was trained on these copies."
            * (leaking > scenes)
        )
    if facts.data["leaks"] == tested:
        return (
            "The source contains copies of all test images among its training or validation images, so no accuracy can "
            "be given for test images without copies. No model was trained on these copies."
        )
    if facts.data["leaks"] + scenes == tested:
        return (
            "All test images have a copy or another image of their scene among the training or validation images, so "
            "no accuracy can be given for others."
        )
    return ""


def _leaking(copies: int, scenes: int) -> str:
    """State how many test images have copies, and how many others have their scene, in other splits."""
    found = []
    if copies:
        found.append(
            f"The source contains copies of {count(copies, 'test image')} among its training or validation images."
        )
    if scenes:
        found.append(
            f"{count(scenes, 'test image shows', 'test images show')} a scene that other images, used for training or "
            "validation, show as well."
        )
    return " ".join(found)
