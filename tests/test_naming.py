import re
import unicodedata

import pytest

from darkroom.foundations import naming

NONCHARACTERS = ["\ufdd0", "\ufdef", *(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))]
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]
HALF = ["\ud800", "\udfff", "\udcff"]
DIRECTIONS = [chr(code) for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
ORDINARY = [
    "cat",
    "$5 <note>",
    "ネコ",
    "قطة",
    "می\u200cخواهم",  # a joiner that Persian needs
    "👨\u200d👩\u200d👧",
    "caf\u00e9",
    "1\u202f2\u00a03\u30004",  # blanks of several scripts
    "\ue000",  # private use: icons
    "\U0003fffd",  # unassigned today
]


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_stay_and_are_allowed(name):
    assert naming.shown(name) == name
    assert naming.fault(name) == ""


@pytest.mark.parametrize("letter", [*CONTROLS, *NONCHARACTERS, *HALF], ids=ascii)
def test_what_cannot_be_printed_is_no_part_of_a_class_name(letter):
    assert naming.fault(f"cat{letter}") == f"contains the character U+{ord(letter):04X}, which cannot be printed"
    assert naming.shown(f"a{letter}b") == f"a{ascii(letter)[1:-1]}b"


@pytest.mark.parametrize("letter", [*DIRECTIONS, "\u200b", "\ufeff", "\u00ad"], ids=ascii)
def test_what_changes_direction_or_hides_is_shown_as_an_escape(letter):
    assert naming.fault(f"cat{letter}") == ""
    assert naming.shown(f"a{letter}b") == f"a{ascii(letter)[1:-1]}b"


def test_every_mark_of_direction_is_known():
    marks = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = [chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code)) in marks]
    assert set(found) <= set(DIRECTIONS)


def test_a_class_name_is_as_long_as_a_folder_can_be_called():
    assert naming.fault("é" * 127) == ""
    assert naming.fault("é" * 128) == "is 256 bytes long, and 255 are allowed"


def test_of_a_long_name_both_ends_are_shown():
    shown = naming.shown(f"{'a' * 5000}/b.png")
    assert len(shown) == naming.MOST
    assert re.fullmatch(r"a+…a+/b\.png", shown)
    assert naming.shown("\x1b" * 5000).count("\\x1b") < naming.MOST


def test_a_list_ends_after_some_names():
    assert naming.listed([]) == ""
    assert naming.listed(["a", "b\n"]) == "a, b\\n"
    assert naming.listed([str(number) for number in range(1200)], most=2) == "0, 1 and 1,198 more"


def test_one_is_not_several():
    assert [naming.count(number, "image") for number in (0, 1, 2, 1797)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,797 images",
    ]
    assert naming.count(1, "image is", "images are") == "1 image is"
    assert naming.count(2, "copy", "copies") == "2 copies"
    assert naming.span(225, 225, "pixel") == "225 pixels"
    assert naming.span(1, 1, "pixel") == "1 pixel"
    assert naming.span(1, 1225, "pixel") == "1 to 1,225 pixels"
