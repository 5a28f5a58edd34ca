"""One line of the doctor's report."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warning", "error"]
"""`error`: something does not work; `warning`: it works, but slowly, differently or not completely."""


@dataclass(frozen=True)
class Finding:
    """What was found about a subject; whatever is not `ok` has a remedy."""

    subject: str
    status: Status
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(subject, "ok", text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that works, but slowly, differently or not completely."""
    return Finding(subject, "warning", text, remedy)


def error(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(subject, "error", text, remedy)
