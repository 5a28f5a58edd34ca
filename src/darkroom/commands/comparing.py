"""Drift detection: tests whether predictions have the same distribution as on the validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from darkroom.commands.entries import Entries
from darkroom.serving.served import DIGITS, Reference

Counts = npt.NDArray[np.int64]
What = Literal["classes", "confidence", "low confidence", "out of distribution"]
Verdict = Literal["no drift", "small drift", "drift", "large drift"]

CHANCE = 0.01
"""Significance level: differences with a smaller p-value count as drift."""
NEEDED = 50
"""Minimum number of predictions for a test."""
LEAST_EXPECTED = 5
"""Below this expected count in any class, the chi-squared approximation is not valid (Cochran 1954)."""
RESAMPLES = 1999
"""Number of random tables for the permutation test that is then used."""


@dataclass(frozen=True)
class Finding:
    """Comparison of one quantity with its value on the validation images."""

    what: What
    measure: str
    """Name of the effect size."""
    size: float
    """Effect size."""
    p: float
    """The p-value."""
    verdict: Verdict


def compare(entries: Entries, reference: Reference, classes: Sequence[str]) -> list[Finding]:
    """Return the findings; those on low confidence and out-of-distribution images need a model with thresholds."""
    before, now = np.array(reference.labels), count(entries, classes)
    shift = stability_index(before, now)
    # The reference is rounded: without rounding here as well, each 0.99998 would be less than its 1.
    confidences = entries.answers["probability"].round(DIGITS)
    distance = stats.ks_2samp(reference.confidences, confidences, method="asymp")
    findings = [
        _finding("classes", "population stability index", shift, _chi_square(before, now), (0.1, 0.25)),
        _finding("confidence", "Kolmogorov–Smirnov distance", distance.statistic, distance.pvalue, (0.1, 0.2)),
    ]
    for what, (old, new) in doubtful(entries, reference).items():
        totals = sum(reference.labels), len(entries.verdicts)
        findings.append(_share(what, (old, new), totals))
    return findings


def doubtful(entries: Entries, reference: Reference) -> dict[What, tuple[int, int]]:
    """Return the numbers of low-confidence and of out-of-distribution images, on validation and now."""
    verdicts = entries.verdicts
    if reference.confident is None or reference.in_distribution is None or verdicts.empty:
        return {}
    confident, known = verdicts.sum().tolist()
    return {
        "low confidence": (reference.in_distribution - reference.confident, known - confident),
        "out of distribution": (sum(reference.labels) - reference.in_distribution, len(verdicts) - known),
    }


def count(entries: Entries, classes: Sequence[str]) -> Counts:
    """Return the number of predictions of each class, shape (classes,)."""
    places = pd.Index(list(classes)).get_indexer(pd.Index(entries.answers["label"]))
    return np.bincount(places, minlength=len(classes))


def stability_index(before: Counts, now: Counts) -> float:
    """Return the population stability index of two counts, shape (classes,): 0 for equal proportions.

    It is the sum over classes of the difference of the proportions times the difference of their logarithms. In credit
    scoring, 0.1 is considered small and 0.25 large (Siddiqi, Credit Risk Scorecards, 2006). 0.5 is added to each count,
    so that classes without predictions do not make it infinite.
    """
    old, new = (before + 0.5) / (before + 0.5).sum(), (now + 0.5) / (now + 0.5).sum()
    return float(((new - old) * np.log(new / old)).sum())


def unusual(before: Counts, now: Counts) -> npt.NDArray[np.bool_]:
    """Return the classes whose proportion differs significantly, with Bonferroni's correction."""
    totals = before.sum(), now.sum()
    values = [
        stats.fisher_exact([[old, totals[0] - old], [new, totals[1] - new]]).pvalue
        for old, new in zip(before.tolist(), now.tolist(), strict=True)
    ]
    return np.array(values) < CHANCE / len(values)


def _chi_square(before: Counts, now: Counts) -> float:
    """Return the p-value of Pearson's test that two counts are from the same distribution.

    If a class is rare, it is computed from random tables with the same marginal sums.
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
    return _finding(what, "difference of the fractions", counts[1] / totals[1] - counts[0] / totals[0], p, (0.05, 0.15))


def _finding(what: What, measure: str, size: float, p: float, limits: tuple[float, float]) -> Finding:
    verdict: Verdict = "drift" if abs(size) >= limits[0] else "small drift"
    verdict = "large drift" if abs(size) >= limits[1] else verdict
    return Finding(what, measure, float(size), float(p), "no drift" if p >= CHANCE else verdict)
