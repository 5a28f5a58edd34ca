"""The report in all its formats, with its figures."""

import shutil
from pathlib import Path

from darkroom import plotting
from darkroom.foundations import files
from darkroom.reporting import diagram, html, pdf, slides, wording
from darkroom.reporting.facts import Facts
from darkroom.reporting.rendering import render


def write_report(facts: Facts, figures: dict[str, Path], folder: Path) -> None:
    """Write `report.md`, `.html` and `.pdf`, `slides.pptx` and `figures/` into the empty `folder`.

    figures: PNG files by the name that the template uses.
    """
    copies = folder / "figures"
    copies.mkdir()
    for name, path in figures.items():
        shutil.copyfile(path, copies / f"{name}.png")
    for number, alike in enumerate(facts.architectures, 1):
        drawing = diagram.draw(alike[0].steps, alike[0].card.image_size)
        plotting.save(drawing, copies / f"architecture_{number}.png")
    names = {path.stem for path in copies.iterdir()}
    files.write_text(folder / "report.md", f"# {wording.text(facts.title)}\n\n{render(facts, names, 'github')}")
    body = render(facts, names, "pandoc")
    html.write_html(body, facts.title, folder, folder / "report.html")
    pdf.write_pdf(body, facts.title, folder, folder / "report.pdf")
    slides.write_slides(facts, {name: copies / f"{name}.png" for name in names}, folder / "slides.pptx")
