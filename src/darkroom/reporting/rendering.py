"""From facts to Markdown: the report and the model card."""

import re
from collections.abc import Callable
from pathlib import Path

import jinja2

from darkroom import framing
from darkroom.reporting import collecting, course, insights, label_errors, methods, sentences, shortcuts, wording
from darkroom.reporting.facts import Facts
from darkroom.reporting.numbering import Form, Numbering

COLOURED = 6
"""Largest number of classes whose precision-recall curves are all in colour, as in `evaluation/figures/curves.py`."""
TEMPLATES = Path(__file__).parent / "templates"

SCORES = (
    ("accuracy", "accuracy", "%"),
    ("top-3 accuracy", "top_3", "%"),
    ("top-5 accuracy", "top_5", "%"),
    ("balanced accuracy (macro recall)", "macro_recall", "%"),
    ("macro precision", "macro_precision", "%"),
    ("macro F1", "macro_f1", ""),
    ("weighted F1", "weighted_f1", ""),
    ("ROC AUC, one-vs-rest", "roc_auc", ""),
    ("average precision, one-vs-rest", "average_precision", ""),
    ("Cohen's kappa", "kappa", ""),
    ("Matthews correlation coefficient", "mcc", ""),
    ("log loss, lower is better", "log_loss", "loss"),
    ("Brier score, lower is better", "brier", "loss"),
)
"""Scores listed for the best model, if present: label, key, and how they are shown, a key of `SHOWN`."""
SHOWN: dict[str, Callable[[float], str]] = {"%": wording.percent, "": wording.score, "loss": wording.loss}
FAILURES = (
    ("precision_recall", "", "precision and recall"),
    (
        "mistakes",
        "The most confident mistakes: predicted class and label, with probabilities",
        "the most confident mistakes",
    ),
)
"""Figures about mistakes, shown if present: name, caption (of the first, see `curves`), and the words that refer to it.
"""


def render(facts: Facts, figures: set[str], form: Form) -> str:
    """Return the report as Markdown; `figures` contains the names of the available figures."""
    template = _environment().get_template("report.md.j2")
    known: dict[str, str] = {}
    rendered = ""
    for _ in range(2):  # the second time, the numbers of later figures are known
        number = Numbering(form, figures, known)
        rendered = template.render(
            facts=facts,
            number=number,
            sentences=sentences,
            course=course,
            methods=methods,
            insights=insights,
            label_errors=label_errors,
            shortcuts=shortcuts,
            collecting=collecting,
            scores=score_rows(facts),
            failures=[(name, caption or curves(facts)) for name, caption, _ in FAILURES],
            mentions=[(name, words) for name, _, words in FAILURES],
        )
        known = number.numbers
    return _collapse_blank_lines(rendered)


def curves(facts: Facts) -> str:
    """Return the caption of the precision-recall curves."""
    some = len(facts.classes) > COLOURED and facts.best.test.get("average_precision", 1) < 1
    return f"Precision and recall by class{'; the lowest average precisions are in colour' if some else ''}"


def render_model_card(facts: Facts) -> str:
    """Return the card of the best model as Markdown; it is independent of the time and place of writing."""
    template = _environment().get_template("model_card.md.j2")
    return _collapse_blank_lines(
        template.render(facts=facts, sentences=sentences, course=course, scores=score_rows(facts))
    )


def score_rows(facts: Facts) -> list[tuple[str, str, str]]:
    """Return label, value and interval of each test score of the best model.

    If classes are imbalanced, macro scores come first and the share of the largest class follows the accuracy.
    """
    test, rows = facts.best.test, []
    for label, key, style in sorted(SCORES, key=lambda score: facts.uneven and not score[1].startswith("macro")):
        if key not in test:
            continue
        shown = SHOWN[style]
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
        wording.loss,
        wording.score,
        wording.numeral,
        wording.listing,
        wording.recipe,
        wording.text,
        framing.framed,
    ):
        environment.filters[function.__name__] = function
    return environment


def _collapse_blank_lines(rendered: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"
