"""The Markdown of `darkroom review`, as a Markdown parser and as a person at a terminal read it."""

import re

import pytest
from markdown_it import MarkdownIt

from darkroom.commands.review import text
from darkroom.foundations import naming

PLAIN = [
    "scratch.net.learning_rate",
    "95% interval [0.93, 0.97], p = 0.2 (n < 3) & more: 3 > 2",
    "src/darkroom/my_file_2.py, photos {new}/1.jpg",
    "the workspace on 1234abcd, 2 of 3 at −1.5",
]
HOSTILE = [
    *(
        "__init__.py",
        "_a b_",
        "*a* **b**",
        "~~a b~~",
        "~5 and ~6",
        "a `tick` b",
        "``a` b",
        "`",
        "$x$ and $y$",
        r"\* x\\",
    ),
    *("1. x", "12) x", "- x", "+ x", "--- ", "===", "> x", "# x", "## x ##", "[x]: y", "[a](b)", "[a b](http://c)"),
    *(
        "![a](b)",
        "<b>x</b>",
        "<img src=x onerror=y>",
        "<!-- x",
        "&amp; &#65; &",
        "http://a.example/_b_",
        "www.a.example",
    ),
    *("a@b.example", "@you and @team/all", "#12 :smile:", "a|b", r"a\|b", "\\", "x\x1b[31m\nb", "", "   ", "é_ß _é_"),
    *("(@you), [#3].", "a\\", "`a`b`", "a ` b ` c"),
]


def parsed(shown):
    """Return the text that Markdown shows, and the kinds of its parts."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = [token for token in parser.parse(shown) if token.type == "inline" and token.content != "h"]
    (content,) = [token for token in found if token.content] or found[:1]
    return "".join(part.content for part in content.children), {part.type for part in content.children}


@pytest.mark.parametrize("value", [*PLAIN, *HOSTILE])
def test_markdown_shows_every_text_as_it_is(value):
    wanted = naming.escape(" ".join(value.split()))
    rows = f"| h | h |\n|---|---|\n| {text._text(value, in_table=True)} | h |"
    for shown in [*[text._text(value)] * bool(wanted), rows]:
        plain, kinds = parsed(shown)
        assert plain.replace("<!-- -->", "") == wanted
        assert kinds <= {"text", "text_special", "code_inline", "html_inline"}
        outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", shown)
        assert not re.search(r"@\w|://|www\.|#\d|:\w+:|\$|(?<!\\)~", outside), "GitHub's own links"


@pytest.mark.parametrize("value", PLAIN)
def test_usual_text_reads_the_same_on_a_terminal(value):
    assert text._text(value) == text._text(value, in_table=True) == value


def test_a_name_with_special_characters_is_code_without_backslashes():
    assert text._text("(src/__init__.py), and _x.") == "(`src/__init__.py`), and `_x`."
