"""Numbers formatted for readers, and text escaped for Markdown."""

import json
from collections.abc import Mapping
from typing import Any

from darkroom.markdown import count as count
from darkroom.markdown import text as text


def percent(share: float) -> str:
    """Return a fraction from 0 to 1 as "98.3%"; only 1 itself is shown as 100%."""
    shown = f"{share:.1%}"
    return f"{min(share, 0.9999):.2%}" if shown == "100.0%" and share < 1 else shown


def points(difference: float) -> str:
    """Return the size of a difference between fractions as "1.3 percentage points"."""
    shown = f"{abs(difference) * 100:.1f}"
    return f"{shown} percentage {'point' if shown == '1.0' else 'points'}"


def chance(p_value: float) -> str:
    """Return a p-value as "p = 0.031", "p < 0.001" or "p = 1"."""
    if p_value < 0.001:
        return "p\u00a0<\u00a00.001"
    return f"p\u00a0=\u00a0{p_value:.2g}" if p_value < 0.995 else "p\u00a0=\u00a01"


def duration(seconds: float) -> str:
    """Return a time as "12 s", "3 min 5 s" or "2 h 10 min", with non-breaking spaces."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        words = f"{whole} s" if whole else "under 1 s"
    else:
        words = f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    return words.replace(" ", "\u00a0")


def megabytes(size: float) -> str:
    """Return a size in 10⁶ bytes as "12.3 MB" or, below ten, "0.25 MB"."""
    return f"{size:,.1f}\u00a0MB" if size >= 9.995 else f"{size:.2f}\u00a0MB"


def milliseconds(time: float) -> str:
    """Return a time with two significant digits, or without decimals from 99.5 on: "0.12 ms", "1.7 ms", "142 ms"."""
    return f"{time:,.0f}\u00a0ms" if time >= 99.5 else f"{time:.2g}\u00a0ms"


def listing(items: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def numeral(number: int) -> str:
    """Return a number that starts a sentence: "Three", up to "Twelve", then digits."""
    names = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"]
    return names[number] if number < len(names) else f"{number:,}"


def times(ratio: float) -> str:
    """Return "27 times" or, below ten, "1.3 times"."""
    return f"{ratio:,.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times"


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
