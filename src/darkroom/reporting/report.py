"""The report in all its forms, with its figures."""

import shutil
from pathlib import Path

from darkroom import plotting
from darkroom.foundations import files
from darkroom.reporting import diagram, html, pdf, slides, wording
from darkroom.reporting.facts import Facts
from darkroom.reporting.rendering import render


def write_report(facts: Facts, pictures: dict[str, Path], folder: Path) -> None:
    """Write `report.md`, `.html` and `.pdf`, `slides.pptx` and `figures/` into the empty `folder`.

    pictures: PNG files by the name that the template calls them.
    """
    figures = folder / "figures"
    figures.mkdir()
    for name, picture in pictures.items():
        shutil.copyfile(picture, figures / f"{name}.png")
    for number, alike in enumerate(facts.architectures, 1):
        drawing = diagram.draw(alike[0].steps, alike[0].card.image_size)
        plotting.save(drawing, figures / f"architecture_{number}.png")
    names = {path.stem for path in figures.iterdir()}
    files.write_text(folder / "report.md", f"# {wording.text(facts.title)}\n\n{render(facts, names, 'github')}")
    body = render(facts, names, "pandoc")
    html.write_html(body, facts.title, folder, folder / "report.html")
    pdf.write_pdf(body, facts.title, folder, folder / "report.pdf")
    slides.write_slides(facts, {name: figures / f"{name}.png" for name in names}, folder / "slides.pptx")
