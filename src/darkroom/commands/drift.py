"""`darkroom drift LOG`: compare a deployed model's predictions with those on the validation images."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.bar import Bar
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from darkroom import candidate
from darkroom.commands import comparing, entries
from darkroom.commands.comparing import NEEDED, Counts, Finding
from darkroom.commands.entries import Entries
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import served
from darkroom.serving.served import Reference

MOST_CLASSES = 20
"""Largest number of classes to show, those with the largest change first."""
STYLES = {"no drift": "green", "small drift": "yellow", "drift": "red", "large drift": "bold red"}


def drift(log: Path, model: Path, *, as_json: bool) -> None:
    """Compare the predictions in `log` with those on validation and print the results as text or JSON.

    Raises DarkroomError when there are no predictions of this model, or none on validation to compare with.
    """
    facts, classes = served.read(model), candidate.read_card(model).classes
    if facts.reference is None:
        raise DarkroomError(
            f"{naming.shown(model)} has no summary of the predictions on validation: package it again with `dvc repro`"
        )
    found = entries.read(log, classes, facts.version)
    enough = len(found.answers) >= NEEDED
    findings = comparing.compare(found, facts.reference, classes) if enough else []
    if as_json:
        json.dump(_plain(found, facts.reference, classes, facts.version, findings), sys.stdout, indent=2)
        print()
        return
    console = Console(highlight=False, markup=False, emoji=False)
    _show_counts(found, facts.reference, facts.version, console)
    if not enough:
        console.print(f"Too few predictions for a test: {NEEDED} are needed.", soft_wrap=True)
        return
    _show_findings(found, facts.reference, findings, console)
    _show_classes(found, facts.reference, classes, console)
    console.print(f"\n{_advice(findings)}", soft_wrap=True)


def _show_counts(found: Entries, reference: Reference, version: str, console: Console) -> None:
    when = f", {naming.escape(found.first[:16])} to {naming.escape(found.last[:16])}" if found.first else ""
    total = sum(reference.labels)
    predictions = naming.count(len(found.answers), "prediction")
    console.print(
        f"{predictions} of {naming.shown(version)}{when}, compared with {total:,} on validation",
        soft_wrap=True,
    )
    left_out = [
        f"{count:,} {what}"
        for count, what in (
            (found.again, "of repeated images"),
            (found.other, "of other versions"),
            (found.unreadable, "without a prediction"),
        )
        if count
    ]
    if left_out:
        console.print(f"Ignored: {', '.join(left_out)}", soft_wrap=True)


def _show_findings(found: Entries, reference: Reference, findings: Sequence[Finding], console: Console) -> None:
    table = Table("", "validation", "now", "", "", box=None, pad_edge=False)
    for finding in findings:
        before, now = _figures(found, reference, finding)
        numbers = f"{_size(finding)}, p {_p(finding.p)}"
        table.add_row(finding.what, before, now, Text(finding.verdict, style=STYLES[finding.verdict]), numbers)
        if finding.what == "confidence":  # of a confident model, the median is always 100%
            table.add_row("  10th percentile", *_quantiles(found, reference, 0.1))
    console.print()
    console.print(table)


def _quantiles(found: Entries, reference: Reference, share: float, words: str = "") -> tuple[str, str]:
    before, now = (np.quantile(values, share) for values in (reference.confidences, found.answers["probability"]))
    return f"{before:.1%}{words}", f"{now:.1%}{words}"


def _figures(found: Entries, reference: Reference, finding: Finding) -> tuple[str, str]:
    """Return a quantity as text, on validation and now."""
    if finding.what == "classes":
        return "", ""
    if finding.what == "confidence":
        return _quantiles(found, reference, 0.5, " median")
    before, now = comparing.doubtful(found, reference)[finding.what]
    return f"{before / sum(reference.labels):.1%}", f"{now / len(found.verdicts):.1%}"


def _size(finding: Finding) -> str:
    match finding.what:
        case "classes":
            return f"PSI {finding.size:.2f}"
        case "confidence":
            return f"KS {finding.size:.2f}"
    return f"{100 * finding.size:+.1f} points"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _show_classes(found: Entries, reference: Reference, classes: Sequence[str], console: Console) -> None:
    before, now = np.array(reference.labels), comparing.count(found, classes)
    old, new = _shares(before), _shares(now)
    unusual = comparing.unusual(before, now)
    scale = float(max(old.max(), new.max()))
    columns = (Column("class", max_width=30), Column("validation", justify="right"), "", Column("now", justify="right"))
    table = Table(*columns, "", "", box=None, pad_edge=False)
    for place in np.argsort(-np.abs(new - old), kind="stable")[:MOST_CLASSES].tolist():
        remark = ("more" if new[place] > old[place] else "fewer") if unusual[place] else ""
        bars = [Bar(scale, 0, float(share), width=16, color="cyan") for share in (old[place], new[place])]
        share = f"{old[place]:.1%}", f"{new[place]:.1%}"
        table.add_row(
            Text(naming.shown(classes[place])), share[0], bars[0], share[1], bars[1], Text(remark, style="red")
        )
    console.print()
    console.print(table)
    if len(classes) > MOST_CLASSES:
        console.print(f"and {naming.count(len(classes) - MOST_CLASSES, 'class', 'classes')} with smaller changes")


def _shares(counts: Counts) -> Any:
    return counts / max(1, counts.sum())


def _advice(findings: Sequence[Finding]) -> str:
    moved = [finding for finding in findings if finding.verdict != "no drift"]
    if not moved:
        return "No significant drift."
    names = ", ".join(finding.what for finding in moved)
    if all(finding.verdict == "small drift" for finding in moved):
        return f"Significant but small drift: {names}."
    return (
        f"Significant drift: {names}. Inspect some of these images: they may differ from the training images, or the "
        "class frequencies may have changed. Label some, add them to the data, and run `dvc repro`."
    )


def _plain(
    found: Entries, reference: Reference, classes: Sequence[str], version: str, findings: Sequence[Finding]
) -> dict[str, Any]:
    """Return the results for JSON."""
    now = comparing.count(found, classes)
    return {
        "version": version,
        "answers": len(found.answers),
        "validation": sum(reference.labels),
        "enough": len(found.answers) >= NEEDED,
        "first": found.first or None,
        "last": found.last or None,
        "left_out": {"again": found.again, "other_versions": found.other, "without_answer": found.unreadable},
        "classes": {
            label: {"validation": before, "now": after}
            for label, before, after in zip(classes, reference.labels, now.tolist(), strict=True)
        },
        "findings": [asdict(finding) for finding in findings],
    }
