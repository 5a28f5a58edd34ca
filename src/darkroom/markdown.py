"""Numbers in words and text escaped for Markdown, for all packages that write parts of the report."""

import re
from decimal import ROUND_HALF_UP, Decimal

from darkroom.foundations import naming
from darkroom.foundations.naming import count as count


def numeral(number: int) -> str:
    """Return a number in words up to "twelve", then in digits."""
    names = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    return names[number] if number < len(names) else f"{number:,}"


def rounded(value: float, digits: int) -> str:
    """Return `value` with `digits` decimals, halves away from zero and with a minus sign: "0.813", "−0.500"."""
    # A float such as 0.285 lies just below the half that people see, hence the detour over its shortest text.
    shown = Decimal(repr(round(float(value), 12))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{shown or abs(shown):,f}".replace("-", "\u2212")


def percent(share: float, digits: int = 1) -> str:
    """Return a fraction from 0 to 1 as "98.3%"; only 0 and 1 themselves are shown as 0% and 100%."""
    return f"{_inside(share, digits + 2, 2)}%"


def score(value: float) -> str:
    """Return a score up to 1 with three decimals; only 0 and 1 themselves are shown as 0.000 and 1.000."""
    return _inside(value, 3, 0)


def _inside(value: float, digits: int, shift: int) -> str:
    """Return `value` times ten to the power `shift`; one more digit keeps it from looking like 0 or 1."""
    bounds = rounded(0, digits - shift), rounded(10**shift, digits - shift)
    shown = rounded(value * 10**shift, digits - shift)
    if shown not in bounds or value in (0, 1):
        return shown
    nearest = 10.0 ** -(digits + 1)
    value = min(value, 1 - nearest) if value > 0.5 else max(abs(value), nearest) * (1 if value > 0 else -1)
    return rounded(value * 10**shift, digits + 1 - shift)


def text(value: object) -> str:
    """Return `value` on one line, escaped so that Markdown shows it literally."""
    line = naming.escape(" ".join(str(value).split()))
    line = re.sub(r"[\\`*_{}\[\]<>|#$~&]|:(?=//)", r"\\\g<0>", line)
    return re.sub(r"^(\d*)([-+=.)])(?=[-=\s]|$)", r"\1\\\2", line)  # would start a list or draw a rule
