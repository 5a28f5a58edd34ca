"""Numbers formatted for readers, and text escaped for Markdown."""

import json
from collections.abc import Mapping
from typing import Any

from darkroom.markdown import count as count
from darkroom.markdown import numeral as numeral
from darkroom.markdown import percent as percent
from darkroom.markdown import rounded as rounded
from darkroom.markdown import score as score
from darkroom.markdown import text as text


def points(difference: float) -> str:
    """Return the size of a difference between fractions as "1.3 percentage points"."""
    share = abs(difference) * 100
    shown = rounded(share, 1) if share >= 0.05 or not share else rounded(max(share, 0.01), 2)
    return f"{shown} percentage {'point' if shown == '1.0' else 'points'}"


def loss(value: float) -> str:
    """Return a loss of at least 0 with three decimals, or two significant digits if it is smaller than 0.01."""
    if value >= 0.01 or not value:
        return rounded(value, 3)
    return f"{float(f'{value:.2g}'):.7f}".rstrip("0") if value >= 1e-6 else "<\u00a00.000001"


def chance(p_value: float) -> str:
    """Return a p-value as "p = 0.031", "p < 0.001" or "p = 1"."""
    if p_value < 0.001:
        return "p\u00a0<\u00a00.001"
    return f"p\u00a0=\u00a0{p_value:.2g}" if p_value < 0.995 else "p\u00a0=\u00a01"


def duration(seconds: float) -> str:
    """Return a time as "12 s", "3 min 5 s" or "2 h 10 min", with non-breaking spaces."""
    whole = int(seconds + 0.5)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        words = f"{whole} s" if whole else "under 1 s"
    else:
        words = f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    return words.replace(" ", "\u00a0")


def megabytes(size: float) -> str:
    """Return a size in 10⁶ bytes as "12.3 MB" or, below ten, "0.25 MB"."""
    return f"{rounded(size, 1 if size >= 9.995 else 2)}\u00a0MB"


def milliseconds(time: float) -> str:
    """Return a time with two significant digits, or without decimals from 99.5 on: "0.12 ms", "1.7 ms", "142 ms"."""
    return f"{time:,.0f}\u00a0ms" if time >= 99.5 else f"{time:.2g}\u00a0ms"


def listing(items: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def times(ratio: float) -> str:
    """Return "27 times" or, below ten, "1.3 times"."""
    return f"{rounded(ratio, 0 if ratio >= 9.95 else 1)} times"


def recipe(parameters: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested parameters as sorted pairs of dotted name and value; empty, zero and disabled ones are omitted."""
    pairs: list[tuple[str, str]] = []
    for key, value in sorted(parameters.items()):
        if isinstance(value, Mapping):
            pairs += recipe(value, f"{prefix}{key}.")
        elif value not in (None, False, 0, "", "none"):
            pairs.append((prefix + key, value if isinstance(value, str) else json.dumps(value)))
    return pairs


def interval(scores: dict[str, float], name: str) -> str:
    """Return the 95% confidence interval of a proportion as text."""
    return f"95% confidence interval {percent(scores[f'{name}_low'])} to {percent(scores[f'{name}_high'])}"
