"""Whether a model's answers are distributed as they were on validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from darkroom.commands.entries import Entries
from darkroom.serving.served import DIGITS, Reference

Counts = npt.NDArray[np.int64]
What = Literal["classes", "confidence", "unsure", "of no class"]
Verdict = Literal["within chance", "moved a little", "moved", "moved much"]

CHANCE = 0.01
"""The p-value from which on a difference counts as chance."""
NEEDED = 50
"""Answers below which nothing is said."""
LEAST_EXPECTED = 5
"""Where a class has fewer expected answers, the distribution of chi-square no longer holds (Cochran 1954)."""
RESAMPLES = 1999
"""Drawn tables in its place."""


@dataclass(frozen=True)
class Finding:
    """How one figure of the answers compares with validation."""

    what: What
    measure: str
    """What `size` is."""
    size: float
    """How far it moved."""
    p: float
    """How probable a difference like this is when nothing has moved."""
    verdict: Verdict


def compare(entries: Entries, reference: Reference, classes: Sequence[str]) -> list[Finding]:
    """Return the findings, of which two need a model with a doubt: how many are unsure, and how many of no class."""
    before, now = np.array(reference.labels), count(entries, classes)
    shift = stability_index(before, now)
    # Unrounded, each 0.99998 would be less than the reference's 1.
    confidences = np.round(entries.probabilities, DIGITS)
    distance = stats.ks_2samp(reference.confidences, confidences, method="asymp")
    findings = [
        _finding("classes", "population stability index", shift, _chi_square(before, now), (0.1, 0.25)),
        _finding("confidence", "Kolmogorov–Smirnov distance", distance.statistic, distance.pvalue, (0.1, 0.2)),
    ]
    for what, (old, new) in doubtful(entries, reference).items():
        totals = sum(reference.labels), len(entries.confident)
        findings.append(_share(what, (old, new), totals))
    return findings


def doubtful(entries: Entries, reference: Reference) -> dict[What, tuple[int, int]]:
    """Return how many answers were unsure and how many images of no class, on validation and now."""
    if reference.confident is None or reference.in_distribution is None or not entries.confident:
        return {}
    known = sum(entries.in_distribution)
    return {
        "unsure": (reference.in_distribution - reference.confident, known - sum(entries.confident)),
        "of no class": (sum(reference.labels) - reference.in_distribution, len(entries.in_distribution) - known),
    }


def count(entries: Entries, classes: Sequence[str]) -> Counts:
    """Return how often each class was the answer, shape (classes,)."""
    places = {label: place for place, label in enumerate(classes)}
    return np.bincount([places[label] for label in entries.labels], minlength=len(classes))


def stability_index(before: Counts, now: Counts) -> float:
    """Return the population stability index of two counts, shape (classes,): 0 for equal shares.

    The sum over classes of the difference of the shares times that of their logarithms. By the custom of credit scoring
    0.1 is little and 0.25 much (Siddiqi, Credit Risk Scorecards, 2006). Half an answer is added to each class, so that
    one without any counts as rare.
    """
    old, new = (before + 0.5) / (before + 0.5).sum(), (now + 0.5) / (now + 0.5).sum()
    return float(((new - old) * np.log(new / old)).sum())


def unusual(before: Counts, now: Counts) -> npt.NDArray[np.bool_]:
    """Return which classes have another share than before, each by itself, at a hundredth over all of them."""
    totals = before.sum(), now.sum()
    values = [
        stats.fisher_exact([[old, totals[0] - old], [new, totals[1] - new]]).pvalue
        for old, new in zip(before.tolist(), now.tolist(), strict=True)
    ]
    return np.array(values) < CHANCE / len(values)


def _chi_square(before: Counts, now: Counts) -> float:
    """Return the p-value of Pearson's test that two counts are of one distribution.

    Where answers of a class are rare it is the share of random tables of the same sums that are as far off.
    """
    table = np.array([before, now])[:, before + now > 0]
    if table.shape[1] < 2:
        return 1.0
    rare = stats.contingency.expected_freq(table).min() < LEAST_EXPECTED
    method = stats.MonteCarloMethod(n_resamples=RESAMPLES, batch=100, rng=np.random.default_rng(0)) if rare else None
    return float(stats.chi2_contingency(table, correction=not rare, method=method).pvalue)


def _share(what: What, counts: tuple[int, int], totals: tuple[int, int]) -> Finding:
    rest = [total - found for total, found in zip(totals, counts, strict=True)]
    p = stats.fisher_exact([counts, rest]).pvalue
    return _finding(what, "difference of the shares", counts[1] / totals[1] - counts[0] / totals[0], p, (0.05, 0.15))


def _finding(what: What, measure: str, size: float, p: float, limits: tuple[float, float]) -> Finding:
    verdict: Verdict = "moved" if abs(size) >= limits[0] else "moved a little"
    verdict = "moved much" if abs(size) >= limits[1] else verdict
    return Finding(what, measure, float(size), float(p), "within chance" if p >= CHANCE else verdict)
