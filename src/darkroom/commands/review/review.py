"""What a pull request changes, whether it is accepted, and how both are shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom import test_uses
from darkroom.commands.review import changes, gate, page, paired, revisions, sections, sections_data, text
from darkroom.commands.review.blocks import Section
from darkroom.commands.review.changes import DataChanges
from darkroom.commands.review.gate import Outcome, Verdict
from darkroom.commands.review.paired import Common
from darkroom.commands.review.revisions import Pair
from darkroom.commands.review.snapshots import NEEDED, PIXELS, take
from darkroom.foundations import files, naming
from darkroom.test_uses import Uses

TITLES: dict[Outcome, str] = {
    "passes": "the gate passes",
    "fails": "the gate fails",
    "undecided": "the gate cannot decide",
}


@dataclass(frozen=True)
class Review:
    """A review, ready to be shown."""

    title: str
    lead: list[str]
    sections: list[Section]
    verdict: Verdict
    summary: dict[str, Any]
    """The main results as plain values."""

    @property
    def markdown(self) -> str:
        """The review as Markdown."""
        return text.render(self.title, self.lead, self.sections)


def review(base: str | None = None, *, html: Path | None = None, fetch: bool = False) -> Review:
    """Compare the workspace, or the last commit if nothing differs from it, with the merge base of `base`.

    base: a revision; None is the main branch. html: a page to write, which needs the pixels of both revisions.
    fetch: download what is missing in the cache from the DVC remote.

    Raises DarkroomError if there is nothing to compare, if results are missing or do not belong together, or if the
    cache lacks outputs: the message gives the commands to fetch exactly those.
    """
    pair = revisions.resolve(base)
    needed = (*NEEDED, *([PIXELS] if html else []))
    both = (pair.base, pair.head)
    options = [*([base] if base else []), *(["--html", str(html)] if html else []), "--fetch"]
    places = revisions.locate(both, needed, f"darkroom review {' '.join(options)}", download=fetch)
    before, after = (take(revision, found) for revision, found in zip(both, places, strict=True))
    common, changed, uses = (
        paired.compare(before, after),
        changes.data(before, after),
        test_uses.count(after.data, after.evaluation, after.revision.commit),
    )
    verdict = gate.judge(gate.settings(after), after, common)
    parts = [
        sections.scores(before, after, common),
        sections_data.parameters(changes.parameters(before, after), changes.code(pair)),
        sections_data.data(changed, before, after),
        sections.classes(paired.movers(common), common),
        sections.confusion(before, after, common),
        sections.flips(before, after, common),
        sections.cost(before, after),
        sections.uses(uses, after),
    ]
    found = Review(
        title=f"Darkroom review: {TITLES[verdict.outcome]}",
        lead=[*_compared(pair), *verdict.reasons],
        sections=[part for part in parts if part],
        verdict=verdict,
        summary=_summary(pair, verdict, common, changed, uses),
    )
    if html:
        page.write(html, found.title, verdict.outcome, found.lead, found.sections)
    return found


def write(path: Path, found: Review) -> None:
    """Write the Markdown."""
    files.write_text(path, found.markdown)


def _compared(pair: Pair) -> list[str]:
    lines = [f"Compared: {pair.head.name} with {pair.base.name} ({pair.described})."]
    if pair.uncommitted:
        lines.append(f"Uncommitted changes are included: {naming.listed(pair.uncommitted)}.")
    return lines


def _summary(pair: Pair, verdict: Verdict, common: Common, changed: DataChanges, uses: Uses) -> dict[str, Any]:
    counts = {"common": len(common.images), "only_before": common.only_before, "only_after": common.only_after}
    fields = ("before", "after", "difference", "verdict", "evidence")
    return {
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "reasons": verdict.reasons,
        "base": pair.base.commit,
        "head": pair.head.commit,
        "uncommitted": pair.uncommitted,
        "metrics": {name: {field: getattr(each, field) for field in fields} for name, each in common.metrics.items()},
        "test_images": counts,
        "images": {"added": len(changed.added), "removed": len(changed.removed)},
        "models_scored": uses.models + uses.in_experiments,
    }
