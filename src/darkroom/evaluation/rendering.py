"""From facts to Markdown, pictures and the documents made of them."""

import re
import shutil
from pathlib import Path

import jinja2

from darkroom import files, plotting
from darkroom.evaluation import architecture, documents, insights, sentences, slides, wording
from darkroom.evaluation.facts import Facts
from darkroom.evaluation.numbering import Form, Numbering

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


def write_report(facts: Facts, pictures: dict[str, Path], folder: Path) -> None:
    """Write `report.md`, `.html` and `.pdf`, `slides.pptx` and `figures/` into the empty `folder`.

    pictures: PNG files by the name that the template calls them.
    """
    figures = folder / "figures"
    figures.mkdir()
    for name, picture in pictures.items():
        shutil.copyfile(picture, figures / f"{name}.png")
    for number, alike in enumerate(facts.architectures, 1):
        drawing = architecture.draw(alike[0].steps, alike[0].card.image_size)
        plotting.save(drawing, figures / f"architecture_{number}.png")
    names = {path.stem for path in figures.iterdir()}
    files.write_text(folder / "report.md", f"# {wording.text(facts.title)}\n\n{render(facts, names, 'github')}")
    body = render(facts, names, "pandoc")
    documents.write_html(body, facts.title, folder, folder / "report.html")
    documents.write_pdf(body, facts.title, folder, folder / "report.pdf")
    slides.write_slides(facts, {name: figures / f"{name}.png" for name in names}, folder / "slides.pptx")


def render(facts: Facts, pictures: set[str], form: Form) -> str:
    """Return the report as Markdown; `pictures` are the names of those there are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(documents.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML: the template escapes with `text`
        keep_trailing_newline=True,
    )
    for function in (
        wording.percent,
        wording.count,
        wording.chance,
        wording.duration,
        wording.listing,
        wording.recipe,
        wording.text,
    ):
        environment.filters[function.__name__] = function
    template = environment.get_template("report.md.j2")
    known: dict[str, str] = {}
    rendered = ""
    for _ in range(2):  # the second time knows the numbers of what comes later
        number = Numbering(form, pictures, known)
        rendered = template.render(
            facts=facts,
            number=number,
            sentences=sentences,
            insights=insights,
            scores=SCORES,
            failures=[(name, caption) for name, caption, _ in FAILURES],
            mentions=[(name, words) for name, _, words in FAILURES],
        )
        known = number.numbers
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"
