import json

import typst
from PIL import Image

from darkroom.reporting.rendering import TEMPLATES


def test_a_figure_of_the_pdf_never_stands_before_its_mention(tmp_path):
    Image.new("RGB", (900, 500)).save(tmp_path / "figure.png", dpi=(160, 160))
    figures = "\n".join(
        f"""#lorem({90 + 40 * number})

= Part {number}

Seen in the figure. #metadata(0)<mention-{number}>

#figure(image("figure.png"), caption: [Figure #metadata(0)<figure-{number}>])

#lorem(60)
"""
        for number in range(6)
    )
    found = """#context [#metadata(range(6).map(number => ("mention-", "figure-").map(kind => {
      let place = locate(label(kind + str(number))).position()
      (place.page, place.y.pt())
    }))) <places>]"""
    template = (TEMPLATES / "report.typ").read_text(encoding="utf-8")
    body = {"title": "T", "lang": "en", "body": f"{figures}\n{found}"}
    for name, value in body.items():
        template = template.replace(f"${name}$", value)
    source = tmp_path / "report.typ"
    source.write_text(template, encoding="utf-8")
    places = json.loads(typst.query(source, "<places>", field="value", one=True, root=tmp_path))
    assert len(places) == 6
    for mention, figure in places:
        assert figure > mention
