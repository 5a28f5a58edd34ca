"""The verdict of `gate` in `params.yaml`."""

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from darkroom import balance
from darkroom.commands.review.paired import Common, Metric
from darkroom.commands.review.snapshots import PARAMETERS, Snapshot
from darkroom.commands.settings import GateSettings
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

Outcome = Literal["passes", "fails", "undecided"]
EXIT_CODES: dict[Outcome, int] = {"passes": 0, "fails": 3, "undecided": 4}
"""1 is an error, as for all commands, and 2 is wrong usage."""
WORDS: dict[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Verdict:
    """Whether the change is accepted, and why."""

    outcome: Outcome
    metric: Metric
    reasons: list[str]
    """One sentence for each check."""

    @property
    def exit_code(self) -> int:
        """The command's exit status."""
        return EXIT_CODES[self.outcome]


def settings(snapshot: Snapshot) -> GateSettings:
    """Return the gate of a revision; the defaults if it has none. Raises DarkroomError if it is invalid."""
    try:
        return TypeAdapter(GateSettings).validate_python(snapshot.params.get("gate") or {})
    except ValidationError as error:
        wrong = "; ".join(f"gate.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DarkroomError(
            f"{PARAMETERS} of {snapshot.revision.name}: {naming.shown(wrong)}. docs/parameters.md lists what is allowed"
        ) from None


def judge(asked: GateSettings, head: Snapshot, common: Common) -> Verdict:
    """Check the metric of `head` against the minimum, and its loss on the common test images against the tolerance."""
    metric: Metric = "macro_f1" if balance.are_uneven(head.data["per_class"]) else "accuracy"
    metric = metric if asked.metric == "auto" else asked.metric
    checks: list[tuple[Outcome, str]] = [
        check for check in (_minimum(asked, metric, head), _loss(asked, metric, common)) if check
    ]
    if head.stale:
        checks.append(
            ("undecided", f"The results were made with other parameters: {naming.listed(head.stale, most=3)}. "
             "Run `dvc repro`, and commit dvc.lock with the results.")
        )  # fmt: skip
    if not checks:
        checks = [("passes", "gate.minimum and gate.max_loss are both null, so nothing is required.")]
    outcomes = [outcome for outcome, _ in checks]
    # Results made with other parameters cannot settle the outcome. Otherwise, one failed check is enough to fail.
    order: tuple[Outcome, ...] = ("undecided", "fails") if head.stale else ("fails", "undecided")
    outcome: Outcome = next((outcome for outcome in order if outcome in outcomes), "passes")
    return Verdict(outcome, metric, [reason for _, reason in checks])


def shown(value: float, metric: Metric) -> str:
    """Return a value of the metric for display."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.3f}"


def points(difference: float, metric: Metric) -> str:
    """Return a difference of the metric for display."""
    return f"{100 * difference:+.2f} points" if metric == "accuracy" else f"{difference:+.3f}"


def _minimum(asked: GateSettings, metric: Metric, head: Snapshot) -> tuple[Outcome, str] | None:
    if asked.minimum is None:
        return None
    best = head.evaluation["best"]
    value, low, high = (float(best[f"test_{metric}{bound}"]) for bound in ("", "_low", "_high"))
    score = f"Test {WORDS[metric]} {shown(value, metric)} ({shown(low, metric)} to {shown(high, metric)})"
    minimum = f"the minimum of {shown(asked.minimum, metric)}"
    if value >= asked.minimum:
        return "passes", f"{score} reaches {minimum}."
    if high >= asked.minimum:
        return "passes", f"{score} is below {minimum}, but its 95% interval contains it: within noise."
    return "fails", f"{score} is below {minimum}, and so is its whole 95% interval."


def _loss(asked: GateSettings, metric: Metric, common: Common) -> tuple[Outcome, str] | None:
    if asked.max_loss is None:
        return None
    if not common.metrics:
        return "undecided", "The revisions share no test image, so the change of the scores cannot be judged."
    found = common.metrics[metric]
    change = f"{WORDS[metric]} changed by {points(found.difference, metric)} on the {len(common.images):,} test images"
    allowed = f"{asked.max_loss:g}"
    if metric == "accuracy":
        allowed = f"{100 * asked.max_loss:g} point{'' if asked.max_loss == 0.01 else 's'}"
    which = f"{change[:1].upper()}{change[1:]} {'' if common.same_tests else 'of both revisions '}".rstrip()
    if found.verdict == "better":
        return "passes", f"{which}: a significant gain ({found.evidence})."
    if found.verdict == "within noise":
        return "passes", f"{which}: within noise ({found.evidence})."
    if -found.difference <= asked.max_loss:
        return (
            "passes",
            f"{which}: a significant loss ({found.evidence}), but gate.max_loss permits a loss of {allowed}.",
        )
    return "fails", f"{which}: a significant loss ({found.evidence}), and gate.max_loss permits a loss of {allowed}."
