"""From facts to Markdown, pictures and the documents made of them."""

import re
import shutil
from pathlib import Path

import jinja2

from darkroom import files
from darkroom.evaluation import documents, wording
from darkroom.evaluation.facts import Entry, Facts

ROWS = 6
"""Models that a table on a slide has room for."""


def write_report(facts: Facts, pictures: dict[str, Path], folder: Path) -> None:
    """Write `report.md`, `.html` and `.pdf`, `slides.pptx` and `figures/` into the empty `folder`.

    pictures: PNG files by the name that the template calls them.
    """
    (folder / "figures").mkdir()
    for name, picture in pictures.items():
        shutil.copyfile(picture, folder / "figures" / f"{name}.png")
    body = render(facts, set(pictures))
    files.write_text(folder / "report.md", f"# {wording.text(facts.title)}\n\n{body}")
    documents.write_html(body, facts.title, folder, folder / "report.html")
    documents.write_pdf(body, facts.title, folder, folder / "report.pdf")
    slides = render(facts, set(pictures), slides=True)
    subtitle = " · ".join(filter(None, (facts.data["dataset"], facts.author)))
    documents.write_slides(slides, facts.title, subtitle, folder, folder / "slides.pptx")


def render(facts: Facts, pictures: set[str], *, slides: bool = False) -> str:
    """Return the report, or its slides, as Markdown; `pictures` are the names of those there are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(documents.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML: the template escapes with `text`
        keep_trailing_newline=True,
    )
    for function in (
        wording.percent,
        wording.points,
        wording.count,
        wording.chance,
        wording.duration,
        wording.listing,
        wording.recipe,
        wording.text,
    ):
        environment.filters[function.__name__] = function
    shown = _for_slides(facts)
    template = environment.get_template("report.md.j2")
    rendered = template.render(
        facts=facts, pictures=pictures, slides=slides, shown=shown, hidden=len(facts.entries) - len(shown)
    )
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def _for_slides(facts: Facts) -> list[Entry]:
    """Return the models that a slide shows: the baseline, the best, and the next by validation accuracy."""
    others = [entry for entry in facts.networks if entry is not facts.best]
    others.sort(key=lambda entry: -entry.validation["accuracy"])
    return [facts.bar, facts.best, *others][:ROWS]
