"""What temperature scaling changed, in words."""

from darkroom.reporting.facts import Facts
from darkroom.reporting.wording import points, rounded

TEMPERATURES = (0.05, 20.0)
"""The limits of `fit_temperature`."""
TOLERANCE = 0.01
"""Mean confidence and accuracy that differ by no more than this count as equal."""


def calibration(facts: Facts) -> str:
    """Give the temperature of the best network, what it changes, and its effect on the test images."""
    best, gap = facts.best, facts.best.overconfidence
    lowers = best.temperature > 1
    change = "lowers" if lowers else "raises"
    side = "above" if gap > 0 else "below"
    before = f"{points(gap)} {side}" if abs(gap) > TOLERANCE else "close to"
    lowest, highest = TEMPERATURES
    bound = ", the lowest value allowed" if best.temperature < 1.01 * lowest else ""
    bound = ", the highest value allowed" if best.temperature > 0.99 * highest else bound
    refitted = bool(best.card.training.get("refitted"))
    images = "training and validation images by cross-validation" if refitted else "validation images"
    text = (
        f"The logits of {best.card.name} are divided by a temperature of {rounded(best.temperature, 2)}{bound}, "
        f"fitted on the {images}, which {change} its confidence. Before this scaling, the mean confidence "
        f"on {'the validation' if refitted else 'these'} images was {before} the accuracy"
    )
    if 0.995 <= best.temperature < 1.005:
        text = text.replace(f"which {change} its confidence", "which hardly changes its confidence")
    elif (gap > TOLERANCE and not lowers) or (gap < -TOLERANCE and lowers):
        # The log loss of a few confident mistakes, and the prior of `fit_temperature`, outweigh the mean.
        text += (
            f"; the temperature nonetheless {change} it, because it is fitted to the log loss, with a weak prior "
            "around 1, and not to this difference"
        )
    text += f". On the test images, the expected calibration error is {points(best.test['ece'])}"
    without = f"; without the scaling, it would be {points(best.uncalibrated['ece'])}" if best.uncalibrated else ""
    return f"{text}{without}."
