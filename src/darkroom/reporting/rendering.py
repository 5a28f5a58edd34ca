"""From facts to Markdown: the report and the model card."""

import re
from pathlib import Path

import jinja2

from darkroom.reporting import insights, sentences, wording
from darkroom.reporting.facts import Facts
from darkroom.reporting.numbering import Form, Numbering

TEMPLATES = Path(__file__).parent / "templates"

SCORES = (
    ("accuracy", "accuracy", "%"),
    ("class among the three likeliest", "top_3", "%"),
    ("class among the five likeliest", "top_5", "%"),
    ("balanced accuracy (macro recall)", "macro_recall", "%"),
    ("macro precision", "macro_precision", "%"),
    ("macro F1", "macro_f1", ""),
    ("weighted F1", "weighted_f1", ""),
    ("ROC-AUC, one class against the rest", "roc_auc", ""),
    ("average precision, one class against the rest", "average_precision", ""),
    ("Cohen's kappa", "kappa", ""),
    ("Matthews' correlation", "mcc", ""),
    ("log loss, lower is better", "log_loss", ""),
    ("Brier's score, lower is better", "brier", ""),
)
"""Scores that are listed for the best, where there are such: in words, by key, and whether they are shares."""
FAILURES = (
    ("precision_recall", "Precision and recall by class", "precision and recall"),
    ("mistakes", "The surest mistakes: what was answered, and the label with its probability", "the surest mistakes"),
    ("label_issues", "Validation and test images whose label may be wrong", "images whose label may be wrong"),
)
"""Figures about mistakes that are shown where there are such: name, caption, and words in a sentence."""


def render(facts: Facts, pictures: set[str], form: Form) -> str:
    """Return the report as Markdown; `pictures` are the names of those there are."""
    template = _environment().get_template("report.md.j2")
    known: dict[str, str] = {}
    rendered = ""
    for _ in range(2):  # the second time knows the numbers of what comes later
        number = Numbering(form, pictures, known)
        rendered = template.render(
            facts=facts,
            number=number,
            sentences=sentences,
            insights=insights,
            scores=score_rows(facts),
            failures=[(name, caption) for name, caption, _ in FAILURES],
            mentions=[(name, words) for name, _, words in FAILURES],
        )
        known = number.numbers
    return _tidy(rendered)


def render_model_card(facts: Facts) -> str:
    """Return the card of the best model as Markdown; it says nothing that hangs on when or where it was written."""
    template = _environment().get_template("model_card.md.j2")
    return _tidy(template.render(facts=facts, sentences=sentences, scores=score_rows(facts)))


def score_rows(facts: Facts) -> list[tuple[str, str, str]]:
    """Return each score of the best on test with its interval, in words; macro scores first where classes are uneven.

    There the share of the largest class follows the accuracy.
    """
    test, rows = facts.best.test, []
    for label, key, style in sorted(SCORES, key=lambda score: facts.uneven and not score[1].startswith("macro")):
        if key not in test:
            continue
        shown = wording.percent if style == "%" else "{:.3f}".format
        bounds = [shown(test[f"{key}_{side}"]) for side in ("low", "high") if f"{key}_{side}" in test]
        rows.append((label, shown(test[key]), " – ".join(bounds)))
        if key == "accuracy" and facts.uneven:
            rows.append((f"accuracy of {sentences.majority(facts)}", shown(facts.majority.accuracy), ""))
    return rows


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML: the template escapes with `text`
        keep_trailing_newline=True,
    )
    for function in (
        wording.percent,
        wording.count,
        wording.chance,
        wording.duration,
        wording.megabytes,
        wording.milliseconds,
        wording.listing,
        wording.recipe,
        wording.text,
    ):
        environment.filters[function.__name__] = function
    return environment


def _tidy(rendered: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"
